"""The units that NixOS makes and those that the renderer writes, property by property."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rigappliance.config import RigConfig
from rigappliance.render.systemd import CARDS, ENGINE, SWAP, TARGET, WEIGHTS, unit_text, units
from tests.nix.bench import evaluate, unit_settings

# Keys whose value is a list of words, in any order.
WORD_LISTS = {"After", "Wants", "Requires", "Conflicts", "Before", "PartOf", "WantedBy"}

# (unit, key) → why the two differ there. Any other difference is a defect of one of them, and so is one of these
# that is no longer there.
EXPLAINED = {
    (ENGINE, "Environment"): "NixOS has no /usr/bin: PATH, locale, time zones and the toolchain come by variables",
    (ENGINE, "Wants"): "NixOS sets the cards' limits in a unit of its own, and its udev makes the device nodes",
    (ENGINE, "After"): "the same",
    (ENGINE, "X-RestartIfChanged"): "a switch leaves the running engine alone",
    (ENGINE, "X-StopIfChanged"): "and stops it for as short a time as it can where the operator wants a restart",
    (SWAP, "Environment"): "PATH, for mkswap, swapon and swapoff, locale and time zones",
    (SWAP, "X-RestartIfChanged"): "a switch does not swap off what is in use",
    (SWAP, "X-StopIfChanged"): "the same",
    (WEIGHTS, "ExecStartPost"): "systemctl is in the store",
    (WEIGHTS, "Environment"): "PATH, locale and time zones",
    (WEIGHTS, "X-RestartIfChanged"): "a switch does not wait for a download",
    (WEIGHTS, "X-StopIfChanged"): "the same",
}

WHOLE = "[ host { services.rigappliance.weights.enable = true; } ]"
SPECIAL = """[ appliance { services.rigappliance = {
  weights.enable = true;
  gpu.enable = false;
  settings = {
    state_dir = "/srv/st ate 100%";
    model = { path = "/home/a/mo'del"; name = "a 100% \\"model\\""; };
    server = { host = "0.0.0.0"; api_key_file = "/etc/keys/api key"; };
    memory = { max = "12.50%"; swap_file = "/srv/the swap"; };
    engine.device = "cpu";
    engine.tensor_parallel = 1;
    hardware.cards = 0;
  };
}; } ]"""


@dataclass(frozen=True)
class Pair:
    """Key → values of one unit, as NixOS has it and as the renderer writes it."""

    nixos: dict[str, list[str]]
    rendered: dict[str, list[str]]

    def differences(self) -> dict[str, tuple[list[str], list[str]]]:
        keys = self.nixos.keys() | self.rendered.keys()
        both = {key: (self.nixos.get(key, []), self.rendered.get(key, [])) for key in keys}
        return {key: values for key, values in both.items() if values[0] != values[1]}


def pairs(modules: str) -> dict[str, Pair]:
    facts: dict[str, Any] = evaluate(
        f"""
        let cfg = (config {modules}); declared = cfg.services.rigappliance; in {{
          settings = builtins.toJSON declared.settings;
          file = "${{declared.configFile}}";
          program = "${{declared.package}}/bin/rigappliance";
          wantedBy = lib.mapAttrs (_: unit: unit.wantedBy) (
            lib.filterAttrs (name: _: lib.hasPrefix "rigappliance" name) cfg.systemd.units);
        }}"""
    )
    config = RigConfig.model_validate_json(facts["settings"])
    rendered = units(config, Path(facts["file"]), Path(facts["program"]), fetch=True)
    found = {}
    for name, settings in rendered.items():
        if name == CARDS:
            continue
        nixos = grouped([(key, value) for _, key, value in unit_settings(name, modules)])
        # NixOS does what an [Install] section asks for by itself.
        nixos["WantedBy"] = sorted(facts["wantedBy"][name])
        found[name] = Pair(nixos, grouped([(setting.key, setting.value) for setting in settings]))
    return found


def grouped(settings: list[tuple[str, str]]) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for key, value in settings:
        values = value.split() if key in WORD_LISTS else [value]
        # NixOS quotes every variable, the table those that need it: systemd reads the same.
        values = [value.strip('"') for value in values] if key == "Environment" else values
        result.setdefault(key, []).extend(values)
    return {
        key: sorted(values) if key in WORD_LISTS or key == "Environment" else values for key, values in result.items()
    }


@pytest.fixture(scope="module")
def rig() -> dict[str, Pair]:
    return pairs(WHOLE)


def test_the_units_of_the_rig_agree(rig: dict[str, Pair]) -> None:
    assert list(rig) == [ENGINE, TARGET, SWAP, WEIGHTS]
    found = {(name, key): both for name, pair in rig.items() for key, both in pair.differences().items()}
    unexplained = {where: both for where, both in found.items() if where not in EXPLAINED}
    assert unexplained == {}
    assert EXPLAINED.keys() - found.keys() == set()


def test_what_differs_only_adds(rig: dict[str, Pair]) -> None:
    for name in (ENGINE, SWAP, WEIGHTS):
        nixos, rendered = rig[name].nixos["Environment"], rig[name].rendered.get("Environment", [])
        assert set(rendered) <= set(nixos)
    for key in ("Wants", "After"):
        nixos, rendered = rig[ENGINE].nixos[key], rig[ENGINE].rendered[key]
        assert set(nixos) ^ set(rendered) == {CARDS, "rigappliance-gpu.service"}


def test_paths_and_texts_that_need_quoting_agree() -> None:
    """Everything that is computed twice, in Python and in Nix, at values that are hard to get right."""
    special = pairs(SPECIAL)
    found = {(name, key) for name, pair in special.items() for key in pair.differences()}
    # Without cards both want the same.
    assert found == EXPLAINED.keys() - {(ENGINE, "Wants"), (ENGINE, "After")}
    engine = special[ENGINE].nixos
    assert engine["MemoryMax"] == ["12.5%"]
    assert engine["ReadWritePaths"] == ['"/srv/st ate 100%%"']
    assert engine["ProtectHome"] == ["tmpfs"]


def test_both_are_whole(rig: dict[str, Pair]) -> None:
    """The comparison has something to compare: each unit says what it runs, and the engine's says most."""
    assert len(rig[ENGINE].rendered) > 50
    for name in (ENGINE, SWAP, WEIGHTS):
        assert len(rig[name].nixos["ExecStart"]) == 1
    assert "ExecStart=" in unit_text(ENGINE, units(RigConfig.model_validate({}))[ENGINE])
