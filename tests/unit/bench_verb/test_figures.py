"""Figures from what the client wrote, records, pages and pictures of them."""

from __future__ import annotations

import json
import statistics
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from rigappliance.errors import RequestFailedError
from rigappliance.launch.history import Entry, Key
from rigappliance.launch.state import PhaseRecord, StartState
from rigappliance.measure.byhand import against, by_hand
from rigappliance.measure.compare import Verdict
from rigappliance.measure.figures import Sample, figure_of, percentile, sample_of, tells
from rigappliance.measure.identity import changes
from rigappliance.measure.page import as_dict, as_text, delay_text
from rigappliance.measure.picture import ROOM, picture
from rigappliance.measure.record import KEPT, Run, keep, prepare, read_runs
from rigappliance.measure.run import Report
from rigappliance.measure.serving import requests_in
from rigappliance.measure.starts import StartPart, phases_of, start_parts
from rigappliance.measure.workload import Lengths, Workload

WORKLOAD = Workload((1, 4), Lengths(64, 16))


def measured(tokens_s: float, concurrency: int = 1) -> Sample:
    """A second of answers, 16 tokens each."""
    gap = concurrency / tokens_s
    return Sample(1.0, 8, round(tokens_s), (0.1,) * concurrency, (gap,) * 15 * concurrency, 2.0, 0.5)


def run_of(*tokens_s: float, started: float = 1e9) -> Run:
    key = {"engine": "0.32.0", "model": "m", "layout": "TP 8", "host": "<Pentium>", "cards": "8 x RTX 3060"}
    figures = tuple(figure_of("decode", count, [measured(each, count) for each in tokens_s], 2) for count in (1, 4))
    prefill = figure_of("prefill", 1, [measured(each) for each in tokens_s], 2)
    return Run(started, key, {"kernel": "6.1"}, False, WORKLOAD, True, 3.0, (prefill, *figures), {"weights": 9.0}, 1)


def report_of(run: Run, *earlier: Run, reference: bool = False) -> Report:
    starts = (StartPart("load", 840.0, None), StartPart("silent", 600.0, None))
    return Report(run, earlier, starts, by_hand() if reference else None, None, None)


def test_a_figure_holds_rounds_apart_and_pools_their_delays() -> None:
    figure = figure_of("decode", 4, [measured(100, 4), measured(80, 4)], 2)
    assert figure.tokens_s == (100.0, 80.0)
    assert figure.typical_s == pytest.approx((0.04, 0.05))
    assert figure.values == 120
    assert figure.percentiles_s[50] == pytest.approx(0.045)
    assert figure.longest_s == pytest.approx(0.05)
    # Half a second of two on one of two cores.
    assert figure.client_share == pytest.approx(0.125)


def test_percentiles_are_the_usual_ones_and_only_where_values_tell() -> None:
    ordered = [float(each) for each in range(200)]
    usual = statistics.quantiles(ordered, n=100, method="inclusive")
    for percent in (50, 90, 99):
        assert percentile(ordered, percent) == pytest.approx(usual[percent - 1])
    assert [tells(1, 50), tells(2, 50), tells(9, 90), tells(10, 90), tells(99, 99), tells(100, 99)] == [
        False, True, False, True, False, True,
    ]  # fmt: skip
    assert (delay_text(None), delay_text(0.0123), delay_text(12.34)) == ("–", "12.3 ms", "12.3 s")


@pytest.mark.parametrize(("failed", "errors"), [(1, ["", "HTTP 500"]), (1, []), (0, ["HTTP 500"])])
def test_a_measurement_with_a_request_that_failed_has_no_figures(failed: int, errors: list[str]) -> None:
    content = {"completed": 1, "failed": failed, "errors": errors}
    with pytest.raises(RequestFailedError, match="of the benchmark failed"):
        sample_of(content, seconds=1.0, cpu_s=0.0)


def test_runs_are_kept_whole_and_the_oldest_go(tmp_path: Path) -> None:
    prepare(tmp_path)
    for number in range(KEPT + 2):
        keep(tmp_path, run_of(10.0, 11.0, started=1e9 + number))
    (tmp_path / "bench/20000101T000000Z.json").write_text('{"form": 1}')
    runs = read_runs(tmp_path)
    assert len(runs) == KEPT
    assert runs[0] == run_of(10.0, 11.0, started=1e9 + 2)
    assert runs == sorted(runs, key=lambda run: run.started)


def test_changes_between_runs_are_named() -> None:
    assert changes({"kernel": "6.1", "gone": "1"}, {"kernel": "6.2", "new": "2"}) == [
        "gone: not set, was 1", "kernel: 6.2, was 6.1", "new: 2, was not set",
    ]  # fmt: skip
    assert changes({"kernel": "6.1"}, {"kernel": "6.1"}) == []


def test_the_page_says_better_with_what_has_changed() -> None:
    then, now = run_of(10.0, 10.2, 9.9), replace(run_of(15.0, 15.1, 14.9), settings={"kernel": "6.2"})
    text = as_text(report_of(now, then))
    lines = [line for line in text.splitlines() if line.startswith("4 at a time")]
    assert len(lines) == 1
    assert lines[0].split("better")[1:] == [" +50%     ", " -33%"]
    assert "changed since then: kernel: 6.2, was 6.1" in text


def test_numbers_by_hand_stand_beside_those_of_the_same_model_alone() -> None:
    report = report_of(run_of(8.0, 8.0, 8.0), reference=True)
    assert as_dict(report)["by_hand"]["silent_s"] == {"here": 600.0, "there": (900.0, 1200.0)}
    text = as_text(report)
    assert "weights_s: 840 here, 1680 there: 0.5 times" in text
    assert "silent_s: 600 here, 900 to 1200 there: 0.5 to 0.67 times" in text
    assert "decode_tokens_s: 8 here, 4 to 5 there: 1.6 to 2 times" in text
    assert "reference rig" not in as_text(report_of(run_of(8.0)))
    # Of Qwen2.5-72B-Instruct-GPTQ-Int8, and of its sibling in Int4.
    assert by_hand().of(77_111_312_384)
    assert not by_hand().of(41_600_000_000)
    assert against(4.0, (4.0, 4.0)) == "1 times"


def test_the_picture_is_true_to_scale() -> None:
    svg = ET.fromstring(picture(report_of(run_of(10.0, 20.0, 30.0), run_of(40.0))))
    space = "{http://www.w3.org/2000/svg}"
    bars = {title.text: bar for bar in svg.iter(f"{space}rect") for title in bar.iter(f"{space}title")}
    # The rates of answers share a panel; half as many tokens a second are half as long.
    alone, four = bars["1 at a time: 20"], bars["4 at a time: 20"]
    assert 2 * float(alone.attrib["width"]) == pytest.approx(ROOM, abs=0.1)
    assert float(alone.attrib["width"]) == pytest.approx(float(four.attrib["width"]), abs=0.1)
    marks = [path.attrib["d"] for path in svg.iter(f"{space}path") if path.attrib["stroke"] == "#7f7f7f"]
    begin = float(alone.attrib["x"])
    assert any(
        float(mark[1:].split()[0]) - begin == pytest.approx(2 * float(alone.attrib["width"]), abs=0.2) for mark in marks
    )
    words = " ".join(text.text or "" for text in svg.iter(f"{space}text"))
    assert "<Pentium>" in words and "earlier runs: 1" in words


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('vllm:num_requests_running{engine="0"} 2.0\nvllm:num_requests_waiting{engine="0"} 1.0\n', 3),
        ("# HELP vllm:num_requests_running x\nvllm:num_requests_running 0.0", 0),
        ("vllm:num_requests_waiting_by_reason 7\nother 5", None),
        ("vllm:num_requests_running NaN", None),
    ],
)
def test_requests_at_work_are_counted(page: str, expected: int | None) -> None:
    assert requests_in(page) == expected


def test_a_start_is_held_against_earlier_ones_like_it() -> None:
    key, now = Key("0.32.0", "m", "TP 8", "host"), time.time()
    phases = [PhaseRecord("weights", now, now, 20.0), PhaseRecord("compile", now, now, 5.0)]
    state = StartState("run", 1, 1, now, "url", "m", "0.32.0", phases=[*phases, PhaseRecord("ready", now, now, 99.0)])
    history = [Entry(key, now - 9 + each, {"weights": 30.0 + each, "compile": 5.0}) for each in range(3)]
    other = Entry(replace(key, layout="TP 4"), now - 5, {"weights": 1.0})
    itself = Entry(key, now, {"weights": 20.0, "compile": 5.0})
    parts = {part.name: part for part in start_parts(state, key, [*history, other, itself])}
    assert phases_of(state) == {"weights": 20.0, "compile": 5.0}
    assert {name: part.seconds for name, part in parts.items()} == {"load": 20.0, "silent": 5.0, "start": 25.0}
    load, silent = parts["load"].comparison, parts["silent"].comparison
    assert load is not None and silent is not None
    assert (load.verdict, load.runs, silent.verdict) == (Verdict.BETTER, 3, Verdict.SAME)
    assert json.dumps(parts["load"].as_dict())
