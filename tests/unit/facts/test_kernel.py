"""What the kernel's own files say about memory, from recorded texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigappliance.facts.kernel import KernelFacts, parse_buddyinfo, read_kernel_facts

MIB = 1024**2


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_free_blocks_are_bytes_by_order_without_the_smallest_zone() -> None:
    text = "Node 0, zone      DMA   1 1 9\nNode 0, zone    DMA32   2 0 1\nNode 1, zone   Normal   1 3 0 \n"
    assert parse_buddyinfo(text) == (3 * 4096, 3 * 8192, 1 * 16384)


@pytest.mark.parametrize("text", ["nonsense\n", "Node 0, zone DMA 1 2 3\n", "Node 0, zone Normal x\n"])
def test_odd_blocks_are_unknown(text: str) -> None:
    assert parse_buddyinfo(text) is None


def test_nodes_with_more_orders_count_too() -> None:
    assert parse_buddyinfo("Node 0, zone Normal 1\nNode 1, zone Normal 0 1\n") == (4096, 8192)


def test_all_of_them(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/sys/vm/swappiness": "60\n",
            "proc/sys/vm/page-cluster": "3\n",
            "proc/sys/vm/overcommit_memory": "2\n",
            "proc/meminfo": "CommitLimit: 3072 kB\nCommitted_AS: 1024 kB\n",
            "proc/buddyinfo": "Node 0, zone Normal 0 0 1\n",
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
            "sys/kernel/mm/transparent_hugepage/defrag": "always defer [defer+madvise] madvise never\n",
        },
    )
    assert read_kernel_facts(root) == KernelFacts(60, 3, 2, 2 * MIB, "madvise", "defer+madvise", (0, 0, 16384))


def test_more_promised_than_the_limit_is_a_negative_rest(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/meminfo": "CommitLimit: 1024 kB\nCommitted_AS: 2048 kB\n"})
    assert read_kernel_facts(root).commit_left_bytes == -MIB


def test_a_machine_that_tells_nothing_gives_unknowns(tmp_path: Path) -> None:
    assert read_kernel_facts(tmp_path) == KernelFacts()
