"""Fetches with the engine's own `hf`, from a hub on this machine that plays the faults of the real one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
from pathlib import Path

import pytest

from rigappliance.errors import ExitCode
from rigappliance.fetch.record import NAME
from rigappliance.launch.proctree import command_line, descendants
from tests.unit.fetch.conftest import Result, Rig, wait_until
from tests.unit.fetch.hub import COMMIT, REPOSITORY, Faults
from tests.unit.place import checkpoint

pytestmark = pytest.mark.engine


def verify_with_hf(rig: Rig) -> tuple[int, str]:
    """The verdict of the hub's own tool."""
    where = ("--revision", COMMIT, "--local-dir", str(rig.model))
    done = rig.hf("cache", "verify", REPOSITORY, *where, "--fail-on-missing-files")
    return done.returncode, done.stdout


# --- the whole way ---------------------------------------------------------------


def test_a_checkpoint_comes_whole_and_the_next_call_needs_no_hub(rig: Rig) -> None:
    rig.hub.page_entries = 3
    first = rig.fetched()
    assert rig.files() == rig.hub.files
    total = sum(map(len, rig.hub.files.values()))
    assert (first["commit"], first["files"], first["total_bytes"]) == (COMMIT, len(rig.hub.files), total)
    assert first["downloaded_bytes"] == first["hashed_bytes"] == total
    assert rig.partial() == []
    assert verify_with_hf(rig)[0] == 0

    rig.hub.asked.clear()
    second = rig.fetched()
    assert rig.hub.asked == {}
    assert (second["downloaded_bytes"], second["hashed_bytes"]) == (0, 0)
    assert second["verified"] == first["verified"]
    # The commit that the branch led to is the same checkpoint.
    rig.declare(revision=COMMIT)
    assert rig.fetched()["verified"] == first["verified"]
    assert rig.hub.asked == {}


def test_progress_goes_to_people_and_to_systemd(rig: Rig) -> None:
    address = rig.root / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(5)
        rig.hub.faults.bytes_per_s = 600_000
        result = rig.fetch(NOTIFY_SOCKET=str(address))
        assert result.code == 0
        said: list[str] = []
        while not said or "here and verified" not in said[-1]:
            said.append(manager.recv(1 << 16).decode())
    assert said[0] == f"STATUS=asking the model hub for {REPOSITORY}"
    moving = [text for text in said if text.startswith("STATUS=download: ")]
    assert any("MiB (" in text and "KiB/s, " in text and text.endswith(" left") for text in moving), moving
    assert f"rigappliance: {REPOSITORY}@{COMMIT[:12]}: 10 files, 1.8 MiB\n" in result.err
    assert "rigappliance: downloading 10 files, 1.8 MiB\n" in result.err
    assert "rigappliance: verifying 10 files, 1.8 MiB\n" in result.err
    assert result.out.startswith(f"{rig.model}: 10 files, 1.8 MiB, {REPOSITORY}@{COMMIT[:12]}, verified; 1.8 MiB")


# --- interruptions ---------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_download_goes_on(rig: Rig, signum: signal.Signals) -> None:
    rig.hub.faults.bytes_per_s = 800_000
    process = rig.start()
    # One shard is whole, the next one has begun.
    wait_until(lambda: rig.shard(1).exists() and rig.partial() and not rig.shard(3).exists())
    children = descendants(process.pid)
    assert any("hf download" in command_line(child.pid) for child in children)
    process.send_signal(signum)
    result = Result(process)
    wait_until(lambda: not [child for child in children if Path(f"/proc/{child.pid}/exe").exists()])
    if signum == signal.SIGKILL:
        assert rig.partial() != []
    else:
        assert result.code == ExitCode.INTERRUPTED
        assert f"stopped on {signum.name}" in result.err
        assert rig.partial() == []
    kept = rig.files()
    assert kept == {path: rig.hub.files[path] for path in kept}

    rig.hub.faults = Faults()
    rig.hub.asked.clear()
    rig.fetched()
    assert rig.files() == rig.hub.files
    assert rig.hub.asked["GET"] == len(rig.hub.files) - len(kept)
    # Which commit it is was settled when it began.
    assert rig.hub.asked["revision"] == 0
    assert rig.partial() == []


def test_an_interrupted_verification_goes_on(rig: Rig) -> None:
    """What was hashed is remembered file by file."""
    shutil.copytree(checkpoint(), rig.model)
    rig.hub.files = {path: data for path, data in rig.hub.files.items() if (rig.model / path).exists()}
    rig.fetched()
    record = json.loads((rig.model / NAME).read_text())
    record["verified"] = None
    record["files"]["model-00002-of-00003.safetensors"].update(mtime_ns=None, inode=None)
    (rig.model / NAME).write_text(json.dumps(record))
    assert rig.fetched()["hashed_bytes"] == rig.shard(2).stat().st_size


def test_a_dropped_connection_is_taken_up_where_it_broke(rig: Rig) -> None:
    # hf writes in pieces of 10 MiB.
    rig.hub.files["large.bin"] = random.Random(0).randbytes(24 << 20)
    rig.hub.faults = Faults(cut_after_bytes=15 << 20, cuts=1)
    result = rig.fetch()
    assert result.code == 0, result.err
    assert rig.hub.ranges == [f"bytes={10 << 20}-"]
    assert "rigappliance: hf: Error while downloading from large.bin: peer closed connection" in result.err
    assert rig.files() == rig.hub.files


def test_a_hub_that_gives_up_half_way_is_worth_another_try(rig: Rig) -> None:
    rig.hub.files = {path: data for path, data in rig.hub.files.items() if "safetensors" not in path}
    rig.hub.files["large.bin"] = random.Random(0).randbytes(1 << 20)
    rig.hub.faults = Faults(cut_after_bytes=1 << 19, cuts=1000)
    result = rig.fetch()
    assert result.code == ExitCode.REQUEST_FAILED
    assert "peer closed connection" in result.err
    assert "to do:    look at the network" in result.err
    assert not (rig.model / "large.bin").exists()
    assert (rig.model / "config.json").exists()
    assert rig.partial() == []


# --- damage ----------------------------------------------------------------------


def test_a_truncated_shard_comes_again_and_it_alone(rig: Rig) -> None:
    rig.fetched()
    whole = rig.shard(2).stat()
    os.truncate(rig.shard(2), 1000)
    # As a power cut leaves it: hf takes a file that is no newer than its own note for the right one.
    os.utime(rig.shard(2), ns=(whole.st_atime_ns, whole.st_mtime_ns))
    rig.hub.asked.clear()
    again = rig.fetched()
    assert rig.files() == rig.hub.files
    assert rig.hub.asked["GET"] == 1
    assert again["downloaded_bytes"] == again["hashed_bytes"] == whole.st_size


def flip(path: Path) -> None:
    """One bit in the middle of the tensors: no header tells."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def test_a_flipped_bit_is_found_and_mended(rig: Rig) -> None:
    rig.fetched()
    flip(rig.shard(3))
    code, verdict = verify_with_hf(rig)
    assert code == 1
    assert rig.shard(3).name in verdict
    rig.hub.asked.clear()
    result = rig.fetch()
    assert result.code == 0
    assert f"{rig.shard(3).name} is damaged: its checksum is not the hub's" in result.err
    assert rig.hub.asked["GET"] == 1
    assert rig.files() == rig.hub.files


def test_damage_that_no_time_stamp_tells_is_found_on_demand(rig: Rig) -> None:
    rig.fetched()
    before = rig.shard(1).stat()
    flip(rig.shard(1))
    os.utime(rig.shard(1), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert rig.fetched()["hashed_bytes"] == 0
    assert rig.fetched("--again")["downloaded_bytes"] == before.st_size
    assert rig.files() == rig.hub.files


def test_content_that_is_wrong_once_is_downloaded_again(rig: Rig) -> None:
    rig.hub.faults = Faults(spoil=rig.shard(2).name, spoil_once=True)
    rig.fetched()
    assert rig.files() == rig.hub.files


def test_content_that_stays_wrong_is_named_and_not_left_for_the_engine(rig: Rig) -> None:
    rig.hub.faults = Faults(spoil=rig.shard(2).name)
    result = rig.fetch()
    assert result.code == ExitCode.PREFLIGHT
    assert f"{rig.shard(2).name}: damaged again after a new download, and removed" in result.err
    assert not rig.shard(2).exists()
    rig.hub.faults = Faults()
    assert rig.fetched()["downloaded_bytes"] == rig.shard(2).stat().st_size


# --- refusals --------------------------------------------------------------------


def test_an_unknown_repository_or_revision_is_a_wrong_configuration(rig: Rig) -> None:
    rig.declare(repository="rig/none")
    result = rig.fetch()
    assert result.code == ExitCode.CONFIG
    assert "the model hub shows no repository rig/none" in result.err
    assert "correct model.repository" in result.err
    rig.declare(revision="v9")
    result = rig.fetch()
    assert result.code == ExitCode.CONFIG
    assert f"{REPOSITORY} has no revision v9" in result.err
    assert rig.files() == {}


def test_a_gated_repository_tells_where_a_token_goes_and_the_token_is_used(rig: Rig) -> None:
    rig.hub.faults = Faults(file_status=403, file_code="GatedRepo")
    result = rig.fetch()
    assert result.code == ExitCode.PREFLIGHT
    assert f"the model hub does not hand out {REPOSITORY}" in result.err
    token = rig.root / "home/.cache/huggingface/token"
    assert f"a token that may read it into {token} (mode 0600)" in result.err
    assert rig.hub.tokens == set()
    token.parent.mkdir(parents=True, exist_ok=True)
    token.write_text("hf_of_the_file\n")
    rig.hub.faults = Faults()
    rig.fetched()
    assert rig.hub.tokens == {"Bearer hf_of_the_file"}


def test_a_token_comes_as_a_credential_of_the_unit(rig: Rig) -> None:
    (rig.root / "credentials").mkdir()
    (rig.root / "credentials/hf-token").write_text("hf_of_the_unit\n")
    rig.hub.faults = Faults(api_status=401)
    result = rig.fetch(CREDENTIALS_DIRECTORY=str(rig.root / "credentials"))
    assert result.code == ExitCode.PREFLIGHT
    assert rig.hub.tokens == {"Bearer hf_of_the_unit"}
    assert "hf_of_the_unit" not in result.err + result.out


@pytest.mark.parametrize("status", [500, 429])
def test_a_hub_in_trouble_is_worth_another_try(rig: Rig, status: int) -> None:
    rig.hub.faults = Faults(api_status=status)
    result = rig.fetch()
    assert result.code == ExitCode.REQUEST_FAILED
    assert str(status) in result.err


def test_without_a_network_an_unverified_checkpoint_stays_so(rig: Rig) -> None:
    nowhere = "http://127.0.0.1:9"
    result = rig.fetch(HF_ENDPOINT=nowhere)
    assert result.code == ExitCode.REQUEST_FAILED
    assert "Connection refused" in result.err
    assert "headers" not in result.err
    shutil.copytree(checkpoint(), rig.model, dirs_exist_ok=True)
    result = rig.fetch(HF_ENDPOINT=nowhere)
    assert result.code == ExitCode.REQUEST_FAILED
    assert "looks whole by its headers, and nothing tells whether its content is right" in result.err
    assert f"or copy {NAME} too" in result.err


# --- brought by other means, other revisions, other directories ---------------------


def test_files_from_elsewhere_are_verified_and_not_downloaded(rig: Rig) -> None:
    shutil.copytree(checkpoint(), rig.model)
    rig.hub.files = rig.files()
    found = rig.fetched()
    assert (found["downloaded_bytes"], found["hashed_bytes"]) == (0, found["total_bytes"])
    assert rig.hub.asked["GET"] == 0


def test_a_copy_with_its_record_is_verified_without_the_hub(rig: Rig) -> None:
    rig.fetched()
    rig.model.rename(rig.root / "sibling")
    shutil.copytree(rig.root / "sibling", rig.model)
    rig.hub.asked.clear()
    found = rig.fetched()
    assert rig.hub.asked == {}
    assert found["hashed_bytes"] == found["total_bytes"]
    # And what is damaged on the way is noticed there too.
    shutil.rmtree(rig.model)
    shutil.copytree(rig.root / "sibling", rig.model)
    flip(rig.shard(2))
    assert "is damaged" in rig.fetch().err
    assert rig.files() == rig.hub.files


def test_another_revision_brings_what_differs(rig: Rig) -> None:
    rig.fetched()
    other = "f" * 40
    changed = json.dumps({**json.loads(rig.hub.files["config.json"]), "rope_theta": 1.0}).encode()
    rig.hub.files["config.json"] = changed
    rig.hub.commits = {"main": COMMIT, "v2": other}
    rig.declare(revision="v2")
    rig.hub.asked.clear()
    found = rig.fetched()
    assert found["commit"] == other
    assert found["downloaded_bytes"] == found["hashed_bytes"] == len(changed)
    assert rig.files() == rig.hub.files


def test_the_directory_of_another_checkpoint_is_left_alone(rig: Rig) -> None:
    shutil.copytree(checkpoint(), rig.model)
    (rig.model / "config.json").write_text('{"architectures": ["Other"]}')
    before = rig.files()
    result = rig.fetch()
    assert result.code == ExitCode.CONFIG
    assert f"{rig.model} holds another checkpoint than {REPOSITORY}" in result.err
    assert rig.files() == before
    # What nobody can miss is replaced.
    (rig.model / "config.json").write_bytes(bytes(100))
    rig.fetched()
    assert rig.files()["config.json"] == rig.hub.files["config.json"]


def test_a_repository_without_weights_is_no_success(rig: Rig) -> None:
    rig.hub.files = {path: data for path, data in rig.hub.files.items() if "safetensors" not in path}
    result = rig.fetch()
    assert result.code == ExitCode.PREFLIGHT
    assert f"all files of {REPOSITORY} are here and right, yet *.safetensors: none" in result.err
    assert json.loads((rig.model / NAME).read_text())["verified"] is None


def test_two_at_once_do_not_meet(rig: Rig) -> None:
    rig.hub.faults.bytes_per_s = 800_000
    first = rig.start()
    wait_until(rig.partial)
    second = rig.fetch()
    assert second.code == ExitCode.BUSY
    assert f"another fetch is at work in {rig.model} (pid {first.pid})" in second.err
    assert Result(first).code == 0
    assert rig.files() == rig.hub.files
