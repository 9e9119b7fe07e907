"""The modules' settings and the package's configuration are one schema, seen from two sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rigappliance.config import RigConfig
from rigappliance.configfile import load_config
from rigappliance.profiles import PROFILES
from rigappliance.render.systemd import variables
from rigappliance.render.unitsyntax import argument, memory_max, plain, quoted
from rigappliance.units import memory_limit_bytes, parse_size
from tests.nix.bench import ROOT, evaluate

MODULES = ROOT / "nixos/modules"
# Relative to a working directory in the demo, which a service does not have.
DEMO_PATHS = frozenset({"state_dir", "model.path"})


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"server.port": 8000}`` of ``{"server": {"port": 8000}}``."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        result |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def unset(profile: str) -> RigConfig:
    return load_config(profile=profile, environ={})


def comparable(key: str, value: Any) -> Any:
    """Sizes are written in more than one way."""
    is_size = key in {"memory.swap", "hardware.ram", "hardware.card_memory"}
    return parse_size(value) if is_size else value


@pytest.fixture(scope="module")
def by_profile() -> dict[str, dict[str, Any]]:
    """Profile → the settings of a machine that declares nothing else."""
    entries = " ".join(
        f'{profile} = (config [ appliance {{ services.rigappliance.settings.profile = "{profile}"; }} ])'
        ".services.rigappliance.settings;"
        for profile in PROFILES
    )
    settings: dict[str, dict[str, Any]] = evaluate(f"{{ {entries} }}")
    return settings


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_not_declared_is_what_the_package_has(by_profile: dict[str, dict[str, Any]], profile: str) -> None:
    package = leaves(unset(profile).model_dump(mode="json"))
    here = leaves(by_profile[profile])
    assert len(here) >= 20
    left_out = {"engine.python"} | (DEMO_PATHS if profile == "demo" else set())
    differing = {
        key: (value, package.get(key, "no such key"))
        for key, value in here.items()
        if key not in left_out and comparable(key, value) != comparable(key, package.get(key))
    }
    assert differing == {}


def test_both_have_the_same_profiles() -> None:
    assert evaluate(f"lib.attrNames (import {MODULES}/defaults.nix)") == sorted(PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_package_reads_the_settings_back(
    by_profile: dict[str, dict[str, Any]], profile: str, tmp_path: Path
) -> None:
    """With all that they leave to the profile."""
    file = tmp_path / "rig.json"
    file.write_text(json.dumps(by_profile[profile]))
    read, expected = (leaves(config.model_dump()) for config in (load_config(file, environ={}), unset(profile)))
    left_out = {"engine.python"} | (DEMO_PATHS if profile == "demo" else set())
    assert {key for key in read.keys() | expected.keys() if read.get(key) != expected.get(key)} <= left_out


def test_the_profile_of_the_rig_is_the_rig(tmp_path: Path) -> None:
    """Its numbers are those of the package's profile of that name: it gives them reasons, not values."""
    file = tmp_path / "rig.json"
    file.write_text(json.dumps(evaluate("(config [ host ]).services.rigappliance.settings")))
    read = load_config(file, environ={})
    rig = RigConfig()
    assert read.model_copy(update={"engine": rig.engine}) == rig
    assert read.engine.model_copy(update={"python": rig.engine.python}) == rig.engine


def test_declared_swap_is_one_value() -> None:
    """However it is declared, the file that the services read says what NixOS acts on."""
    swap = 'swap = { size = "64GiB"; path = "/srv/swap"; priority = 3; swappiness = 5; pageCluster = 2; };'
    found = evaluate(
        f"""
        lib.mapAttrs (_: extra: let evaluated = config [ appliance {{ services.rigappliance = extra; }} ]; in {{
          inherit (evaluated.services.rigappliance.settings) memory;
          sysctl = lib.getAttrs [ "vm.swappiness" "vm.page-cluster" ] evaluated.boot.kernel.sysctl;
        }}) {{
          options = {{ {swap} }};
          settings = {{ settings.memory = {{ swap = "64GiB"; swap_file = "/srv/swap"; swap_priority = 3;
            swappiness = 5; page_cluster = 2; }}; }};
        }}"""
    )
    assert found["options"] == found["settings"]
    assert found["options"] == {
        "memory": {
            "max": "90%",
            "swap": "64GiB",
            "swap_file": "/srv/swap",
            "swap_priority": 3,
            "swappiness": 5,
            "page_cluster": 2,
        },
        "sysctl": {"vm.swappiness": 5, "vm.page-cluster": 2},
    }


def test_without_a_swap_file_none_is_declared() -> None:
    found = evaluate(
        """
        let evaluated = config [ appliance { services.rigappliance.swap.enable = false; } ]; in {
          inherit (evaluated.services.rigappliance.settings.memory) swap;
          units = lib.filter (lib.hasPrefix "rigappliance") (lib.attrNames evaluated.systemd.services);
        }"""
    )
    assert found == {"swap": "0B", "units": ["rigappliance"]}


# --- twins -----------------------------------------------------------------

SIZES = [
    "0B",
    "1B",
    "77.1GB",
    "128GiB",
    "1.5GiB",
    "0.000001kB",
    "0.1MiB",
    "3.999999TB",
    "007MB",
    "999999999GiB",
    "16GB",
]
LIMITS = ["90%", "90.0%", "90.50%", "0.05%", "100%", "033.30%", "14GiB", "16GB", "1.5GB"]
WORDS = [
    "plain",
    "/var/lib/rigappliance",
    "two words",
    "tab\there",
    "100%",
    "%d/key",
    'quote"d',
    "it's",
    "back\\slash",
    "semi;colon",
    "$HOME",
    "${x}",
    "bra]cket",
    "été ✓",
    "#hash",
    "a=b",
    "",
]


def test_quantities_and_words_are_those_of_the_package() -> None:
    found = evaluate(
        f"""
        let
          own = import {MODULES}/lib.nix {{ inherit lib; }};
          sizes = builtins.fromJSON {nix_text(json.dumps(SIZES))};
          limits = builtins.fromJSON {nix_text(json.dumps(LIMITS))};
          words = builtins.fromJSON {nix_text(json.dumps(WORDS))};
        in {{
          bytes = map own.bytes sizes;
          memoryMax = map own.memoryMax limits;
          limitBytes = map (limit: own.memoryLimitBytes limit 16000000000) limits;
          plain = map own.plain words;
          quoted = map own.quoted words;
          argument = map own.argument words;
          taken = map own.types'.size.check sizes ++ map own.types'.memoryLimit.check limits;
        }}"""
    )
    assert found == {
        "bytes": [parse_size(size) for size in SIZES],
        "memoryMax": [memory_max(limit) for limit in LIMITS],
        "limitBytes": [memory_limit_bytes(limit, 16_000_000_000) for limit in LIMITS],
        "plain": [plain(word) for word in WORDS],
        "quoted": [quoted(word) for word in WORDS],
        "argument": [argument(word) for word in WORDS],
        "taken": [True] * (len(SIZES) + len(LIMITS)),
    }


def nix_text(text: str) -> str:
    """``text`` as a string of the Nix language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${") + '"'


# Where the variables of the unit tables take each of their values, or none.
DECLARATIONS: dict[str, dict[str, Any]] = {
    "the rig": {},
    "a key": {"server": {"api_key_file": "/etc/keys/100% secret"}},
    "state elsewhere": {"state_dir": "/srv/rig state", "model": {"path": "/srv/rig state/model"}},
    "checkpoint elsewhere": {"model": {"path": "/data/it's a model"}},
    "checkpoint at home": {"model": {"path": "/home/anna/model"}},
    "state at home": {"state_dir": "/root/rig", "model": {"path": "/root/rig/models/one"}},
    "engine at home": {"engine": {"python": "/home/anna/engine/bin/python"}},
    "other names": {"model": {"name": 'a "model" of 100%', "repository": "anna/model"}, "memory": {"max": "14GiB"}},
    "swap elsewhere": {"memory": {"swap_file": "/mnt/big disk/swap"}},
    "deep in the state": {"state_dir": "/var/lib/a/b", "model": {"path": "/var/lib/a/b/c"}},
}


def test_variables_of_the_unit_tables_are_those_of_the_package() -> None:
    needs = ["rigappliance-swap.service", "rigappliance-weights.service"]
    program, file = Path("/opt/control/bin/rigappliance"), Path("/etc/rigappliance/rig.json")
    complete = {
        name: RigConfig.model_validate(
            {
                **tree,
                "engine": {"python": "/opt/engine/bin/python", **tree.get("engine", {})},
            }
        )
        for name, tree in DECLARATIONS.items()
    }
    as_json = {name: config.model_dump(mode="json") for name, config in complete.items()}
    found = evaluate(
        f"""
        lib.mapAttrs (_: settings: import {MODULES}/variables.nix {{
          inherit lib settings;
          configFile = "{file}";
          program = "{program}";
          systemctl = "/usr/bin/systemctl";
          needs = [ {" ".join(f'"{unit}"' for unit in needs)} ];
        }}) (builtins.fromJSON {nix_text(json.dumps(as_json))})"""
    )
    for name, config in complete.items():
        assert (name, found[name]) == (name, dict(variables(config, file, program, needs)))
