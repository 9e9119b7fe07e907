"""What a start finds in its caches after one that went well, one that did not, and after damage."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rigappliance.caches import manifest, tree
from rigappliance.caches.keep import prepare, seal
from rigappliance.caches.keeper import Keeper
from rigappliance.caches.store import Store
from rigappliance.errors import PreflightError
from tests.unit.caches.filled import CONTENT, DURATIONS, KERNEL, MODEL, fill, found, identity

# From now, for a start that read nothing of what was there.
FAR_NS = 2 * tree.ACCESS_STEP_NS


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """After a start that got ready."""
    fill(tmp_path)
    seal(tmp_path, identity(), DURATIONS)
    return tmp_path


def test_what_was_sealed_is_there_again(state: Path) -> None:
    assert prepare(state, identity()) == []
    assert found(state) == CONTENT


def test_what_no_start_sealed_is_moved_aside(tmp_path: Path) -> None:
    fill(tmp_path)
    (line,) = prepare(tmp_path, identity())
    assert "never got ready" in line
    assert found(tmp_path) == {}
    assert (tmp_path / "cache/aside" / MODEL).read_bytes() == CONTENT[MODEL]


def test_what_came_after_the_seal_is_removed_and_the_rest_stays(state: Path) -> None:
    prepare(state, identity())
    fill(state, {"triton/CD/half.cubin": b"ha", "vllm/x/model.77.tmp": b"h"})
    (line,) = prepare(state, identity())
    assert "2 files" in line
    assert found(state) == CONTENT


def flip(path: Path) -> None:
    """One byte, and the time as it was: as a disk does it."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[3] ^= 0x10
    path.write_bytes(bytes(data))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def pipe(path: Path) -> None:
    """Reading it would wait for ever."""
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    other = path.with_suffix(".other")
    path.rename(other)
    path.symlink_to(other)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (flip, "has another content"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:5]), "has 5 bytes of "),
    "emptied": (lambda path: path.write_bytes(b""), "has 0 bytes of "),
    "gone": (lambda path: path.unlink(), "is gone"),
    "a pipe": (pipe, "is no regular file"),
    "a link": (link, "is no regular file"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_named_and_moved_aside_and_the_rest_stays(name: str, state: Path) -> None:
    damage, what = DAMAGES[name]
    damage(state / "cache" / KERNEL)
    (line,) = prepare(state, identity())
    assert KERNEL in line and what in line and "cache triton/AB:" in line
    assert found(state) == {name: data for name, data in CONTENT.items() if not name.startswith("triton/")}
    assert (state / "cache/aside/triton/AB").is_dir()
    assert prepare(state, identity()) == []


def test_with_a_damaged_file_goes_what_may_name_it(state: Path) -> None:
    """Triton's description of a kernel without the kernel would end the start; other kernels stay."""
    fill(state, {"triton/AB/kernel.json": b"{}", "triton/CD/kernel.cubin": b"other", "triton/lonely": b"?"})
    seal(state, identity(), DURATIONS)
    flip(state / "cache" / KERNEL)
    prepare(state, identity())
    there = found(state)
    assert "triton/AB/kernel.json" not in there
    assert there.keys() >= {"triton/CD/kernel.cubin", "triton/lonely", MODEL}
    (state / "cache/triton/lonely").unlink()
    prepare(state, identity())
    assert not any(name.startswith("triton/") for name in found(state))
    assert MODEL in found(state)
    assert prepare(state, identity()) == []


def test_a_file_that_cannot_be_read_is_damage(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for the disk, since root may read whatever has a mode."""

    def digest_of(path: Path) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(tree, "digest_of", digest_of)
    (line,) = prepare(state, identity())
    assert "cannot be read: Input/output error" in line
    assert found(state) == {}


def test_a_part_that_is_a_link_is_never_followed(state: Path, tmp_path: Path) -> None:
    real = state / "cache/triton"
    real.rename(tmp_path / "elsewhere")
    real.symlink_to(tmp_path / "elsewhere")
    assert any("triton" in line for line in prepare(state, identity()))
    assert not real.exists()
    assert (tmp_path / "elsewhere/AB/kernel.cubin").exists()


def test_damage_that_cannot_be_moved_refuses_the_start(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(state / "cache" / MODEL)

    def rename(path: Path, target: Path) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(PreflightError, match=r"cannot be moved to .*cache/aside/vllm: Permission denied"):
        prepare(state, identity())


def test_beyond_the_limit_a_files_time_stands_for_its_digest(state: Path) -> None:
    kept = manifest.read_manifest(state / "cache")
    assert kept is not None
    assert tree.verify(state / "cache", kept, digest_limit_bytes=0).digested_bytes == 0
    os.utime(state / "cache" / KERNEL)
    verdict = tree.verify(state / "cache", kept, digest_limit_bytes=0)
    assert (verdict.damages, verdict.digested_bytes) == ((), len(CONTENT[KERNEL]))
    flip(state / "cache" / MODEL)
    os.utime(state / "cache" / MODEL)
    assert [each.file for each in tree.verify(state / "cache", kept, digest_limit_bytes=0).damages] == [MODEL]


def test_a_pipe_in_the_place_of_the_manifest_is_not_waited_for(state: Path) -> None:
    pipe(state / "cache/manifest.json")
    (line,) = prepare(state, identity())
    assert "its manifest is not a whole manifest" in line
    assert found(state) == {}
    assert not (state / "cache/manifest.json").exists()


def test_a_cache_that_is_no_directory_refuses_the_start(tmp_path: Path) -> None:
    """The engine would fail at it, after loading the weights."""
    (tmp_path / "cache").write_text("")
    with pytest.raises(PreflightError, match="cache is no directory"):
        prepare(tmp_path, identity())
    (tmp_path / "cache").unlink()
    (tmp_path / "cache").symlink_to(tmp_path / "unplugged")
    with pytest.raises(PreflightError, match="cache is no directory"):
        prepare(tmp_path, identity())
    (tmp_path / "unplugged").mkdir()
    assert prepare(tmp_path, identity()) == []


def test_a_cache_that_cannot_be_written_refuses_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for the kernel, since root may write whatever has a mode."""
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(PreflightError, match="cache cannot be written"):
        prepare(tmp_path, identity())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', '{"schema": 9}', "null", "\0"])
def test_a_manifest_that_makes_no_sense_vouches_for_nothing(text: str, state: Path) -> None:
    (state / "cache/manifest.json").write_text(text)
    (line,) = prepare(state, identity())
    assert "its manifest" in line
    assert found(state) == {}


@pytest.mark.parametrize(
    "name", ["../outside", "vllm/../../outside", "/etc/passwd", "vllm/./x", "vllm//x", "manifest.json", "", "vllm/\0"]
)
def test_a_manifest_vouches_for_no_file_elsewhere(name: str, state: Path) -> None:
    path = state / "cache/manifest.json"
    tree = json.loads(path.read_text())
    tree["files"][name] = tree["files"][MODEL]
    path.write_text(json.dumps(tree))
    (line,) = prepare(state, identity())
    assert "names" in line and "no file of a cache" in line
    assert found(state) == {}


def test_a_manifest_with_another_identity_than_its_key_vouches_for_nothing(state: Path) -> None:
    path = state / "cache/manifest.json"
    path.write_text(path.read_text().replace("TP 8 PP 1", "TP 4 PP 2"))
    (line,) = prepare(state, identity())
    assert "key" in line
    assert found(state) == {}


def test_a_changed_option_leaves_all_where_the_engine_finds_it(state: Path) -> None:
    """The engine's own keys tell them apart: taking them away would compile everything anew at each change."""
    (line,) = prepare(state, identity(seqs="16"))
    assert "max_num_seqs is 16 and not 32" in line and "may compile" in line
    assert found(state) == CONTENT
    fill(state, {"vllm/16/model": b"sixteen"})
    seal(state, identity(seqs="16"), {"compile": 2.0}, since_ns=time.time_ns() + FAR_NS)
    assert prepare(state, identity(seqs="16")) == []
    assert prepare(state, identity()) == []
    assert found(state) == {**CONTENT, "vllm/16/model": b"sixteen"}


def test_another_engine_is_said_to_compile(state: Path) -> None:
    (line,) = prepare(state, identity(engine="0.33.0"))
    assert "nothing is kept for this start (engine is 0.33.0 and not 0.32.0)" in line
    assert found(state) == CONTENT


def test_verifying_is_no_use(state: Path) -> None:
    """Or everything would belong to the last start, and nothing ever go."""
    path = state / "cache" / KERNEL
    os.utime(path, ns=(10**18, 10**18))
    prepare(state, identity())
    assert path.stat().st_atime_ns == 10**18


def test_times_of_other_options_are_not_compared(state: Path) -> None:
    assert seal(state, identity(), {"compile": 1.0}).filled_s == DURATIONS
    other = seal(state, identity(seqs="16"), {"compile": 30.0})
    assert (other.filled_s, other.last_s) == ({"compile": 30.0}, {"compile": 30.0})
    back = seal(state, identity(), {"compile": 2.0})
    assert (back.filled_s, back.last_s) == (DURATIONS, {"compile": 2.0})


def owners(state: Path) -> dict[str, str]:
    kept = manifest.read_manifest(state / "cache")
    assert kept is not None
    return {name: record.setup for name, record in kept.files.items()}


def test_what_a_start_read_is_its_own_from_then_on(state: Path) -> None:
    """By the times of access that reading sets; what it passed by stays the first one's."""
    first, second = identity().setup, identity(seqs="16").setup
    now_ns = time.time_ns()
    for name in CONTENT:
        # A reading that follows another within a day leaves no time.
        at_ns = now_ns - tree.ACCESS_STEP_NS * (1 if name == KERNEL else 2)
        os.utime(state / "cache" / name, ns=(at_ns, (state / "cache" / name).stat().st_mtime_ns))
    prepare(state, identity(seqs="16"))
    fill(state, {"vllm/16/model": b"sixteen"})
    seal(state, identity(seqs="16"), DURATIONS, since_ns=now_ns)
    assert owners(state) == dict.fromkeys(CONTENT, first) | {KERNEL: second, "vllm/16/model": second}


@pytest.mark.parametrize("changed", [{"share": "0.85"}, {"share": "0.9", "seqs": "16"}])
def test_the_profiled_kv_cache_goes_with_its_options_and_nothing_else(changed: dict[str, str], tmp_path: Path) -> None:
    """The engine's own key of it lacks the share: a plan of 0.90 would be taken for 0.85, and end out of memory."""
    plan = "vllm/startup_plan/startup_plan_0123.json"
    fill(tmp_path, {**CONTENT, plan: b"{}"})
    seal(tmp_path, identity(share="0.9"), DURATIONS)
    prepare(tmp_path, identity(share="0.9"))
    assert plan in found(tmp_path)
    assert any("profiled anew" in line for line in prepare(tmp_path, identity(**changed)))
    assert found(tmp_path) == CONTENT


def test_a_full_disk_says_so_and_vouches_for_what_it_did(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(state, identity())
    fill(state, {"triton/new.cubin": b"new"})
    before = (state / "cache/manifest.json").read_text()

    def fsync(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    lines: list[str] = []
    Keeper(state, identity(), lines.append).ready(DURATIONS)
    assert len(lines) == 1 and "No space left on device" in lines[0]
    assert (state / "cache/manifest.json").read_text() == before
    monkeypatch.undo()
    prepare(state, identity())
    assert found(state) == CONTENT


def test_a_start_that_failed_after_compiling_keeps_that_but_not_what_was_written_last(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, identity(), print)
    keeper.before()
    fill(tmp_path)
    for name in CONTENT:
        os.utime(tmp_path / "cache" / name, (1e9, 1e9))
    # Its description was whole before.
    fill(tmp_path, {"triton/EF/half": b"h", "triton/EF/half.json": b"{}"})
    os.utime(tmp_path / "cache/triton/EF/half.json", (1e9, 1e9))
    keeper.ended(ready=False, in_order=False, compiled=True)
    assert any("2 files" in line for line in prepare(tmp_path, identity()))
    assert found(tmp_path) == CONTENT


def test_a_start_that_failed_before_keeps_nothing(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, identity(), print)
    keeper.before()
    fill(tmp_path)
    for name in CONTENT:
        os.utime(tmp_path / "cache" / name, (1e9, 1e9))
    keeper.ended(ready=False, in_order=False, compiled=False)
    prepare(tmp_path, identity())
    assert found(tmp_path) == {}


def test_the_seal_of_the_end_takes_what_came_while_serving_and_keeps_the_times(state: Path) -> None:
    keeper = Keeper(state, identity(), print)
    keeper.before()
    keeper.ready({"compile": 1.0})
    fill(state, {"triton/late.cubin": b"late"})
    keeper.ended(ready=True, in_order=True, compiled=True)
    assert prepare(state, identity()) == []
    assert "triton/late.cubin" in found(state)
    kept = manifest.read_manifest(state / "cache")
    assert kept is not None
    assert (kept.filled_s, kept.last_s) == (DURATIONS, {"compile": 1.0})


def test_a_crash_just_after_readiness_leaves_what_was_vouched_for_then(tmp_path: Path) -> None:
    """A second start on a card compiled its kernels anew, for 40 s: the first had been killed seconds after it."""
    keeper = Keeper(tmp_path, identity(), print)
    keeper.before()
    fill(tmp_path)
    keeper.ready(DURATIONS)
    fill(tmp_path, {"triton/late.cubin": b"half of"})
    keeper.ended(ready=True, in_order=False, compiled=True)
    assert [line for line in prepare(tmp_path, identity()) if "removed 1 file " in line]
    assert found(tmp_path) == CONTENT


def test_clear_leaves_what_is_beside_the_caches(state: Path) -> None:
    fill(state, {"huggingface/token": b"secret"})
    flip(state / "cache" / MODEL)
    prepare(state, identity())
    Store(state).clear()
    assert found(state) == {"huggingface/token": b"secret"}
    assert sorted(path.name for path in (state / "cache").iterdir()) == ["huggingface"]


def test_an_emptied_part_shows_in_how_things_stand(state: Path) -> None:
    before = Store(state).standing()
    assert before == "vllm 2 inductor 1 triton 1"
    prepare(state, identity())
    assert Store(state).standing() == before
    (state / "cache" / KERNEL).unlink()
    assert Store(state).standing() == "vllm 2 inductor 1"
    Store(state).clear()
    assert Store(state).standing() == "empty"
