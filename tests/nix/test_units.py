"""What NixOS makes of the modules: units, limits of the cards, and where a key does not show."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.nix.bench import evaluate, unit_settings, unit_text

SECRET = "sk-this-is-the-key"


def values(unit: str, key: str, modules: str = "[ host ]") -> list[str]:
    return [value for _, name, value in unit_settings(unit, modules) if name == key]


def test_the_engine_s_unit_is_that_of_the_table_for_this_rig() -> None:
    """One property of each kind; the comparison of all of them with the renderer's is a test of its own."""
    unit = "rigappliance.service"
    assert values(unit, "Type") == ["notify"]
    assert values(unit, "Description") == ["vLLM serving Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8"]
    assert values(unit, "MemoryMax") == ["90%"]
    assert values(unit, "MemorySwapMax") == ["infinity"]
    assert values(unit, "User") == ["rigappliance"]
    assert values(unit, "StateDirectory") == ["rigappliance"]
    assert values(unit, "LoadCredential") == []
    assert "char-nvidia-uvm rw" in values(unit, "DeviceAllow")
    assert values(unit, "SystemCallFilter") == ["@system-service", "~@privileged"]
    for list_of_units in ("Wants", "After"):
        assert {"rigappliance-swap.service", "rigappliance-gpu.service"} <= set(values(unit, list_of_units)[0].split())


def test_the_toolchain_is_in_the_engine_s_path_and_environment() -> None:
    environment = [value.strip('"') for value in values("rigappliance.service", "Environment")]
    assert "CC=/stand-in/cc" in environment
    assert any(value.startswith("PATH=") and "-ninja-" in value for value in environment)
    without = unit_text(
        "rigappliance.service", "[ appliance { services.rigappliance.toolchain.enable = false; } ]"
    ).splitlines()
    assert not any("/stand-in/cc" in line or "-ninja-" in line for line in without)


def test_definitions_of_the_operator_s_win_without_force() -> None:
    modules = """[ appliance { systemd.services.rigappliance = {
      serviceConfig.RestartSec = "5min";
      environment.CC = "/my/cc";
      after = [ "my.service" ];
      restartIfChanged = true;
    }; } ]"""
    unit = "rigappliance.service"
    assert values(unit, "RestartSec", modules) == ["5min"]
    assert '"CC=/my/cc"' in values(unit, "Environment", modules)
    assert {"my.service", "swap.target"} <= set(values(unit, "After", modules)[0].split())
    assert values(unit, "X-RestartIfChanged", modules) == []


@pytest.mark.parametrize("unit", ["rigappliance.service", "rigappliance-swap.service", "rigappliance-weights.service"])
def test_no_switch_waits_for_what_takes_an_hour(unit: str) -> None:
    """Also the first one: nothing between it and multi-user.target waits for what is started."""
    modules = "[ host { services.rigappliance.weights.enable = true; } ]"
    assert values(unit, "X-RestartIfChanged", modules) == ["false"]
    assert values("rigappliance.target", "DefaultDependencies", modules) == ["no"]
    assert evaluate(
        f"""
        let inherit (config {modules}) systemd; in {{
          mine = systemd.services.{unit.removesuffix(".service")}.wantedBy;
          target = systemd.targets.rigappliance.wantedBy;
          before = systemd.services.{unit.removesuffix(".service")}.before;
        }}"""
    ) == {"mine": ["rigappliance.target"], "target": ["multi-user.target"], "before": []}


def test_swap_is_not_in_the_way_of_the_boot() -> None:
    found = evaluate(
        """
        let evaluated = config [ host ]; in {
          devices = evaluated.swapDevices;
          makers = lib.filter (lib.hasPrefix "mkswap") (lib.attrNames evaluated.systemd.services);
          path = "${toString evaluated.systemd.services.rigappliance-swap.path}";
        }"""
    )
    assert (found["devices"], found["makers"]) == ([], [])
    assert "-util-linux-" in found["path"]


def test_zswap_is_set_where_the_kernel_reads_it() -> None:
    found = evaluate(
        """
        (config [ host {
          services.rigappliance.swap.zswap = { enable = true; compressor = "zstd"; maxPoolPercent = 7; };
        } ]).systemd.tmpfiles.settings.rigappliance-zswap"""
    )
    parameters = {Path(path).name: kinds["w"]["argument"] for path, kinds in found.items()}
    assert parameters == {"enabled": "Y", "compressor": "zstd", "max_pool_percent": "7", "shrinker_enabled": "Y"}
    assert {str(Path(path).parent) for path in found} == {"/sys/module/zswap/parameters"}
    assert "rigappliance-zswap" not in evaluate("lib.attrNames (config [ host ]).systemd.tmpfiles.settings")


def test_directories_are_made_for_whom_they_are() -> None:
    found = evaluate(
        """
        lib.mapAttrs (_: extra: lib.mapAttrs (_: kinds: kinds.d) (
          let inherit (config [ appliance { services.rigappliance = extra; } ]) systemd; in
          (systemd.tmpfiles.settings.rigappliance or { }) // (systemd.tmpfiles.settings.rigappliance-weights or { })
        )) {
          rig = { };
          elsewhere = { settings.model.path = "/data/model"; };
          fetched = { settings.model.path = "/data/model"; weights.enable = true; };
        }"""
    )
    state = "/var/lib/rigappliance"
    assert list(found["rig"]) == [
        state,
        f"{state}/models",
        f"{state}/models/Qwen2.5-72B-Instruct-GPTQ-Int8",
    ]
    assert list(found["elsewhere"]) == [state]
    assert sorted(found["fetched"]) == ["/data/model", state]
    owners = {(rule["mode"], rule["user"], rule["group"]) for rules in found.values() for rule in rules.values()}
    assert owners == {("0750", "rigappliance", "rigappliance")}


def test_the_download_is_one_s_own_command_where_it_is_declared() -> None:
    own = """[ appliance { services.rigappliance.weights = {
      enable = true;
      fetchCommand = [ "/bin/fetch" "--to" "/a directory" "100%" "$x" ];
    }; } ]"""
    unit = "rigappliance-weights.service"
    assert values(unit, "ExecStart", own) == ['/bin/fetch --to "/a directory" 100%% $$x']
    usual = values(unit, "ExecStart", "[ appliance { services.rigappliance.weights.enable = true; } ]")
    assert [command.split()[1] for command in usual] == ["fetch"]
    assert "rigappliance-weights.service" in values("rigappliance.service", "Wants", own)[0].split()


# --- the key ---------------------------------------------------------------


@pytest.mark.parametrize("form", ["as a string", "as a path literal"])
def test_the_key_is_a_credential_and_shows_nowhere(tmp_path: Path, form: str) -> None:
    key = tmp_path / "api-key"
    key.write_text(SECRET)
    named = f'"{key}"' if form == "as a string" else str(key)
    modules = f"""[ host {{ services.rigappliance.settings.server = {{
      host = "0.0.0.0"; api_key_file = {named};
    }}; }} ]"""
    assert values("rigappliance.service", "LoadCredential", modules) == [f"api-key:{key}"]
    environment = values("rigappliance.service", "Environment", modules)
    assert "RIGAPPLIANCE_SERVER__API_KEY_FILE=%d/api-key" in environment
    found = evaluate(
        f"""
        let evaluated = config {modules}; in {{
          inherit (evaluated.services.rigappliance.settings.server) api_key_file;
          # What the texts refer to in the store is in their contexts.
          context = lib.attrNames (builtins.getContext (
            builtins.toJSON evaluated.services.rigappliance.settings
            + lib.concatStrings (lib.attrValues (unitTexts {modules}))));
        }}"""
    )
    assert found["api_key_file"] == str(key)
    assert [path for path in found["context"] if "api-key" in path] == []
    assert [text for text in all_texts(modules) if SECRET in text] == []


def all_texts(modules: str) -> list[str]:
    texts: dict[str, str] = evaluate(
        f"""
        unitTexts {modules} // {{
          settings = builtins.toJSON (config {modules}).services.rigappliance.settings;
        }}"""
    )
    return list(texts.values())


# --- cards -----------------------------------------------------------------

LIMITS = """{ services.rigappliance = {
  settings.hardware.cards = 3;
  settings.engine.tensor_parallel = 2;
  gpu = {
    enable = true;
    powerLimitWatts = 130;
    targetTemperatureCelsius = 75;
    cards."1".powerLimitWatts = 100;
    cards."2" = { powerLimitWatts = null; targetTemperatureCelsius = null; };
  };
}; }"""

# Refuses what the second card is asked for; the first does not know target temperatures, and says so with status 0.
NVIDIA_SMI = """#!/bin/sh
echo "$@" >> "$LOG"
case "$*" in
  *"--id=1 --power-limit"*) echo "Provided power limit 100.00 W is not valid"; echo "between 110 and 170 W"; exit 2 ;;
  *"--id=0 --gpu-target-temp"*) echo "Setting target temperature is not supported for GPU 0"; exit 0 ;;
esac
"""


@pytest.fixture(scope="module")
def script() -> str:
    text: str = evaluate(f"(config [ host {LIMITS} ]).systemd.services.rigappliance-gpu.script")
    return text


def run(script: str, directory: Path, smi: str) -> tuple[subprocess.CompletedProcess[str], Any]:
    program = directory / "nvidia-smi"
    program.write_text(smi)
    program.chmod(0o755)
    log = directory / "log"
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{directory}:/usr/bin:/bin", "LOG": str(log)},
    )
    return done, log.read_text().splitlines()


def test_each_card_gets_its_limits(script: str, tmp_path: Path) -> None:
    done, calls = run(script, tmp_path, '#!/bin/sh\necho "$@" >> "$LOG"\n')
    assert (done.returncode, done.stderr) == (0, "")
    assert calls == [
        "--id=0 --power-limit=130",
        "--id=0 --gpu-target-temp=75",
        "--id=1 --power-limit=100",
        "--id=1 --gpu-target-temp=75",
        "--query-gpu=index,name,pci.bus_id,power.limit --format=csv",
    ]
    assert "card 1: power in W 100 is set" in done.stdout


def test_each_refusal_is_named_and_the_other_cards_are_limited(script: str, tmp_path: Path) -> None:
    done, calls = run(script, tmp_path, NVIDIA_SMI)
    assert done.returncode == 1
    assert len(calls) == 5
    refusals = done.stderr.splitlines()
    assert len(refusals) == 2
    assert "card 0: temperature in °C 75 was refused: Setting target temperature is not supported" in refusals[0]
    assert refusals[1] == (
        "card 1: power in W 100 was refused: Provided power limit 100.00 W is not valid between 110 and 170 W; "
        "expected: a value that it takes; to do: look at nvidia-smi --query --id=1 and set "
        'services.rigappliance.gpu.cards."1".'
    )
    assert "card 0: power in W 130 is set" in done.stdout
    assert "card 1: temperature in °C 75 is set" in done.stdout


def test_cards_that_do_not_answer_fail_the_unit(script: str, tmp_path: Path) -> None:
    smi = '#!/bin/sh\necho "$@" >> "$LOG"\ncase "$*" in *--query-gpu*) exit 9 ;; esac\n'
    done, _ = run(script, tmp_path, smi)
    assert (done.returncode, "refused" in done.stderr) == (1, False)


def test_the_cards_have_a_driver_and_no_screen() -> None:
    found = evaluate(
        """
        let evaluated = config [ host (driver "580.65.06") ]; in {
          x = evaluated.services.xserver.enable;
          drivers = evaluated.services.xserver.videoDrivers;
          inherit (evaluated.hardware.nvidia) open nvidiaPersistenced nvidiaSettings;
          modesetting = evaluated.hardware.nvidia.modesetting.enable;
          driver = evaluated.hardware.nvidia.package.version;
          graphics = evaluated.hardware.graphics.enable;
          modules = evaluated.boot.kernelModules;
          blacklist = evaluated.boot.blacklistedKernelModules;
        }"""
    )
    assert found.pop("modules").count("nvidia_uvm") == 1
    assert "nouveau" in found.pop("blacklist")
    assert found == {
        "x": False,
        "drivers": ["nvidia"],
        "open": True,
        "nvidiaPersistenced": True,
        "nvidiaSettings": False,
        "modesetting": False,
        "driver": "580.65.06",
        "graphics": True,
    }


def test_of_unfree_packages_only_nvidia_s_are_allowed() -> None:
    allowed = evaluate(
        """
        let
          allow = (config [ host ]).nixpkgs.config.allowUnfreePredicate;
          licence = shortName: { inherit shortName; free = false; };
          licensed = names: { pname = "x"; meta.license = map licence names; };
        in {
          driver = allow { pname = "nvidia-x11"; meta.license = licence "unfreeRedistributable"; };
          persistenced = allow { name = "nvidia-persistenced-580.1"; meta = { }; };
          cuda = allow (licensed [ "CUDA EULA" ]);
          single = allow { pname = "x"; meta.license = licence "CUDA EULA"; };
          mixed = allow (licensed [ "CUDA EULA" "unfree" ]);
          other = allow (licensed [ "unfree" ]);
          similar = allow { pname = "nvidiafb"; meta.license = licence "unfree"; };
        }"""
    )
    assert {name for name, is_allowed in allowed.items() if is_allowed} == {"driver", "persistenced", "cuda", "single"}
    assert (
        evaluate(
            """
            (config [ host { services.rigappliance.gpu.allowUnfree = false; nixpkgs.config.allowUnfree = true; } ])
            .nixpkgs.config ? allowUnfreePredicate"""
        )
        is False
    )
