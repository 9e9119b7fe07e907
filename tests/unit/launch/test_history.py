"""Earlier starts and the time that is left of this one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigappliance.launch.history import (
    KEPT,
    SEED_BASIS,
    Entry,
    Estimator,
    Key,
    append,
    read_history,
)
from rigappliance.launch.phases import Phase
from rigappliance.launch.state import StateDirectory

KEY = Key("0.32.0", "0123456789abcdef", "cuda TP 8 PP 1 seqs 32", "Pentium G4400, 16 GiB")
GB = 10**9


def entry(started: float = 1.0, key: Key = KEY, **durations: float) -> Entry:
    """Durations by phase name in lower case."""
    return Entry(key, started, {Phase[name.upper()].label: seconds for name, seconds in durations.items()})


def line_of(value: object) -> str:
    return json.dumps(value) + "\n"


def content_of(written: Entry) -> dict[str, object]:
    return {"key": vars(written.key), "started": written.started, "durations_s": written.durations_s}


# --- the file --------------------------------------------------------------


def test_what_is_appended_is_read_back_in_order(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path)
    assert read_history(directory) == []
    written = [entry(float(i), weights=1000.5 + i, compile=0.25) for i in range(4)]
    for one in written:
        append(directory, one)
    assert read_history(directory) == written
    assert directory.notices == []
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]


def test_the_oldest_are_dropped(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path)
    directory.history_file.write_text("".join(line_of(content_of(entry(float(i)))) for i in range(KEPT)))
    append(directory, entry(1e6))
    kept = read_history(directory)
    assert (len(kept), kept[0].started, kept[-1].started) == (KEPT, 1.0, 1e6)


@pytest.mark.parametrize(
    "bad",
    [
        "not JSON",
        "{",
        "null",
        "[]",
        "7",
        '"text"',
        "{}",
        line_of({**content_of(entry()), "durations_s": []}),
        line_of({**content_of(entry()), "durations_s": {"weights": "many"}}),
        line_of({**content_of(entry()), "durations_s": {"weights": None}}),
        line_of({**content_of(entry()), "durations_s": {"weights": -1}}),
        line_of({**content_of(entry()), "durations_s": {"weights": math.nan}}),
        line_of({**content_of(entry()), "durations_s": {"weights": math.inf}}),
        line_of({**content_of(entry()), "durations_s": {"weights": 10**400}}),
        line_of({**content_of(entry()), "started": 10**400}),
        line_of({**content_of(entry()), "started": "soon"}),
        line_of({**content_of(entry()), "key": {}}),
        line_of({**content_of(entry()), "key": [1]}),
        line_of({**content_of(entry()), "key": {**vars(KEY), "extra": 1}}),
        "[" * 100_000,
        '{"a":' * 100_000,
        "1" * 5_000,
    ],
    ids=lambda text: text.strip()[-40:],
)
def test_a_line_that_makes_no_sense_is_set_aside_and_the_others_stay(tmp_path: Path, bad: str) -> None:
    directory = StateDirectory(tmp_path)
    good = [entry(1.0, weights=10.0), entry(2.0, weights=20.0)]
    text = line_of(content_of(good[0])) + bad.strip() + "\n" + line_of(content_of(good[1]))
    directory.history_file.write_text(text)
    assert read_history(directory) == good
    [aside] = tmp_path.glob("history.jsonl.corrupt-*")
    assert aside.read_text() == text
    [notice] = directory.notices
    assert aside.name in notice
    assert "1 line(s)" in notice
    assert read_history(StateDirectory(tmp_path)) == good, "the file that stays has the good lines alone"
    assert len(list(tmp_path.glob("*.corrupt-*"))) == 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.mktemp("state")
    directory = StateDirectory(root)
    directory.history_file.write_bytes(data)
    assert read_history(directory) == []
    # What holds a line at all cannot be an entry, so it was set aside as it was.
    lines = data.decode(errors="replace").splitlines()
    assert [path.read_bytes() for path in root.glob("*.corrupt-*")] == ([data] if lines else [])
    append(directory, entry())
    assert read_history(directory) == [entry()]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["key", "started", "durations_s"]), JSON)
def test_any_json_in_any_field_is_read_without_an_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: object
) -> None:
    directory = StateDirectory(tmp_path_factory.mktemp("state"))
    directory.history_file.write_text(line_of({**content_of(entry()), name: value}) + line_of(content_of(entry(9.0))))
    entries = read_history(directory)
    assert entries[-1] == entry(9.0)
    Estimator(entries, KEY, GB, seeded=True).estimate(Phase.CONFIG, 1.0, None)


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path)
    append(directory, entry(1.0))
    (tmp_path / "history.part").symlink_to("/dev/full")
    append(directory, entry(2.0))
    assert read_history(directory) == [entry(1.0)]


def test_a_directory_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path / "missing")
    append(directory, entry())
    assert read_history(directory) == []


# --- the estimate ----------------------------------------------------------


def test_the_median_of_the_last_five_counts() -> None:
    seconds = [9000.0, 9000.0, 100.0, 10.0, 60.0, 30.0, 20.0]
    entries = [entry(float(i), weights=s, compile=2 * s) for i, s in enumerate(seconds)]
    estimator = Estimator(entries, KEY, GB, seeded=True)
    estimate = estimator.estimate(Phase.CONFIG, 1.0, None)
    assert estimate.remaining_s == 30 + 60
    assert estimate.basis == "5 earlier starts here"


def test_another_key_does_not_count() -> None:
    other = Key("0.32.0", "another checkpoint", KEY.layout, KEY.host)
    entries = [entry(1.0, key=other, weights=9000.0), entry(2.0, weights=50.0)]
    estimate = Estimator(entries, KEY, GB, seeded=True).estimate(Phase.PROCESS, 0.0, None)
    assert (estimate.remaining_s, estimate.basis) == (50.0, "1 earlier start here")


def test_a_phase_that_a_start_skipped_counts_as_no_time() -> None:
    entries = [entry(1.0, weights=50.0, graphs=30.0), entry(2.0, weights=50.0), entry(3.0, weights=50.0)]
    assert Estimator(entries, KEY, GB, seeded=False).estimate(Phase.COMPILE, 0.0, None).remaining_s == 0.0


def test_time_in_the_phase_is_taken_off_and_never_more_than_there_was() -> None:
    estimator = Estimator([entry(weights=100.0, compile=40.0)], KEY, GB, seeded=False)
    assert estimator.estimate(Phase.WEIGHTS, 30.0, None).remaining_s == 70 + 40
    assert estimator.estimate(Phase.WEIGHTS, 500.0, None).remaining_s == 40
    assert estimator.estimate(Phase.COMPILE, 10.0, None).remaining_s == 30
    assert estimator.estimate(Phase.READY, 0.0, None).remaining_s == 0


def test_this_starts_own_rate_takes_over_once_it_says_something() -> None:
    estimator = Estimator([entry(weights=100.0, compile=40.0)], KEY, GB, seeded=False)
    # A quarter after 200 s: another 600 s, whatever earlier starts took.
    own = estimator.estimate(Phase.WEIGHTS, 200.0, 0.25)
    assert own.remaining_s == 600 + 40
    assert own.basis == "1 earlier start here; weights by this start's own rate"
    for in_phase_s, share in ((5.0, 0.25), (200.0, 0.0), (200.0, None)):
        assert "own rate" not in estimator.estimate(Phase.WEIGHTS, in_phase_s, share).basis
    assert estimator.estimate(Phase.WEIGHTS, 200.0, 1.0).remaining_s == 40


def test_without_history_the_reference_rig_speaks_for_a_rig() -> None:
    estimator = Estimator([], KEY, 77_100_000_000, seeded=True)
    estimate = estimator.estimate(Phase.PROCESS, 0.0, None)
    assert estimate.remaining_s == pytest.approx(28 * 60 + 17.5 * 60)
    assert estimate.basis == SEED_BASIS
    half = Estimator([], KEY, 77_100_000_000 // 2, seeded=True).estimate(Phase.PROCESS, 0.0, None)
    assert half.remaining_s == pytest.approx(14 * 60 + 17.5 * 60)
    # 15 to 20 min after the weights.
    after = estimator.estimate(Phase.COMPILE, 0.0, None).remaining_s
    assert after is not None and 15 * 60 <= after <= 20 * 60


def test_without_history_and_without_seed_nobody_knows() -> None:
    estimator = Estimator([], KEY, GB, seeded=False)
    for share in (None, 0.5):
        estimate = estimator.estimate(Phase.WEIGHTS, 100.0, share)
        assert estimate.remaining_s is None
        assert "first that is measured" in estimate.basis
