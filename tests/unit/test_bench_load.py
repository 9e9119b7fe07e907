"""What the bench of loaders is made of: its checkpoint, its limited group, its figures. No engine is needed."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.hdd import Counts
from bench.loadwork import groups, team
from bench.loadwork.checkpoint import config, content, split, write_checkpoint
from bench.loadwork.figures import Run, medians, over
from bench.loadwork.rival import FILE
from bench.loadwork.turns import EAGER, STOCK, left_out
from rigappliance.facts.safetensors import read_shard
from rigappliance.plan.catalogue import entries, tensors_of
from rigappliance.plan.tensors import TensorShape

MODEL = "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8"
MIB = 1 << 20


def test_a_layer_has_the_real_models_tensors() -> None:
    real = dict(tensors_of(MODEL, entries()[MODEL].config))
    ours = dict(tensors_of("bench", config(layers=2, vocabulary=8192)))
    layer = {name: tensor for name, tensor in ours.items() if ".layers.1." in name}
    assert len(layer) > 30
    assert all(real[name] == tensor for name, tensor in layer.items())


def test_shards_are_about_equal_and_keep_the_order_of_the_modules() -> None:
    tensors = dict(tensors_of("bench", config(layers=4, vocabulary=8192)))
    parts = split(tensors, 4)
    sizes = [sum(tensor.size_bytes for tensor in part.values()) for part in parts]
    assert [name for part in parts for name in part] == list(tensors)
    assert len(parts) == 4
    assert max(sizes) < 1.4 * min(sizes)


def test_what_is_written_is_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {**entries()[MODEL].config, "hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 2,
             "num_key_value_heads": 2, "vocab_size": 128, "num_hidden_layers": 2}  # fmt: skip
    monkeypatch.setattr("bench.loadwork.checkpoint.config", lambda layers, vocabulary: small)
    total = write_checkpoint(tmp_path / "made", 2, 128, 2)
    shards = sorted((tmp_path / "made").glob("*.safetensors"))
    assert total == sum(shard.stat().st_size for shard in shards)
    weight_map = json.loads((tmp_path / "made" / "model.safetensors.index.json").read_text())["weight_map"]
    expected, found = dict(tensors_of("bench", small)), {}
    for shard in shards:
        facts, header = read_shard(shard)
        assert header is not None, facts
        for name in header.tensors:
            found[name] = shard.name
    assert found == weight_map
    assert set(found) == set(expected)


def test_halves_are_finite_and_groups_are_in_order() -> None:
    import random

    half = b"".join(content("scales", TensorShape("F16", (64, 64)), random.Random(1)))
    values = struct.unpack(f"<{len(half) // 2}e", half)
    assert all(abs(value) < 2 for value in values)
    assert len(set(values)) > 1000
    groups_of_columns = b"".join(content("g_idx", TensorShape("I32", (512,)), random.Random(1)))
    assert struct.unpack("<512i", groups_of_columns)[::128] == (0, 1, 2, 3)


ALLOCATE = """
import os, sys
for door in sys.argv[2:]:
    open(door, "w").write(str(os.getpid()))
held = bytearray(os.urandom(1)) * int(sys.argv[1])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="making a control group needs root")
@pytest.mark.skipif(not groups.ROOT.exists(), reason="there are no control groups")
def test_the_group_limits_counts_and_goes_away() -> None:
    with groups.limited(f"rigbench-test-{os.getpid()}", 64 * MIB) as group:
        fits = subprocess.run([sys.executable, "-c", ALLOCATE, str(20 * MIB), *group.doors], capture_output=True)
        assert fits.returncode == 0, fits.stderr
        assert 20 * MIB < group.usage().peak_bytes < 64 * MIB
        assert group.usage().reclaims == 0
        bursts = subprocess.run([sys.executable, "-c", ALLOCATE, str(200 * MIB), *group.doors], capture_output=True)
        assert bursts.returncode == -9
        assert group.usage().reclaims > 0
        held = subprocess.Popen([sys.executable, "-c", ALLOCATE + "input()", "0", *group.doors], stdin=subprocess.PIPE)
        while str(held.pid) not in (group.memory / "cgroup.procs").read_text().split():
            assert held.poll() is None
        assert set(group.usage().stalled_s) in (set(), set(groups.PRESSURES))
    assert not group.memory.exists()
    held.communicate(b"\n")
    assert held.returncode == 0


def test_the_way_home_is_where_this_process_is() -> None:
    for door in groups.home_doors(os.getpid()):
        assert str(os.getpid()) in Path(door).read_text().split()


def counted(size: int) -> Counts:
    return Counts(10, size, 3, 1.0, 0.0, 2, {"a": size}, {"a": 10})


def test_ratios_are_taken_within_a_round() -> None:
    base = [Run(10.0), Run(20.0), Run(10.0)]
    runs = [Run(20.0, disk=counted(200)), Run(20.0, disk=counted(110)), Run(15.0, disk=counted(100))]
    found = medians(runs, base, 100)
    assert found["ratios"] == [2.0, 1.0, 1.5]
    assert found["median_ratio"] == 1.5
    assert over(runs, base) == 1.5
    assert found["bytes_ratio"] == pytest.approx(1.1)


def test_the_rivals_reads_are_not_the_loaders() -> None:
    both = Counts(30, 500, 9, 1.0, 0.0, 2, {"a": 200, FILE: 300}, {"a": 10, FILE: 20})
    found = medians([Run(20.0, disk=both)], [Run(10.0)], 100)
    assert (found["bytes_ratio"], found["reads"], found["mean_read_bytes"], found["seeks"]) == (2.0, 10, 20.0, 9)


def test_eager_is_left_out_where_its_shards_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "model-1.safetensors").write_bytes(b"0" * 1000)
    assert "does not fit" in left_out(EAGER, tmp_path, 8, 7999, "hdd")
    assert left_out(EAGER, tmp_path, 8, 8000, "hdd") == ""
    assert left_out(EAGER, tmp_path, 8, 10, "fast") == ""
    assert left_out(replace(STOCK), tmp_path, 8, 10, "hdd") == ""


ORPHANS = """
import os, time
child = os.fork()
if child == 0:
    time.sleep(60)
os.write(1, b'{"built": [%d]}\\n' % child)
"""


def test_no_rank_outlives_its_team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ranks.py").write_text(ORPHANS)
    monkeypatch.setattr(team, "SCRIPT", tmp_path / "ranks.py")
    with team.team(Path(sys.executable), tmp_path, 1, tmp_path / "log") as people:
        (child,) = people.built_bytes
        assert Path(f"/proc/{child}").exists()
    deadline = time.monotonic() + 5
    # Who adopts it may take a moment to bury it.
    while (stat := Path(f"/proc/{child}/stat")).exists() and stat.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
