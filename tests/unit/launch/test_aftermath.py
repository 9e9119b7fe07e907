"""What a failure leaves for the next start: record, facts, compaction."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path

import pytest

from rigappliance.config import RigConfig
from rigappliance.diagnosis.catalogue import CAUSES
from rigappliance.diagnosis.cause import Decision, Fact
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence
from rigappliance.errors import ExitCode
from rigappliance.launch import gate, standing
from rigappliance.launch.aftermath import facts_at_the_start, settle
from rigappliance.launch.compaction import compact_if_asked
from rigappliance.launch.failures import peek_failures, read_failures
from rigappliance.launch.gate import KnownFailureError, check_gate, check_given_up
from rigappliance.launch.outcome import Outcome
from rigappliance.launch.state import StartState, StateDirectory

LINE = "(Worker pid=7) ERROR 11-23 10:00:00 [x.py:1] RuntimeError: words of the engine"


class Rig:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "model").mkdir()
        (root / "model" / "config.json").write_text("{}")
        (root / "model" / "model.safetensors").write_bytes(b"weights")
        python = root / "engine" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text("")
        (root / "engine/lib/python3.11/site-packages/vllm-0.32.0.dist-info").mkdir(parents=True)
        self.tree: dict[str, dict[str, object] | str] = {
            "profile": "demo",
            "state_dir": str(root / "state"),
            "model": {"path": str(root / "model")},
            "engine": {"python": str(python), "max_num_seqs": 8},
        }
        self.directory = StateDirectory(root / "state")
        self.directory.root.mkdir()
        self.boot = "this boot"

    @property
    def config(self) -> RigConfig:
        return RigConfig.model_validate(self.tree)

    def fail(
        self,
        cause: str,
        *,
        ready: bool = False,
        loaded: bool = True,
        told: bool = True,
        facts: dict[str, str] | None = None,
    ) -> Outcome:
        state = StartState("f00d", 1, 1, 1.7e9, "http://x", "tiny", "0.32.0", phase="compile", boot_id=self.boot)
        state.facts = facts_at_the_start(self.config) if facts is None else facts
        state.loaded, state.ready = loaded, 1.7e9 if ready else None
        known = CAUSES[cause]
        evidence = (Evidence("engine log", LINE, 12),)
        diagnosis = Diagnosis(known, Confidence.CERTAIN, evidence, remedy=f"the remedy of {cause}")
        outcome = Outcome(ExitCode.START_FAILED, "it failed", diagnosis.remedy, diagnosis)
        return settle(outcome, self.config, self.directory, state, told=told)

    def refused(self) -> KnownFailureError | None:
        try:
            check_gate(read_failures(self.directory), self.config)
        except KnownFailureError as error:
            return error
        return None


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


STOPS = [cause for cause in CAUSES.values() if cause.decision is Decision.STOP]


@pytest.mark.parametrize("cause", STOPS, ids=lambda cause: cause.name)
def test_each_cause_that_nothing_but_a_change_mends_closes_the_gate(
    rig: Rig, cause: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    [known] = [each for each in STOPS if each is cause]
    # Somebody listens there for as long as the test looks.
    monkeypatch.setitem(standing.READERS, Fact.PORT, lambda *_: "taken")
    assert rig.fail(known.name).exit_code == known.exit_code
    error = rig.refused()
    assert error is not None, peek_failures(rig.directory)
    assert error.exit_code == known.exit_code
    assert known.name in error.found
    assert "1970" not in error.found
    assert error.remedy.startswith(f"the remedy of {known.name}")


@pytest.mark.parametrize("cause", STOPS, ids=lambda cause: cause.name)
def test_each_fact_that_mends_it_opens_the_gate(rig: Rig, cause: object, monkeypatch: pytest.MonkeyPatch) -> None:
    [known] = [each for each in STOPS if each is cause]
    monkeypatch.setitem(standing.READERS, Fact.PORT, lambda *_: "taken")
    rig.fail(known.name)
    for fact in known.mended_by:
        with monkeypatch.context() as patch:
            patch.setitem(standing.READERS, fact, lambda *_: "999999999999999999")
            assert rig.refused() is None, f"{fact} has changed"
    assert rig.refused() is not None


def test_other_causes_leave_the_gate_open(rig: Rig) -> None:
    for cause in CAUSES.values():
        if cause.decision is not Decision.STOP:
            rig.fail(cause.name)
            if cause.decision is not Decision.COMPACT:
                assert rig.refused() is None, cause.name


def test_a_fact_that_an_older_record_lacks_leaves_it_open(rig: Rig) -> None:
    rig.fail("checkpoint-truncated")
    content = json.loads(rig.directory.failures_file.read_text())
    del content["facts"]["checkpoint"]
    rig.directory.failures_file.write_text(json.dumps(content) + "\n")
    assert rig.refused() is None


def test_a_port_that_was_taken_is_free_again(rig: Rig) -> None:
    """Whoever had it may have left before anybody looked."""
    rig.fail("port-taken")
    assert rig.refused() is None


def test_compaction_is_asked_for_once_and_then_a_reboot(rig: Rig, tmp_path: Path) -> None:
    assert not compact_if_asked(rig.directory)
    assert rig.fail("memory-fragmented").exit_code == 24
    assert rig.directory.compact_flag.exists()
    assert rig.refused() is None
    kernel = tmp_path / "compact_memory"
    kernel.write_text("")
    assert compact_if_asked(rig.directory, kernel)
    assert kernel.read_text() == "1"
    assert not rig.directory.compact_flag.exists()

    again = rig.fail("memory-fragmented")
    assert again.exit_code == ExitCode.GIVEN_UP
    assert again.remedy.startswith("reboot")
    assert not rig.directory.compact_flag.exists(), "it did not help"
    assert rig.refused() is not None


def test_after_a_reboot_fragmented_memory_is_compacted_again(rig: Rig) -> None:
    rig.boot = "an earlier boot"
    assert [rig.fail("memory-fragmented").exit_code for _ in range(2)] == [24, 13]
    rig.boot = "this boot"
    assert rig.fail("memory-fragmented").exit_code == 24


def test_who_could_not_tell_systemd_that_it_is_enough_refuses_once(rig: Rig) -> None:
    """The supervisor itself was killed each time, so systemd starts it again whatever is written down."""
    assert [rig.fail("supervisor-killed", told=False).exit_code for _ in range(2)] == [87, 13]
    with pytest.raises(KnownFailureError) as caught:
        check_given_up(read_failures(rig.directory), rig.directory, "this boot")
    assert caught.value.exit_code == 13
    assert "2 starts" in caught.value.found
    check_given_up(read_failures(rig.directory), rig.directory, "this boot")
    assert rig.fail("supervisor-killed", told=False).exit_code == 87, "the start after that was made by hand"


def test_another_boot_refuses_nothing(rig: Rig) -> None:
    for _ in range(2):
        rig.fail("supervisor-killed", told=False)
    check_given_up(read_failures(rig.directory), rig.directory, "another boot")


def test_power_cuts_are_never_given_up(rig: Rig) -> None:
    assert {rig.fail("power-cut").exit_code for _ in range(8)} == {88}


def test_a_record_says_what_was_and_its_times_are_in_order(rig: Rig) -> None:
    rig.fail("checkpoint-truncated", ready=True)
    [failure] = peek_failures(rig.directory)
    assert failure.started <= failure.ended
    assert (failure.ready, failure.loaded, failure.phase, failure.attempt) == (True, True, "compile", 1)
    assert failure.diagnosis["evidence"][0]["text"] == LINE
    assert set(failure.facts) == {"configuration", "checkpoint"}


def test_what_is_mended_while_the_engine_fails_counts_as_mended(rig: Rig) -> None:
    before = facts_at_the_start(rig.config)
    rig.fail("checkpoint-truncated", facts=before)
    assert rig.refused() is not None
    (rig.root / "model" / "model.safetensors").write_bytes(b"whole weights")
    rig.fail("checkpoint-truncated", facts=before)
    assert rig.refused() is None


def test_what_was_spoilt_while_it_ran_is_mended_by_what_was_there_before(rig: Rig) -> None:
    before = facts_at_the_start(rig.config)
    weights = rig.root / "model" / "model.safetensors"
    status, content = weights.stat(), weights.read_bytes()
    weights.write_bytes(b"spoilt")
    rig.fail("checkpoint-truncated", facts=before)
    weights.write_bytes(content)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert facts_at_the_start(rig.config) == before
    assert rig.refused() is None, "as it was before the start is not as it was when it failed"


# --- how things stand ------------------------------------------------------


def standing_now(rig: Rig, fact: Fact) -> str:
    return standing.standing(rig.config, [fact])[str(fact)]


def test_every_fact_has_a_reader_a_name_and_an_answer(rig: Rig) -> None:
    assert standing.READERS.keys() == gate.CHANGES.keys() == set(Fact)
    for fact in Fact:
        assert standing_now(rig, fact) == standing_now(rig, fact) != "", fact


def test_what_changes_a_fact(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = {fact: standing_now(rig, fact) for fact in Fact}

    def changed() -> set[Fact]:
        now = {fact: standing_now(rig, fact) for fact in Fact if fact is not Fact.DISK}
        return {fact for fact in now if now[fact] != seen[fact]}

    assert changed() == set()
    os.utime(rig.root / "model" / "config.json", (1, 1))
    assert changed() == {Fact.CHECKPOINT}
    (rig.root / "engine/lib/python3.11/site-packages/torch-2.13.dist-info").mkdir()
    assert changed() == {Fact.CHECKPOINT, Fact.ENGINE}
    compilers = tmp_path / "bin"
    compilers.mkdir()
    (compilers / "nvcc").write_text("")
    (compilers / "nvcc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{compilers}:{os.environ['PATH']}")
    assert changed() == {Fact.CHECKPOINT, Fact.ENGINE, Fact.TOOLCHAIN}


def test_new_headers_change_the_toolchain(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CPATH", str(tmp_path / "include"))
    before = standing_now(rig, Fact.TOOLCHAIN)
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "numa.h").write_text("")
    with_numa = standing_now(rig, Fact.TOOLCHAIN)
    (rig.root / "engine" / "include" / "python3.11").mkdir(parents=True)
    (rig.root / "engine" / "include" / "python3.11" / "Python.h").write_text("")
    assert len({before, with_numa, standing_now(rig, Fact.TOOLCHAIN)}) == 3


def test_what_the_unit_and_the_machine_allow_are_facts_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their remedies change nothing in the file of the configuration."""
    before = {fact: standing_now(rig, fact) for fact in (Fact.CONFIGURATION, Fact.MEMORY, Fact.DISK)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (123, 456))
    assert standing_now(rig, Fact.CONFIGURATION) != before[Fact.CONFIGURATION]
    cache = rig.directory.root / "cache" / "vllm"
    cache.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != cache)
    assert str(cache) in standing_now(rig, Fact.DISK)
    assert not standing.as_it_was("disk", before[Fact.DISK], standing_now(rig, Fact.DISK))
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(total=usage.total + (1 << 30)))
    assert standing_now(rig, Fact.MEMORY) != before[Fact.MEMORY]


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [("0", "0", True), ("0", str(100 << 20), True), ("0", str(300 << 20), False), (str(1 << 30), str(3 << 29), True),
     (str(1 << 30), str(2 << 30), False), (str(1 << 30), "5", True), ("", "5", False),
     ("5 /a/cache", "6 /a/cache", True), ("5 /a/cache", "5", False), ("5", "5 /a/cache", False)],
)  # fmt: skip
def test_only_real_relief_of_a_disk_counts(then: str, now: str, same: bool) -> None:
    assert standing.as_it_was("disk", then, now) is same


def test_a_reader_that_fails_says_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("NVML")

    monkeypatch.setitem(standing.READERS, Fact.CARDS, fail)
    assert standing_now(rig, Fact.CARDS) == ""
