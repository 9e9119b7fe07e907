from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rigappliance.config import RigConfig
from rigappliance.configfile import load_config
from rigappliance.errors import ConfigError
from rigappliance.loader import provide
from rigappliance.render.options import table
from rigappliance.render.vllm import (
    CACHES,
    DEVICE_ENVIRONMENT,
    ENTRY,
    FIXED_ENVIRONMENT,
    OUTCOMES,
    SECTIONS,
    EngineCommand,
    render,
)
from tests.configs import configurations


def command(**tree: Any) -> EngineCommand:
    return render(RigConfig.model_validate(tree))


def after(argv: tuple[str, ...], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_every_key_has_a_declared_outcome() -> None:
    config = RigConfig.model_validate({})
    keys = {f"{section}.{name}" for section in SECTIONS for name in type(getattr(config, section)).model_fields}
    assert keys - OUTCOMES.keys() == set()
    assert {key for key in OUTCOMES if key.split(".")[0] in SECTIONS} == keys


def test_every_dropped_key_says_why() -> None:
    for key, outcome in OUTCOMES.items():
        assert bool(outcome.why) == (outcome.how == "dropped" or outcome.devices != ("cuda", "cpu")), key


def test_every_option_and_variable_is_one_that_the_engine_knows() -> None:
    assert {outcome.name for outcome in OUTCOMES.values() if outcome.how == "option"} <= table().options.keys()
    variables = {name for o in OUTCOMES.values() if o.how in ("variable", "secret") for name in o.name.split()}
    variables |= set(CACHES.values()) | FIXED_ENVIRONMENT.keys() | set().union(*DEVICE_ENVIRONMENT.values())
    assert {name for name in variables if name.startswith("VLLM_")} <= table().environment


def test_rig_profile() -> None:
    argv = render(load_config(profile="rig", environ={})).argv
    assert argv[:4] == (
        "/opt/rigappliance/engine/bin/python",
        str(ENTRY),
        "serve",
        "/var/lib/rigappliance/models/Qwen2.5-72B-Instruct-GPTQ-Int8",
    )
    assert after(argv, "--served-model-name") == "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8"
    assert after(argv, "--tensor-parallel-size") == "8"
    assert after(argv, "--gpu-memory-utilization") == "0.85"
    assert after(argv, "--max-model-len") == "4096"
    assert after(argv, "--max-num-seqs") == "32"
    assert after(argv, "--shutdown-timeout") == "30"
    assert after(argv, "--load-format") == "sequential"
    for absent in ("--trust-remote-code", "--swap-space", "--enforce-eager", "--kv-cache-memory-bytes", "--device"):
        assert absent not in argv


def test_graphs_are_captured_for_the_requests_that_may_come() -> None:
    argv = command(engine={"max_num_seqs": 12}).argv
    place = argv.index("--cudagraph-capture-sizes")
    assert argv[place + 1 : place + 6] == ("1", "2", "4", "8", "12")
    told = command(engine={"options": {"cudagraph-capture-sizes": [1, 64]}}).argv
    assert told.count("--cudagraph-capture-sizes") == 1
    assert after(told, "--cudagraph-capture-sizes") == "1"
    for silent in ({"device": "cpu"}, {"enforce_eager": True}):
        assert "--cudagraph-capture-sizes" not in command(engine=silent).argv


def test_only_a_cpu_does_without_the_saved_model() -> None:
    name = "VLLM_USE_AOT_COMPILE"
    assert command(engine={"device": "cpu"}).environment[name] == "0"
    assert name not in command(engine={"device": "cuda"}).environment
    assert command(engine={"device": "cpu", "environment": {name: "1"}}).environment[name] == "1"


def test_demo_profile_runs_the_module_on_the_cpu_with_absolute_paths() -> None:
    argv = render(load_config(profile="demo", environ={})).argv
    assert argv[0] == str(Path.cwd() / ".engine/bin/python")
    assert argv[1:5] == (str(ENTRY), "-m", "vllm.entrypoints.openai.api_server", "--model")
    assert argv[5] == str(Path.cwd() / ".rigappliance/checkpoint")
    assert after(argv, "--kv-cache-memory-bytes") == str(256 * 1024**2)
    assert "--gpu-memory-utilization" not in argv


def test_interpreter_is_not_resolved_out_of_its_environment(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/usr/bin/env")
    argv = command(engine={"python": str(tmp_path / "bin" / "python")}).argv
    assert argv[0] == str(tmp_path / "bin" / "python")
    argv = command(engine={"python": str(tmp_path / "bin" / "python"), "start": "stock"}).argv
    assert argv[0] == str(tmp_path / "bin" / "vllm")


def test_stock_start_runs_what_the_engine_installs() -> None:
    assert command(engine={"python": "/e/bin/python", "start": "stock"}).argv[:2] == ("/e/bin/vllm", "serve")
    engine = {"python": "/e/bin/python", "start": "stock", "entrypoint": "module"}
    assert command(engine=engine).argv[:2] == ("/e/bin/python", "-m")


def test_shared_start_runs_a_file_that_is_there() -> None:
    assert ENTRY.is_file()


def test_loader_is_found_before_what_is_declared() -> None:
    engine = {"environment": {"PYTHONPATH": "/mine", "VLLM_PLUGINS": "other"}}
    environment = command(state_dir="/srv/state", engine=engine).environment
    first, second = environment["PYTHONPATH"].split(":")
    assert first.startswith("/srv/state/plugins/loader-")
    assert second == "/mine"
    assert environment["VLLM_PLUGINS"] == "other,rigappliance_sequential"
    stock = command(engine={**engine, "load_format": "auto"}).environment
    assert stock["PYTHONPATH"] == "/mine"
    assert stock["VLLM_PLUGINS"] == "other"


def test_names_that_look_like_options_are_joined() -> None:
    assert "--served-model-name=-O3" in command(model={"name": "-O3"}).argv


def test_environment() -> None:
    environment = command(state_dir="/srv/state", engine={"step_timeout": "1500ms"}).environment
    loader = str(provide.place_of(Path("/srv/state/plugins")))
    assert environment == {
        "CUDA_CACHE_PATH": "/srv/state/cache/cuda",
        "DO_NOT_TRACK": "1",
        "FLASHINFER_WORKSPACE_BASE": "/srv/state/cache/flashinfer",
        "HF_HOME": "/srv/state/cache/huggingface",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": loader,
        "TORCHINDUCTOR_CACHE_DIR": "/srv/state/cache/inductor",
        "TRANSFORMERS_OFFLINE": "1",
        "TRITON_CACHE_DIR": "/srv/state/cache/triton",
        "VLLM_CACHE_ROOT": "/srv/state/cache/vllm",
        "VLLM_ENGINE_READY_TIMEOUT_S": "86400",
        "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "2",
        "VLLM_NO_USAGE_STATS": "1",
        "XDG_CACHE_HOME": "/srv/state/cache/xdg",
    }


def test_online_engine_may_ask_the_hub() -> None:
    assert not {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} & command(engine={"offline": False}).environment.keys()


def test_declared_variables_win_over_the_caches() -> None:
    environment = command(engine={"environment": {"TRITON_CACHE_DIR": "/fast", "OMP_NUM_THREADS": "1"}}).environment
    assert environment["TRITON_CACHE_DIR"] == "/fast"
    assert environment["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("HF_HUB_OFFLINE", "set engine.offline instead"),
        ("VLLM_API_KEY", "set server.api_key_file instead"),
        ("VLLM_CPU_KVCACHE_SPACE", "set engine.kv_cache_memory instead"),
        ("VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS", "set engine.step_timeout instead"),
        ("VLLM_USE_V1", "V1 is the only engine"),
        ("A B", "rename it"),
        ("X=$(reboot)", "rename it"),
    ],
)
def test_variables_that_are_refused(name: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        command(engine={"environment": {name: "1"}})
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_cannot_be_executed_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        command(engine={"environment": {"X": text}})


def test_choices_of_typed_keys_are_checked() -> None:
    with pytest.raises(ConfigError) as caught:
        command(engine={"kv_cache_dtype": "fp9"})
    assert "engine.kv_cache_dtype is 'fp9'" in caught.value.found


def test_the_key_itself_is_nowhere(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("very-secret", encoding="utf-8")
    result = command(server={"api_key_file": str(key)})
    assert result.secrets == {"VLLM_API_KEY": key}
    assert "very-secret" not in repr(result)
    assert "VLLM_API_KEY" not in result.environment


def test_notice_about_swap_space_where_it_is_declared() -> None:
    assert [n.key for n in command().notices] == ["engine.swap_space"]
    assert "0.18 removed --swap-space" in str(command().notices[0])
    assert command(engine={"swap_space": None}).notices == ()
    assert render(load_config(profile="demo", environ={})).notices == ()


def test_notices_on_a_cpu() -> None:
    tree = {"profile": "demo", "engine": {"device": "cpu", "gpu_memory_utilization": 0.5, "swap_space": None}}
    keys = [n.key for n in command(**tree).notices]
    assert keys == ["engine.gpu_memory_utilization", "engine.kv_cache_memory"]


def test_generated_configurations_are_the_same_every_time() -> None:
    assert configurations(20) == configurations(20)
    assert configurations(20) != configurations(20, seed=33)
