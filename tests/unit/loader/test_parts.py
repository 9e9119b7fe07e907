"""Reading shards with errors that can be acted on, the window, options, and the way into the engine."""

from __future__ import annotations

import itertools
import mmap
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from rigappliance.loader.board import Board
from rigappliance.loader.cached import all_cached
from rigappliance.loader.errors import LoadError
from rigappliance.loader.memory import MIB, free_bytes, window_for
from rigappliance.loader.options import Options
from rigappliance.loader.provide import ENTRY_POINT, environment, provide
from rigappliance.loader.ranks import StoreMeeting
from rigappliance.loader.shardfile import ShardFile, rest_of
from tests.unit.loader.shards import checkpoint

PAGE = mmap.PAGESIZE
# Linux 6.5; without it the loader reads as if nothing were in the page cache.
needs_cachestat = pytest.mark.skipif(
    tuple(map(int, os.uname().release.split(".")[:2])) < (6, 5), reason="the kernel has no cachestat"
)


def buffer(size: int) -> memoryview:
    return memoryview(bytearray(size))


def test_buffers_are_filled_one_after_the_other_whatever_a_read_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ShardFile(checkpoint(tmp_path)[0])
    content, read = file.shard.path.read_bytes(), os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: read(fd, [buffers[0][:700]], offset))
    buffers = [buffer(1000) for _ in range(3000)]
    file.fill(buffers[:30], 5000, "t")
    monkeypatch.undo()
    # More of them than the system takes at once.
    many = [buffer(50) for _ in range(3000)]
    file.fill(many, 7, "t")
    file.close()
    assert b"".join(buffers[:30]) == content[5000:35000]
    assert b"".join(many) == content[7:150_007]


def test_rows_are_read_each_to_its_place_also_where_a_read_comes_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ShardFile(checkpoint(tmp_path)[0])
    content, read, calls = file.shard.path.read_bytes(), os.preadv, itertools.count()

    def short(descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        return read(descriptor, [buffers[0][:300]] if next(calls) % 3 == 1 else buffers, offset)

    monkeypatch.setattr(os, "preadv", short)
    memory = buffer(20 * 1000)
    file.fill_each(memory, 700, [(5000 + 4096 * row, 1000 * row) for row in range(20)], "t")
    file.close()
    for row in range(20):
        assert memory[1000 * row : 1000 * row + 700] == content[5000 + 4096 * row : 5700 + 4096 * row]
        assert bytes(memory[1000 * row + 700 : 1000 * row + 1000]) == bytes(300)


def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, read = ShardFile(checkpoint(tmp_path)[0]), os.preadv

    def failing(descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        if offset >= 9000:
            raise OSError(5, "Input/output error")
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(LoadError, match="tensor t: reading 100 bytes from byte 10000 failed: Input/output error"):
        file.fill_each(buffer(300), 100, [(8000, 0), (10000, 100), (12000, 200)], "t")
    monkeypatch.undo()
    os.truncate(file.shard.path, 10050)
    with pytest.raises(LoadError, match="tensor t: the file ends at byte 10050, expected 50 bytes from byte 10050"):
        file.fill_each(buffer(300), 100, [(8000, 0), (10000, 100), (12000, 200)], "t")
    file.close()


@needs_cachestat
def test_what_the_page_cache_holds_is_known() -> None:
    # Where files outlast a reboot, and so are on a disk; /tmp may be nowhere but in memory.
    with TemporaryFile(dir="/var/tmp") as file:
        file.write(bytes(64 * PAGE))
        file.flush()
        os.fsync(file.fileno())
        # Otherwise the cache may hold it in pieces that cannot go by halves, and reading one page brings in others.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert not all_cached(file.fileno(), 0, PAGE)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for page in (*range(32), *range(48, 64)):
            os.pread(file.fileno(), 1, page * PAGE)
        assert all_cached(file.fileno(), 0, 32 * PAGE) and all_cached(file.fileno(), 48 * PAGE, 16 * PAGE)
        assert all_cached(file.fileno(), PAGE + 1, 31 * PAGE - 1)
        assert not all_cached(file.fileno(), PAGE + 1, 31 * PAGE)
        assert not all_cached(file.fileno(), 0, 64 * PAGE)
    assert not all_cached(-1, 0, PAGE)


def test_what_is_left_of_buffers() -> None:
    assert [bytes(one) for one in rest_of([memoryview(b"ab"), memoryview(b"cde"), memoryview(b"f")], 3)] == [
        b"de",
        b"f",
    ]


def test_a_read_error_names_shard_tensor_and_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ShardFile(checkpoint(tmp_path)[0])

    def failing(descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(LoadError) as raised:
        file.fill([buffer(10)], 123, "layer.weight")
    assert str(raised.value) == (
        "rigappliance loader: model-0.safetensors: tensor layer.weight: "
        "reading 10 bytes from byte 123 failed: Input/output error (errno 5)"
    )
    file.close()


def test_a_file_cut_short_while_it_is_read_is_named(tmp_path: Path) -> None:
    file = ShardFile(checkpoint(tmp_path)[0])
    os.truncate(file.shard.path, 1000)
    with pytest.raises(LoadError, match="tensor t: the file ends at byte 1000, expected 100 bytes from byte 1000"):
        file.fill([buffer(200)], 900, "t")
    # Also where the next look is at its length, or where it is opened only then.
    for look in (file.check, lambda: ShardFile(file.shard)):
        with pytest.raises(
            LoadError, match=r"tensor t0\.0: the file ends at byte 1000, expected 65536 bytes from byte"
        ):
            look()
    file.close()


def test_a_file_written_since_its_header_was_read_is_refused(tmp_path: Path) -> None:
    shard = checkpoint(tmp_path)[0]
    content = shard.path.read_bytes()
    shard.path.write_bytes(content)
    os.utime(shard.path, ns=(1, 1))
    with pytest.raises(LoadError, match="written 1 ns, expected"):
        ShardFile(shard)


def test_the_window_is_an_eighth_of_what_is_free_within_bounds() -> None:
    assert [window_for(size) for size in (0, 400 * MIB, 64 << 30)] == [8 * MIB, 50 * MIB, 512 * MIB]


def meminfo(root: Path, available_kb: int) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:   {available_kb} kB\n")


def test_the_tightest_group_decides_what_is_free(tmp_path: Path) -> None:
    meminfo(tmp_path, 4096)
    assert free_bytes(tmp_path) == 4 * MIB
    (tmp_path / "proc/self/cgroup").write_text("0::/a/b\n")
    inner = tmp_path / "sys/fs/cgroup/a/b"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("1\n")
    outer = inner.parent
    (outer / "memory.max").write_text(str(3 * MIB))
    (outer / "memory.current").write_text(str(2 * MIB))
    # Pages of files can go: they count as free.
    (outer / "memory.stat").write_text(f"anon 5\ninactive_file {MIB}\nactive_file {MIB // 2}\n")
    assert free_bytes(tmp_path) == 5 * MIB // 2


def test_version_1_groups_are_read_too(tmp_path: Path) -> None:
    meminfo(tmp_path, 1 << 20)
    (tmp_path / "proc/self/cgroup").write_text("3:cpu,memory:/x\n2:freezer:/y\n")
    group = tmp_path / "sys/fs/cgroup/memory/x"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text(str(8 * MIB))
    (group / "memory.usage_in_bytes").write_text(str(7 * MIB))
    (group / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {2 * MIB}\ntotal_active_file 0\n")
    (group.parent / "memory.limit_in_bytes").write_text(str((1 << 63) - 4096))
    (group.parent / "memory.usage_in_bytes").write_text("0")
    assert free_bytes(tmp_path) == 3 * MIB


def test_options_are_taken_as_they_are_written() -> None:
    assert Options.parse({}) == Options(None, 60.0, None)
    assert Options.parse({"window_bytes": MIB, "stall_s": 5, "drop_behind": False}) == Options(MIB, 5.0, False)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ([], "must be an object, found list"),
        ({"window": 5}, "unknown keys: window"),
        ({"window_bytes": "1G"}, "window_bytes must be an integer"),
        ({"window_bytes": 5}, "found 5"),
        ({"stall_s": 0}, "stall_s must be a number of seconds above 0"),
        ({"stall_s": True}, "stall_s must be"),
        ({"stall_s": float("nan")}, "stall_s must be"),
        ({"drop_behind": 1}, "drop_behind must be true or false"),
    ],
)
def test_wrong_options_are_refused(extra: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Options.parse(extra)


class Store:
    """As much of torch.distributed's key-value store as is used."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}

    def set(self, key: str, value: str) -> None:
        self.keys[key] = value

    def get(self, key: str) -> bytes:
        return self.keys[key].encode()

    def wait(self, keys: list[str], limit: Any) -> None:
        if not all(key in self.keys for key in keys):
            raise RuntimeError("wait timeout\nmore lines")


def test_ranks_meet_at_the_board_of_rank_0_load_by_load(tmp_path: Path) -> None:
    shards, store = checkpoint(tmp_path), Store()
    leader, follower = (StoreMeeting(store, rank, 2, 1.0) for rank in (0, 1))
    for window in (MIB, 2 * MIB):
        one, two = leader(shards, window), follower(shards, 5)
        one.board.reader = window
        assert (one.leads, one.rank, two.leads, two.rank) == (True, 0, False, 1)
        assert (two.board.reader, two.board.window_bytes) == (window, window)


def test_a_rank_that_finds_no_board_reads_for_itself_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shards, store = checkpoint(tmp_path), Store()
    seat = StoreMeeting(store, 1, 2, 1.0)(shards, MIB)
    assert (seat.leads, seat.board.ranks) == (True, 1)
    assert caplog.messages[-1] == "rigappliance loader: rank 1 reads for itself: wait timeout"
    StoreMeeting(store, 0, 2, 1.0)(shards[:2], MIB)
    assert StoreMeeting(store, 1, 2, 1.0)(shards, MIB).board.ranks == 1
    assert "it has 3 shards to read, rank 0 has 2" in caplog.messages[-1]


def test_another_host_cannot_share_the_board(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, store = checkpoint(tmp_path), Store()
    monkeypatch.setattr("rigappliance.loader.ranks.host", lambda: "elsewhere")
    StoreMeeting(store, 0, 2, 1.0)(shards, MIB)
    monkeypatch.undo()
    assert StoreMeeting(store, 1, 2, 1.0)(shards, MIB).board.ranks == 1
    assert "rank 0 runs on another host" in caplog.messages[-1]


def test_ranks_that_see_different_files_stop(tmp_path: Path) -> None:
    store = Store()
    StoreMeeting(store, 0, 2, 1.0)(checkpoint(tmp_path), MIB)
    changed = checkpoint(tmp_path, tensors=5)
    with pytest.raises(LoadError, match=r"model-0\.safetensors: ranks see different files: found \d+ bytes"):
        StoreMeeting(store, 1, 2, 1.0)(changed, MIB)


def test_the_engines_interpreter_finds_the_entry_point(tmp_path: Path) -> None:
    place = provide(tmp_path / "plugins")
    script = (
        "from importlib.metadata import entry_points; found = entry_points(group='vllm.general_plugins');"
        "print([(one.name, one.load().__module__) for one in found])"
    )
    found = {**os.environ, **environment(place, {})}
    done = subprocess.run([sys.executable, "-c", script], env=found, cwd="/", capture_output=True, text=True)
    assert done.stdout == "[('rigappliance_sequential', 'rigappliance_loader')]\n", done.stderr


def test_a_provided_directory_is_kept_while_whole_and_made_again_when_damaged(tmp_path: Path) -> None:
    place = provide(tmp_path)
    inode = place.stat().st_ino
    assert provide(tmp_path) == place and place.stat().st_ino == inode
    part = place / "rigappliance_loader" / "board.py"
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    assert provide(tmp_path) == place
    assert part.read_bytes() == content and [path.name for path in tmp_path.iterdir()] == [place.name]


def test_the_environment_keeps_what_was_there(tmp_path: Path) -> None:
    assert environment(tmp_path, {}) == {"PYTHONPATH": str(tmp_path)}
    before = {"PYTHONPATH": "/a:/b", "VLLM_PLUGINS": "x,y"}
    assert environment(tmp_path, before) == {
        "PYTHONPATH": f"{tmp_path}:/a:/b", "VLLM_PLUGINS": f"x,y,{ENTRY_POINT}",
    }  # fmt: skip
    assert environment(tmp_path, {"VLLM_PLUGINS": ENTRY_POINT}) == {"PYTHONPATH": str(tmp_path)}


def test_the_package_imports_neither_torch_nor_the_rest_of_rigappliance(tmp_path: Path) -> None:
    """Only `plugin` and what it is made of need torch; nothing reaches out of the package."""
    here = Path(Board.__module__.replace(".", "/")).parent
    root = Path(__file__).resolve().parents[3] / here
    sources = {path.stem: path.read_text() for path in root.glob("*.py")}
    assert len(sources) > 10
    assert not [name for name, text in sources.items() if "from rigappliance" in text or "import rigappliance" in text]
    with_torch = {name for name, text in sources.items() if "import torch" in text}
    assert with_torch == {"copying", "held", "intercept", "plugin"}
