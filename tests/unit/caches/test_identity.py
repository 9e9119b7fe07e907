"""For what a cache is made: what changes the key, and what does not."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigappliance.caches.identity import Identity, read_identity
from rigappliance.config import RigConfig
from rigappliance.configfile import load_config
from rigappliance.demo.checkpoint import TinyQwen2, write_checkpoint
from rigappliance.facts.gpu import CardFacts, GpuFacts

CARD = CardFacts(0, name="RTX 3060", compute_capability=(8, 6))
CARDS = GpuFacts(driver_version="580.65", cards=tuple(replace(CARD, index=i) for i in range(8)))
LIBRARY = "vllm/_C.abi3.so,sha256=abc,214\n"


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    """A place with an engine's metadata and a checkpoint."""
    write_checkpoint(tmp_path / "checkpoint", TinyQwen2(layers=1, hidden_size=64, heads=1, kv_heads=1))
    packages = tmp_path / "engine/lib/python3.11/site-packages"
    for name in ("vllm-0.32.0", "torch-2.13.0+cu130", "triton-3.6.0", "flashinfer_python-0.6.1"):
        (packages / f"{name}.dist-info").mkdir(parents=True)
    (packages / "vllm-0.32.0.dist-info/RECORD").write_text(LIBRARY + "vllm/__init__.py,sha256=x,1\n")
    return tmp_path


def config(place: Path, **engine: Any) -> RigConfig:
    loaded = load_config(environ={"RIGAPPLIANCE_STATE_DIR": str(place / "state")})
    return loaded.model_copy(
        update={
            "model": loaded.model.model_copy(update={"path": place / "checkpoint"}),
            "engine": loaded.engine.model_copy(update={"python": place / "engine/bin/python", **engine}),
        }
    )


def of(place: Path, cards: GpuFacts = CARDS, **engine: Any) -> Identity:
    return read_identity(config(place, **engine), cards=cards)


def differing(first: Identity, second: Identity) -> list[str]:
    return [each.field for each in first.differences(second)]


def otherwise_set(first: Identity, second: Identity) -> list[str]:
    return [each.field for each in first.other_settings(second)]


def test_what_is_read(rig: Path) -> None:
    fields = of(rig).fields
    assert (fields["engine"], fields["torch"], fields["cuda"]) == ("0.32.0", "2.13.0+cu130", "13")
    assert (fields["triton"], fields["flashinfer"], fields["python"]) == ("3.6.0", "0.6.1", "3.11")
    assert (fields["layout"], fields["cards"], fields["driver"]) == ("TP 8 PP 1", "8 x RTX 3060 8.6", "580.65")
    assert len(fields["engine build"]) == len(fields["model"]) == len(of(rig).key) == 16
    assert of(rig) == of(rig)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("layout", {"tensor_parallel": 4}),
        ("layout", {"pipeline_parallel": 2}),
    ],
)
def test_a_layout_makes_another_rig_of_it(field: str, change: dict[str, Any], rig: Path) -> None:
    assert differing(of(rig, **change), of(rig)) == [field]
    assert of(rig, **change).key != of(rig).key


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("dtype", {"dtype": "float16"}),
        ("max_model_len", {"max_model_len": 2048}),
        ("max_num_seqs", {"max_num_seqs": 16}),
        ("optimization_level", {"optimization_level": 1}),
        ("options", {"options": {"cudagraph-capture-sizes": [1, 2]}}),
        ("environment", {"environment": {"VLLM_PP_LAYER_PARTITION": "1,2"}}),
        ("gpu_memory_utilization", {"gpu_memory_utilization": 0.5}),
    ],
)
def test_an_option_makes_another_setup_of_the_same_rig(field: str, change: dict[str, Any], rig: Path) -> None:
    assert otherwise_set(of(rig, **change), of(rig)) == [field]
    assert of(rig, **change).key == of(rig).key
    assert of(rig, **change).setup != of(rig).setup


def test_another_build_of_the_same_version_is_another_engine(rig: Path) -> None:
    before = of(rig)
    record = rig / "engine/lib/python3.11/site-packages/vllm-0.32.0.dist-info/RECORD"
    record.write_text(LIBRARY + "vllm/__init__.py,sha256=other,1\nvllm/__pycache__/a.pyc,,\n")
    assert of(rig) == before
    record.write_text(LIBRARY.replace("abc", "abd"))
    assert differing(of(rig), before) == ["engine build"]


def test_other_cards_or_drivers_are_named(rig: Path) -> None:
    one_less = replace(CARDS, cards=CARDS.cards[1:])
    assert [str(each) for each in of(rig, one_less).differences(of(rig))] == [
        "cards is 7 x RTX 3060 8.6 and not 8 x RTX 3060 8.6"
    ]
    assert differing(of(rig, replace(CARDS, driver_version="590.1")), of(rig)) == ["driver"]
    mixed = replace(CARDS, cards=(*CARDS.cards[1:], replace(CARD, index=8, name="RTX 3080")))
    assert of(rig, mixed).fields["cards"] == "7 x RTX 3060 8.6, 1 x RTX 3080 8.6"


def test_the_model_is_its_shape_and_not_its_weights(rig: Path) -> None:
    before = of(rig)
    shard = sorted((rig / "checkpoint").glob("*.safetensors"))[0]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    os.utime(shard, (1e9, 1e9))
    assert of(rig) == before
    # The first tensor's name, in the header.
    content[12] ^= 1
    shard.write_bytes(content)
    assert differing(of(rig), before) == ["model"]


def test_nothing_there_is_nothing_known(tmp_path: Path) -> None:
    fields = of(tmp_path, GpuFacts(reason="no driver")).fields
    assert {fields[name] for name in ("engine", "engine build", "torch", "cuda", "python", "cards", "driver")} == {""}


def test_no_secret_goes_to_other_rigs(rig: Path) -> None:
    told = {"VLLM_PP_LAYER_PARTITION": "1,2", "HF_TOKEN": "hf_s3cret", "VLLM_SOME_KEY": "s3cret", "LANG": "C"}
    identity = of(rig, environment=told, options={"hf-token": "hf_s3cret", "seed": 1})
    assert identity.settings["options"] == '{"seed": 1}'
    assert identity.settings["environment"] == '{"VLLM_PP_LAYER_PARTITION": "1,2"}'
    assert "s3cret" not in str(identity)
