"""What a start tells of a rig's own numbers, held against a plan made with other ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rigappliance.launch.treememory import ProcessMemory
from rigappliance.plan.activations import graph_count
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.calibrate import as_toml, from_cards, from_log, from_processes, read_log
from rigappliance.plan.catalogue import from_catalogue
from rigappliance.plan.coefficients import Coefficient, Coefficients, read_coefficients, shipped
from rigappliance.plan.memory import plan_memory
from rigappliance.plan.numbers import FILE, numbers_for

MIB, GIB = 1 << 20, 1 << 30
SEED = EngineArguments(8, 1, 0.89, 4096, 32, 2048, measures_kernels=False)
CARDS = [12288 * MIB] * 8
SHAPE = from_catalogue("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8")
WORKER = "(Worker_TP{rank} pid=9) INFO 11-23 10:00:00 [gpu_worker.py:759] "


def other(**values: float) -> Coefficients:
    """The shipped numbers, some of them changed: those of another rig."""
    changed = {name.replace("__", "."): value for name, value in values.items()}
    return Coefficients({name: replace(one, value=changed.get(name, one.value)) for name, one in shipped().items()})


def log_of(numbers: Coefficients) -> list[str]:
    """What the engine would say on a rig where these numbers are right."""
    card = plan_memory(SHAPE, SEED, CARDS, numbers).fullest
    graphs = next(line.size_bytes for line in card.budget.lines if line.name == "graphs") / GIB
    lines = ["non-default args: {}"]
    for rank in range(8):
        begin = WORKER.format(rank=rank)
        lines += [
            f"{begin}Estimated CUDA graph memory: {graphs:.2f} GiB total",
            f"{begin}Available KV cache memory: {card.kv_available_bytes / GIB:.2f} GiB",
        ]
    return lines


def test_another_rigs_numbers_are_found_again_from_its_log() -> None:
    truth = other(vram__non_torch=400 * MIB, vram__graphs=300 * MIB)
    plan = plan_memory(SHAPE, SEED, CARDS, shipped()).fullest
    found = {one.name: one for one in from_log(read_log(log_of(truth)), plan, shipped(), graph_count(SEED))}
    # The log rounds to 10 MiB, twice.
    assert found["vram.graphs"].value == pytest.approx(300 * MIB, abs=11 * MIB)
    assert found["vram.non_torch"].value == pytest.approx(400 * MIB, abs=22 * MIB)


def test_a_plan_with_them_says_what_the_log_said() -> None:
    truth = other(vram__non_torch=400 * MIB, vram__graphs=300 * MIB)
    plan = plan_memory(SHAPE, SEED, CARDS, shipped()).fullest
    own = from_log(read_log(log_of(truth)), plan, shipped(), graph_count(SEED))
    fitted = Coefficients({one.name: one for one in own}).before(shipped())
    said, again = (plan_memory(SHAPE, SEED, CARDS, numbers).fullest.kv_available_bytes for numbers in (truth, fitted))
    assert again == pytest.approx(said, abs=22 * MIB)


def test_only_the_last_start_in_a_log_counts() -> None:
    old = log_of(other(vram__graphs=GIB))
    new = log_of(shipped())
    assert read_log([*old, *new]) == read_log(new) != read_log(old)


def test_a_log_without_the_lines_tells_nothing() -> None:
    plan = plan_memory(SHAPE, SEED, CARDS, shipped()).fullest
    assert (
        list(from_log(read_log(["non-default args: {}", "Available KV cache memory: soon"]), plan, shipped(), 18)) == []
    )


def test_the_context_is_what_the_card_holds_beyond_the_rest() -> None:
    plan = plan_memory(SHAPE, SEED, CARDS, shipped()).fullest
    used = plan.ledger.used_bytes - plan.ledger.bytes_of("sampling") + 100 * MIB
    [found] = from_cards([used, used - GIB], plan, shipped())
    assert found.value == shipped().size_bytes("vram.cuda_context") + 100 * MIB
    assert list(from_cards([], plan, shipped())) == []


def test_processes_give_the_hosts_numbers_swap_included() -> None:
    processes = [
        ProcessMemory(1, "API server", 300 * MIB, 200 * MIB, 100 * MIB),
        ProcessMemory(2, "EngineCore", 400 * MIB, 0, 300 * MIB),
        *(ProcessMemory(3 + rank, f"Worker_TP{rank}", 2 * GIB, GIB, GIB) for rank in range(8)),
        ProcessMemory(20, "resource tracker", 8 * MIB, 0, 8 * MIB),
    ]
    found = {one.name: one.value for one in from_processes(processes, shipped(), "cuda", "stock")}
    assert found.keys() == {"host.api_server", "host.engine_core", "host.cuda_serving"}
    assert found["host.api_server"] == 500 * MIB and found["host.engine_core"] == 400 * MIB
    peers = shipped().size_bytes("host.peers")
    assert found["host.cuda_serving"] == 3 * GIB - shipped().size_bytes("host.worker") - peers
    assert "host.cuda_serving" not in {one.name for one in from_processes(processes, shipped(), "cpu", "stock")}
    forked = {one.name: one.value for one in from_processes(processes, shipped(), "cuda", "shared")}
    # Together they are what all processes hold.
    assert forked["host.imports"] == 300 * MIB + 8 * GIB
    assert forked["host.api_server_own"] == 300 * MIB and forked["host.engine_core_own"] == 300 * MIB
    assert forked["host.cuda_serving"] == 2 * GIB - shipped().size_bytes("host.worker_own") - peers
    alone = {one.name: one.value for one in from_processes(processes[:3], shipped(), "cuda", "stock")}
    assert alone["host.cuda_serving"] == 3 * GIB - shipped().size_bytes("host.worker")


def test_the_file_is_read_back_and_goes_before_the_shipped_numbers(tmp_path: Path) -> None:
    one = Coefficient("vram.nccl", 5.0, "bytes", 'a "rig" \\ with\nquotes', "2026-11-23")
    (tmp_path / FILE).write_text(as_toml([one]))
    assert dict(read_coefficients(tmp_path / FILE)) == {"vram.nccl": one}
    assert numbers_for(tmp_path)["vram.nccl"] == one
    assert numbers_for(tmp_path)["vram.driver"] == shipped()["vram.driver"]
    assert numbers_for(tmp_path / "none") == shipped()
