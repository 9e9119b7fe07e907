"""The appliance's units as the NixOS module writes them, for a guest that is no NixOS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.vmtest.image import CONTROL_DIRECTORY
from rigappliance.vmtest.nixbench import NixError, evaluate, missing

STORE_PATH = re.compile(r"/nix/store/[0-9a-z]{32}-[A-Za-z0-9+._?=-]+")
UNIT_DIRECTORY = "/etc/systemd/system"


@dataclass(frozen=True)
class NixosUnits:
    """Texts by unit, the units that want each, and the two store paths that mean something in a guest."""

    texts: dict[str, str]
    wanted_by: dict[str, list[str]]
    package: str
    config_file: str

    def write(self, directory: Path) -> dict[str, str]:
        """Write the units' files; the links that belong to them, name → target, for a guest's root."""
        directory.mkdir(parents=True)
        for name, text in self.texts.items():
            (directory / name).write_text(text, encoding="utf-8")
        links = {
            f"{UNIT_DIRECTORY}/{target}.wants/{name}": f"../{name}"
            for name, targets in self.wanted_by.items()
            for target in targets
        }
        return {**links, **self.store_links()}

    def store_links(self) -> dict[str, str]:
        """Each store path that a unit names → what the guest has in its place."""
        own = {self.package: CONTROL_DIRECTORY, self.config_file: "/etc/rigappliance/rig.json"}
        found = {path for text in self.texts.values() for path in STORE_PATH.findall(text)}
        # The rest are packages of the distribution: their programs are in one place there.
        return {path: own.get(path, "/usr") for path in sorted(found)}


def nixos_units(name: str) -> NixosUnits:
    """What the node of the test ``name`` evaluates to. Raises ``PreflightError`` where that cannot be done here."""
    reason = missing()
    if reason is not None:
        raise PreflightError(reason, "an evaluation bench for the units of NixOS", "leave out `--units nixos`")
    try:
        found = evaluate(f'nodeUnits "{name}"')
    except NixError as error:
        raise PreflightError(
            f"the node of {name} does not evaluate: {str(error).strip()[-2000:]}",
            "a node with the appliance's module",
            "correct the module or the test",
        ) from error
    return NixosUnits(found["texts"], found["wantedBy"], found["package"], found["configFile"])
