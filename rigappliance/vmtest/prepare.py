"""A guest as NixOS's test driver would bring up a test's node: installed, enabled, about to start the units."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import tempfile
from pathlib import Path

from rigappliance.vmtest import cache
from rigappliance.vmtest.bundle import write_bundle
from rigappliance.vmtest.cases import Case
from rigappliance.vmtest.control import control_recipe, with_control
from rigappliance.vmtest.image import CONTROL_DIRECTORY, Recipe
from rigappliance.vmtest.machine import Machine
from rigappliance.vmtest.nixosunits import NixosUnits
from rigappliance.vmtest.origin import Origin
from rigappliance.vmtest.qemu import Hardware
from rigappliance.vmtest.saved import advanced

# As on NixOS, where scripts look for it too.
CONFIG = "/etc/rigappliance/rig.json"
BUNDLE = "/srv/vmtest"
SETUP = Path("lib") / "setup.sh"
SETUP_UNIT = "vmtest-setup.service"
STAGE = "/run/vmtest-stage"
UNITS = "etc/systemd/system"

INSTALL_TIMEOUT_S = 300

SETUP_UNIT_TEXT = """[Unit]
Description=What this test's machine has beyond its settings
Before=rigappliance.service rigappliance-swap.service rigappliance-weights.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={bundle}/setup.sh {bundle} {model}

[Install]
WantedBy=multi-user.target
"""


def prepared(case: Case, nixos: NixosUnits | None = None) -> Origin:
    """The test's machine just before its units start, made where it is not in the cache yet.

    With ``nixos`` the units are those, and not the renderer's.
    """
    needs = case.needs
    recipe = control_recipe(Recipe(packages=needs.packages))
    origin = with_control(recipe, Hardware(cpus=needs.cpus, memory_bytes=needs.memory))
    with tempfile.TemporaryDirectory(prefix="rigappliance-vmtest-") as directory:
        stage = Path(directory) / "stage"
        write_stage(case, stage)
        later = Path(directory) / "units"
        links = {} if nixos is None else nixos.write(later / UNITS)
        key = cache.key_of("prepared", digests(stage), digests(later), links, _own_text())
        state = advanced(origin, key, lambda machine: bring(machine, stage, later, links))
    # What a boot does last, since this machine wakes up behind it.
    return dataclasses.replace(state, on_wake="systemctl start --no-block multi-user.target", cold=needs.boot)


def write_stage(case: Case, stage: Path) -> None:
    """What is copied over the guest's root: bundle, configuration, and the unit that puts the bundle in its places."""
    bundle = stage / BUNDLE.lstrip("/")
    write_bundle(case, bundle, f"{CONTROL_DIRECTORY}/bin/python")
    shutil.copy2(case.directory / SETUP, bundle / "setup.sh")
    config = stage / CONFIG.lstrip("/")
    config.parent.mkdir(parents=True)
    shutil.copyfile(case.settings_file, config)
    unit = stage / UNITS / SETUP_UNIT
    unit.parent.mkdir(parents=True)
    unit.write_text(SETUP_UNIT_TEXT.format(bundle=BUNDLE, model=case.model_path), encoding="utf-8")


def bring(machine: Machine, stage: Path, later: Path, links: dict[str, str]) -> None:
    """Install the appliance as an operator would, and what the test needs beside it."""
    machine.copy_from_host(str(stage), STAGE)
    wants = f"/{UNITS}/multi-user.target.wants"
    machine.succeed(
        f"cp --recursive {STAGE}/. /; rm -r {STAGE}",
        f"mkdir -p {wants}; ln -s ../{SETUP_UNIT} {wants}/{SETUP_UNIT}",
        # The unit works where it was installed from, if the profile has paths relative to that.
        f"cd /; rigappliance install --no-start -c {CONFIG}",
        timeout=INSTALL_TIMEOUT_S,
    )
    if links:
        machine.copy_from_host(str(later), STAGE)
        made = " && ".join(f"mkdir -p $(dirname {name}) && ln -sfn {target} {name}" for name, target in links.items())
        machine.succeed(f"cp --recursive {STAGE}/. /; rm -r {STAGE}; {made}", "systemctl daemon-reload")
    machine.succeed(
        f"systemctl start {SETUP_UNIT}",
        # Byte-compiled once, where it is.
        f"if [ -d {BUNDLE}/engine ]; then {BUNDLE}/engine/bin/python --help; fi",
        timeout=INSTALL_TIMEOUT_S,
    )


def digests(directory: Path) -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(directory)), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    ]


def _own_text() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
