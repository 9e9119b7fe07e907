"""From defaults, profile, file and environment to a configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from rigappliance.config import ContradictionError, RigConfig
from rigappliance.configfile import RESERVED_ENV, from_environment, known_keys, load_config, merge, variable_of
from rigappliance.errors import ConfigError
from rigappliance.profiles import PROFILES

GB, GIB = 1000**3, 1024**3


def load(path: Path | None = None, *, profile: str | None = None, **environ: str) -> RigConfig:
    return load_config(path, profile=profile, environ={f"RIGAPPLIANCE_{name}": text for name, text in environ.items()})


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


# --- the rig ---------------------------------------------------------------


def test_the_rig_profile_is_the_rig() -> None:
    rig = load(profile="rig")
    assert (rig.engine.tensor_parallel, rig.engine.pipeline_parallel, rig.ranks) == (8, 1, 8)
    assert rig.engine.gpu_memory_utilization == 0.85
    assert rig.engine.max_model_len == 4096
    assert rig.engine.max_num_seqs == 32
    assert rig.engine.swap_space == 1 * GIB
    assert rig.engine.device == "cuda"
    assert rig.server.port == 8000
    assert rig.memory.max == "90%"
    assert rig.memory.swap == 128 * GIB
    assert (rig.hardware.cards, rig.hardware.card_memory, rig.hardware.ram) == (8, 12 * GB, 16 * GB)
    assert rig.model.name == "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8"


def test_the_rig_is_what_nothing_declares() -> None:
    assert load() == load(profile="rig") == RigConfig()


def test_foreign_code_and_foreign_hosts_are_off_unless_declared() -> None:
    rig = load()
    assert rig.model.trust_remote_code is False
    assert rig.engine.offline is True
    assert rig.server.host == "127.0.0.1"
    assert rig.server.api_key_file is None
    assert load(MODEL__TRUST_REMOTE_CODE="true").model.trust_remote_code is True


def test_a_silent_phase_of_twenty_minutes_is_not_hung() -> None:
    """Compilation and graph capture took 15 to 20 minutes there, and loading 28."""
    assert load().launch.stall_timeout >= 20 * 60
    assert load().engine.step_timeout >= 15 * 60


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_is_valid_by_itself(profile: str) -> None:
    assert load(profile=profile).profile == profile


def test_the_demo_needs_no_card_and_no_swap() -> None:
    demo = load(profile="demo")
    assert (demo.engine.device, demo.hardware.cards, demo.memory.swap, demo.ranks) == ("cpu", 0, 0, 1)
    # What it does not say is the rig's.
    assert demo.server == load().server


# --- what wins -------------------------------------------------------------


def test_later_wins(tmp_path: Path) -> None:
    """Defaults, profile, file, environment: here with one key that each of them sets and one that it leaves."""
    file = write(tmp_path / "rig.toml", 'profile = "demo"\n[engine]\nmax_num_seqs = 3\nmax_model_len = 300\n')
    assert load().engine.max_model_len == 4096
    assert load(profile="demo").engine.max_model_len == 1024
    assert load(file).engine.max_model_len == 300
    assert load(file, ENGINE__MAX_MODEL_LEN="30").engine.max_model_len == 30
    whole = load(file, ENGINE__MAX_MODEL_LEN="30")
    assert whole.engine.max_num_seqs == 3
    assert whole.engine.dtype == "bfloat16"
    assert whole.server.port == 8000


def test_the_profile_is_the_argument_s_then_the_environment_s_then_the_file_s(tmp_path: Path) -> None:
    file = write(tmp_path / "rig.toml", 'profile = "demo"\n')
    assert load(file).profile == "demo"
    assert load(file, PROFILE="rig").profile == "rig"
    assert load(file, PROFILE="rig", profile="demo").profile == "demo"
    assert load(file, PROFILE="").profile == "demo"
    assert load(file, profile="rig").engine.device == "cuda"


TREES = st.recursive(
    st.one_of(st.integers(), st.text(max_size=3)),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
DICTS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


def leaves(tree: dict[str, Any], prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    result: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            result |= leaves(value, (*prefix, key))
        else:
            result[*prefix, key] = value
    return result


@given(DICTS, DICTS)
def test_merging_keeps_all_of_the_upper_and_the_rest_of_the_lower(base: dict[str, Any], over: dict[str, Any]) -> None:
    base_before, over_before = json.dumps(base), json.dumps(over)
    merged = leaves(merge(base, over))
    upper, lower = leaves(over), leaves(base)
    assert merged.items() >= upper.items()
    assert all(path in upper or lower[path] == value for path, value in merged.items())

    def hidden(path: tuple[str, ...]) -> bool:
        """Whether ``over`` puts a value, or another section, in the way."""
        return any(path[:n] in upper for n in range(1, len(path))) or any(u[: len(path)] == path for u in upper)

    assert {path for path in lower if not hidden(path)} - merged.keys() <= {
        path for path in lower if empty_section_over(over, path)
    }
    assert (json.dumps(base), json.dumps(over)) == (base_before, over_before)


def empty_section_over(over: dict[str, Any], path: tuple[str, ...]) -> bool:
    """A value gives way to a section, also to an empty one."""
    value: Any = over
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return isinstance(value, dict)


@given(DICTS, DICTS, DICTS)
def test_merging_in_one_go_or_in_two_is_the_same(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    assert merge(a, {}) == merge({}, a) == a
    assert merge(a, a) == a
    if not any(isinstance(value, dict) for tree in (a, b, c) for value in tree.values()):
        assert merge(merge(a, b), c) == merge(a, merge(b, c))


# --- files -----------------------------------------------------------------

EXAMPLE: dict[str, Any] = {
    "state_dir": "/srv/état",
    "model": {"name": 'it\'s "a" name', "path": "models/✓", "trust_remote_code": True},
    "engine": {
        "tensor_parallel": 2,
        "gpu_memory_utilization": 0.5,
        "kv_cache_memory": "1.5GiB",
        "options": {"seed": 1, "stop": ["a", "b"], "hf-overrides": {"deep": {"er": [1, 2]}}},
        "environment": {"OMP_NUM_THREADS": "1"},
    },
    "launch": {"drain_timeout": "1500ms"},
}
EXAMPLE_TOML = """\
state_dir = "/srv/état"
[model]
name = '''it's "a" name'''
path = "models/✓"
trust_remote_code = true
[engine]
tensor_parallel = 2
gpu_memory_utilization = 0.5
kv_cache_memory = "1.5GiB"
options = { seed = 1, stop = ["a", "b"] }
options.hf-overrides.deep.er = [1, 2]
environment.OMP_NUM_THREADS = "1"
[launch]
drain_timeout = "1500ms"
"""


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    text = EXAMPLE_TOML.replace(
        'options = { seed = 1, stop = ["a", "b"] }', 'options.seed = 1\noptions.stop = ["a", "b"]'
    )
    of_toml = load(write(tmp_path / "rig.toml", text))
    assert of_toml == load(write(tmp_path / "rig.json", json.dumps(EXAMPLE)))
    assert of_toml == load(write(tmp_path / "RIG.JSON", json.dumps(EXAMPLE, ensure_ascii=False)))
    assert of_toml == load(write(tmp_path / "bom.toml", "\ufeff" + text))
    assert of_toml.engine.options == EXAMPLE["engine"]["options"]
    assert of_toml.launch.drain_timeout == 1.5


def test_relative_paths_are_the_file_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (
        'state_dir = "s"\n[model]\npath = "../m"\n[engine]\npython = "/opt/python"\n[server]\napi_key_file = "k/key"\n'
    )
    file = write(tmp_path / "etc/rig.toml", content)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.toml").symlink_to(file)
    for directory, name in (
        ("etc", "rig.toml"),
        ("elsewhere", "../etc/rig.toml"),
        (".", str(file)),
        (".", "link.toml"),
    ):
        monkeypatch.chdir(tmp_path / directory)
        config = load(Path(name))
        assert config.state_dir == tmp_path / "etc/s"
        assert config.model.path.resolve() == tmp_path / "m"
        assert config.engine.python == Path("/opt/python")
        assert config.server.api_key_file == tmp_path / "etc/k/key"


def test_relative_paths_of_a_profile_are_the_working_directory_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "etc/rig.toml", 'profile = "demo"\n[engine]\npython = "bin/python"\n')
    monkeypatch.chdir(tmp_path)
    config = load(file)
    assert config.state_dir == tmp_path / ".rigappliance/state"
    assert config.engine.python == tmp_path / "etc/bin/python"


# --- the environment -------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "tree"),
    [
        ("ENGINE__MAX_MODEL_LEN", "2048", {"engine": {"max_model_len": 2048}}),
        ("ENGINE__GPU_MEMORY_UTILIZATION", "0.5", {"engine": {"gpu_memory_utilization": 0.5}}),
        ("ENGINE__ENFORCE_EAGER", "true", {"engine": {"enforce_eager": True}}),
        ("ENGINE__QUANTIZATION", "null", {"engine": {"quantization": None}}),
        ("MODEL__NAME", "Qwen/Qwen2.5", {"model": {"name": "Qwen/Qwen2.5"}}),
        ("MODEL__NAME", '"8"', {"model": {"name": "8"}}),
        ("MEMORY__SWAP", "128GiB", {"memory": {"swap": "128GiB"}}),
        ("MEMORY__MAX", "90%", {"memory": {"max": "90%"}}),
        ("STATE_DIR", "/srv/state dir", {"state_dir": "/srv/state dir"}),
        ("SERVER", '{"port": 8123}', {"server": {"port": 8123}}),
        ("ENGINE__OPTIONS__SEED", "1", {"engine": {"options": {"seed": 1}}}),
        ("ENGINE__OPTIONS", '{"stop": ["a"]}', {"engine": {"options": {"stop": ["a"]}}}),
        # The engine's variables keep their case and stay text.
        ("ENGINE__ENVIRONMENT__OMP_NUM_THREADS", "1", {"engine": {"environment": {"OMP_NUM_THREADS": "1"}}}),
        ("ENGINE__ENVIRONMENT__no_proxy", "*", {"engine": {"environment": {"no_proxy": "*"}}}),
        ("ENGINE__ENVIRONMENT__A__B", "{}", {"engine": {"environment": {"A__B": "{}"}}}),
        ("MODEL__NAME", "[" * 10_000, {"model": {"name": "[" * 10_000}}),
    ],
)
def test_variables_become_keys(variable: str, text: str, tree: dict[str, Any]) -> None:
    assert from_environment({f"RIGAPPLIANCE_{variable}": text}) == tree
    load(None, profile=None, **{variable: text})


def test_variables_of_one_section_add_up() -> None:
    config = load(SERVER__PORT="8123", SERVER__HOST="0.0.0.0", ENGINE__OPTIONS__SEED="1", ENGINE__MAX_NUM_SEQS="4")
    assert (config.server.port, config.server.host) == (8123, "0.0.0.0")
    assert (config.engine.options, config.engine.max_num_seqs) == ({"seed": 1}, 4)
    assert load(SERVER='{"port": 1, "host": "::1"}', SERVER__PORT="2").server.port == 2


def test_variables_of_others_are_left_alone() -> None:
    others = dict.fromkeys(RESERVED_ENV, "x") | {
        "RIGAPPLIANCE_TEST_PORT": "1",
        "PATH": "/bin",
        "_RIGAPPLIANCE_COMPLETE": "x",
    }
    assert from_environment(others) == {}


# The profile is chosen before there are keys.
@pytest.mark.parametrize("key", [key for key in known_keys() if key != "profile"])
def test_every_key_can_be_set_by_its_variable(key: str) -> None:
    section, _, name = key.rpartition(".")
    tree: dict[str, Any] = {name: "x"}
    assert from_environment({variable_of(key): "x"}) == ({section: tree} if section else tree)


NAMES = st.text(st.sampled_from("ABEGINRS_"), max_size=12)


@settings(max_examples=300)
@given(st.dictionaries(NAMES.map(lambda name: f"RIGAPPLIANCE_{name}"), st.text(max_size=6), max_size=3))
def test_any_environment_is_a_tree_or_a_config_error(environ: dict[str, str]) -> None:
    try:
        load_config(environ=environ)
    except ConfigError as error:
        assert error.found
        assert error.expected
        assert error.remedy


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)


@settings(max_examples=500)
@given(st.sampled_from(known_keys()), VALUES)
def test_any_value_of_any_key_is_taken_or_a_config_error_that_names_it(key: str, value: Any) -> None:
    environ = {variable_of(key): json.dumps(value)}
    try:
        load_config(environ={**environ, "RIGAPPLIANCE_PROFILE": "rig"})
    except ConfigError as error:
        assert key in error.found or "tensor_parallel" in error.found
        assert error.expected
        assert error.remedy
        assert "pydantic" not in error.message.lower()
        assert "input should" not in error.message.lower()


# --- the models ------------------------------------------------------------


def sections(config: BaseModel) -> list[BaseModel]:
    return [config, *(value for _, value in config if isinstance(value, BaseModel))]


def test_configurations_do_not_change() -> None:
    models = sections(RigConfig())
    assert len(models) == 7
    for model in models:
        for name in type(model).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(model, name, getattr(model, name))


def test_no_section_ignores_a_key() -> None:
    for model in sections(RigConfig()):
        with pytest.raises(ValidationError, match="extra_forbidden"):
            type(model).model_validate({"no_such_key": 1})


def test_every_key_has_a_description() -> None:
    for model in sections(RigConfig()):
        silent = [
            name for name, field in type(model).model_fields.items() if not (field.description or "").endswith(".")
        ]
        assert (type(model).__name__, silent) == (type(model).__name__, [])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    for profile in PROFILES:
        config = load(profile=profile)
        file = write(tmp_path / f"{profile}.json", config.model_dump_json())
        assert load(file) == config


@pytest.mark.parametrize(("tensor", "pipeline", "cards"), [(8, 1, 8), (4, 2, 8), (1, 1, 1), (2, 2, 9)])
def test_layouts_that_fit(tensor: int, pipeline: int, cards: int) -> None:
    engine = {"tensor_parallel": tensor, "pipeline_parallel": pipeline}
    assert RigConfig.model_validate({"engine": engine, "hardware": {"cards": cards}}).ranks == tensor * pipeline


@pytest.mark.parametrize(("tensor", "pipeline", "cards"), [(8, 2, 8), (9, 1, 8), (1, 1, 0), (3, 3, 8)])
def test_layouts_that_do_not(tensor: int, pipeline: int, cards: int) -> None:
    tree = {"engine": {"tensor_parallel": tensor, "pipeline_parallel": pipeline}, "hardware": {"cards": cards}}
    with pytest.raises(ValidationError) as caught:
        RigConfig.model_validate(tree)
    cause = caught.value.errors()[0]["ctx"]["error"]
    assert isinstance(cause, ContradictionError)
    assert f"makes {tensor * pipeline} ranks, and hardware.cards is {cards}" in cause.found
    assert RigConfig.model_validate({**tree, "engine": {**tree["engine"], "device": "cpu"}}).ranks == tensor * pipeline
