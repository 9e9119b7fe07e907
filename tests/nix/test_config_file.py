"""A wrong setting fails the build of the system: the configuration file's own build script, run here."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nix.bench import ROOT, evaluate

# The programs of this environment, as the package would bring them.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

RIGHT = {
    "the rig": "",
    "another port": "settings.server.port = 9000;",
    "an option of the engine": "settings.engine.options.seed = 1;",
    "environment of the engine": 'settings.engine.environment.OMP_NUM_THREADS = "1";',
    "a public address with a key": 'settings.server = { host = "0.0.0.0"; api_key_file = "/etc/rig/key"; };',
    "the demo": 'settings.profile = "demo";',
    "unset by null": "settings.engine.max_num_batched_tokens = null;",
}

# Definition → what has to be found, expected and done.
WRONG = {
    "unknown setting": (
        "settings.engine.tensor_paralel = 8;",
        "unknown key 'engine.tensor_paralel'",
        "did you mean 'engine.tensor_parallel'?",
    ),
    "unknown section": ("settings.sever.port = 8000;", "unknown key 'sever'", "did you mean"),
    "wrong type": (
        'settings.engine.max_num_seqs = "many";',
        "engine.max_num_seqs is 'many'",
        "expected: a whole number",
    ),
    "wrong unit": ('settings.launch.stall_timeout = "20";', "launch.stall_timeout is '20'", "a time with its unit"),
    "wrong word": ('settings.engine.dtype = "int8";', "engine.dtype is 'int8'", "correct engine.dtype"),
    "more ranks than cards": (
        "settings.engine.tensor_parallel = 16;",
        "makes 16 ranks, and hardware.cards is 8",
        "at most 8 ranks, one a card",
    ),
    "utilisation": (
        "settings.engine.gpu_memory_utilization = 1.5;",
        "engine.gpu_memory_utilization is 1.5",
        "a number above 0 and up to 1",
    ),
    "memory limit above the RAM": (
        'settings.memory.max = "32GB";',
        "memory.max 32GB is more than hardware.ram",
        "lower memory.max",
    ),
    "swap below the plan": ('swap.size = "2GiB";', "usable RAM and swap for 8 ranks", "add swap"),
    "no swap": ("swap.enable = false;", "usable RAM and swap for 8 ranks", "add swap"),
    "public without a key": (
        'settings.server.host = "0.0.0.0";',
        "server.host 0.0.0.0 is reachable from other machines",
        "set server.api_key_file",
    ),
    "repository": ('settings.model.repository = "qwen";', "model.repository is 'qwen'", "correct model.repository"),
    "option that the engine lost": (
        "settings.engine.options.use-v2-block-manager = true;",
        "use-v2-block-manager",
        "to do:",
    ),
}


# Module lists that are built as they stand.
WHOLE = {"the host rig": "[ host ]", "a rig of the template": "[ host ../../templates/rig/configuration.nix ]"}


@functools.cache
def files() -> dict[str, dict[str, str]]:
    """Case → the rendered file and the script that checks it."""
    definitions = RIGHT | {name: wrong[0] for name, wrong in WRONG.items()}
    cases = {name: f"[ appliance {{ services.rigappliance = {{ {text} }}; }} ]" for name, text in definitions.items()}
    whole = {name: modules.replace("../..", str(ROOT)) for name, modules in WHOLE.items()}
    entries = " ".join(f'"{name}" = {modules};' for name, modules in (cases | whole).items())
    built: dict[str, dict[str, str]] = evaluate(
        f"""
        lib.mapAttrs (_: modules: let
          inherit ((config modules).services.rigappliance) configFile settings;
        in {{
          json = builtins.toJSON settings;
          script = configFile.buildCommand;
          inherit (configFile) name;
          rendered = configFile.rendered.name;
        }}) {{ {entries} }}"""
    )
    return built


def build(case: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the script as the builder would, with the file that it is given."""
    file = files()[case]
    rendered = directory / file["rendered"]
    rendered.write_text(file["json"])
    return subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", file["script"]],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        # A build's environment is empty but for the derivation.
        env={"PATH": PATH, "HOME": "/homeless-shelter", "rendered": str(rendered), "out": str(directory / "out")},
    )


@pytest.mark.parametrize("case", [*RIGHT, *WHOLE])
def test_what_is_right_is_built(case: str, tmp_path: Path) -> None:
    done = build(case, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "out").read_text()) == json.loads(files()[case]["json"])


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_fails_the_build_with_one_sentence(case: str, tmp_path: Path) -> None:
    _, found, remedy = WRONG[case]
    done = build(case, tmp_path)
    assert done.returncode == 3, done
    assert not (tmp_path / "out").exists()
    assert found in done.stderr
    assert remedy in done.stderr
    lines = done.stderr.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["rigappliance", "expected", "to do"], done.stderr


def test_the_file_is_known_by_its_suffix() -> None:
    """The package tells JSON from TOML by it."""
    assert {(file["name"], file["rendered"]) for file in files().values()} == {("rig.json", "rig.json")}


def test_the_system_and_the_services_use_the_file_that_was_checked() -> None:
    found = evaluate(
        """
        let
          evaluated = config [ host ];
          file = evaluated.services.rigappliance.configFile;
        in {
          file = "${file}";
          etc = "${evaluated.environment.etc."rigappliance/rig.json".source}";
          services = map (name: evaluated.systemd.services.${name}.serviceConfig.ExecStart)
            [ "rigappliance" "rigappliance-swap" ];
          command = evaluated.environment.variables.RIGAPPLIANCE_CONFIG;
          package = lib.elem evaluated.services.rigappliance.package file.nativeBuildInputs;
        }"""
    )
    assert found["etc"] == found["file"]
    assert [f" --config {found['file']} " in command for command in found["services"]] == [True, True]
    assert found["command"] == "/etc/rigappliance/rig.json"
    assert found["package"] is True
