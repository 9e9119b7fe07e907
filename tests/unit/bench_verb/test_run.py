"""`rigappliance bench` from the command line, on an engine whose speed is known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from rigappliance.cli import run
from rigappliance.errors import ExitCode
from rigappliance.launch.proctree import descendants, read_stat
from rigappliance.launch.state import StateDirectory
from tests.standin import wait_until
from tests.unit.bench_verb.place import MODEL, Measured


def bench(place: Measured, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, what `--json` printed (nothing where that is nothing), and standard error."""
    code = run(["bench", "-c", str(place.config), "--json", *options])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def figure(content: dict[str, Any], kind: str, concurrency: int) -> dict[str, Any]:
    found = [each for each in content["figures"] if (each["kind"], each["concurrency"]) == (kind, concurrency)]
    assert len(found) == 1
    return dict(found[0])


def test_figures_are_those_of_the_engine(place: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    code, content, _ = bench(place, capsys)
    assert code == ExitCode.OK
    assert content["complete"] is True
    for concurrency in (1, 4, 16, 32):
        prefill, decode = figure(content, "prefill", concurrency), figure(content, "decode", concurrency)
        assert prefill["tokens_s"] == pytest.approx([4000.0] * 3)
        assert prefill["percentiles_s"]["50"] == pytest.approx(
            content["workload"]["lengths"]["prompt"] * concurrency / 4000.0
        )
        assert decode["typical_s"] == pytest.approx([concurrency / 1000.0] * 3)
        assert decode["percentiles_s"]["99"] == pytest.approx(concurrency / 1000.0)
    # 12 requests one at a time tell of the tenth of them that wait longest, and not of a hundredth.
    assert set(figure(content, "prefill", 1)["percentiles_s"]) == {"50", "90"}
    assert {each["name"]: each["seconds"] for each in content["starts"]} == {
        "load": 30.0,
        "silent": 60.0,
        "start": 90.0,
    }
    assert json.loads(Path(content["kept"]).read_text())["figures"][0]["tokens_s"] == pytest.approx([4000.0] * 3)


def test_the_client_is_told_what_keeps_its_figures_honest(
    place: Measured, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "somebody else's")
    assert bench(place, capsys, "--quick")[0] == ExitCode.OK
    seen = place.seen()
    # A prompt that was seen before is answered from the prefix cache.
    assert len({each["seed"] for each in seen}) == len(seen)
    assert {each["model"] for each in seen} == {MODEL}
    assert {each["tokenizer"] for each in seen} == {str(place.model)}
    assert all(each["num_prompts"] >= each["max_concurrency"] for each in seen)
    assert all(each["nice"] == min(os.nice(0) + 5, 19) for each in seen)
    assert all(each["environment"]["NO_PROXY"] == "127.0.0.1" for each in seen)
    assert all(each["environment"]["HF_HUB_OFFLINE"] == "1" for each in seen)
    assert all(each["environment"]["OPENAI_API_KEY"] is None for each in seen)


def test_the_next_run_is_held_against_this_one(place: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    bench(place, capsys)
    place.tell(decode=650.0)
    place.changes["engine"]["enforce_eager"] = True
    place.declare(place.changes)
    content = bench(place, capsys)[1]
    assert len(content["earlier_runs"]) == 1
    slower, same = figure(content, "decode", 16), figure(content, "prefill", 16)
    assert slower["tokens_s_against"]["verdict"] == "worse"
    assert slower["tokens_s_against"]["change"] == pytest.approx(650 / 1000 - 1, abs=0.02)
    assert slower["typical_s_against"]["verdict"] == "worse"
    assert same["tokens_s_against"]["verdict"] == "within the noise"
    assert content["changed_since_last_run"] == ["engine.enforce_eager: True, was False"]
    assert len(place.kept()) == 2


def test_another_layout_and_the_other_kind_of_run_do_not_compare(
    place: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    bench(place, capsys)
    assert bench(place, capsys, "--quick")[1]["earlier_runs"] == []
    place.changes["engine"]["max_num_seqs"] = 16
    place.declare(place.changes)
    content = bench(place, capsys)[1]
    assert content["earlier_runs"] == []
    assert content["workload"]["concurrencies"] == [1, 4, 16]


def test_the_text_has_all_figures_and_says_what_they_rest_on(
    place: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = place.root / "bench.svg"
    assert run(["bench", "-c", str(place.config), "--svg", str(picture)]) == ExitCode.OK
    said = capsys.readouterr()
    assert "4000" in said.out and "1000" not in said.out.split("answers")[0]
    assert "no earlier run of this machine" in said.out
    assert "the client itself took up to" in said.out
    assert "by the first requests" in said.err
    # The default of model.repository is the reference rig's model; what is served is not.
    assert "reference rig" not in said.out
    assert picture.read_text().startswith("<svg")


@pytest.mark.parametrize("no_keep", [True, False])
def test_a_run_is_kept_unless_told_otherwise(
    place: Measured, capsys: pytest.CaptureFixture[str], no_keep: bool
) -> None:
    content = bench(place, capsys, "--quick", *(["--no-keep"] if no_keep else []))[1]
    assert (content["kept"] is None) == no_keep
    assert len(place.kept()) == int(not no_keep)


def test_a_directory_that_cannot_keep_it_is_named_before_any_measurement(
    place: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.state / "bench").touch()
    code, _, said = bench(place, capsys)
    assert code == ExitCode.USAGE
    assert "cannot be kept" in said and "--no-keep" in said
    assert not (place.package / "benchmarks/seen.jsonl").exists()


# --- the key ---------------------------------------------------------------


def test_the_key_reaches_the_client_by_its_environment_alone(
    place: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.root / "key").write_text("s3cret\n")
    place.server.key = "s3cret"
    place.declare({**place.changes, "server": {"port": place.port, "api_key_file": str(place.root / "key")}})
    code, content, said = bench(place, capsys, "--quick")
    assert code == ExitCode.OK
    assert {each["environment"]["OPENAI_API_KEY"] for each in place.seen()} == {"s3cret"}
    arguments = [{name: value for name, value in each.items() if name != "environment"} for each in place.seen()]
    assert "s3cret" not in json.dumps([arguments, content]) + said


def test_a_wrong_key_is_one_clear_error(place: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    place.server.key = "s3cret"
    code, _, said = bench(place, capsys)
    assert code == ExitCode.REQUEST_FAILED
    assert "HTTP 401" in said and "server.api_key_file" in said


# --- nothing to measure ----------------------------------------------------


@pytest.mark.parametrize("left", ["nothing", "the state of a launch that was killed", "that of one that ended"])
def test_without_an_engine_it_says_so(place: Measured, capsys: pytest.CaptureFixture[str], left: str) -> None:
    if left == "nothing":
        StateDirectory(place.state).state_file.unlink()
    elif "killed" in left:
        # A later process has its pid.
        place.serve(supervisor_start_ticks=1)
    else:
        place.serve(ended=1.0)
    code, _, said = bench(place, capsys)
    assert code == ExitCode.NOT_RUNNING
    assert "no engine serves" in said and "--start" in said


def test_an_engine_that_still_starts_is_not_measured(place: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    place.serve(ready=None, phase="weights", eta_s=600.0)
    code, _, said = bench(place, capsys)
    assert code == ExitCode.NOT_RUNNING
    assert "phase weights, about 10 min 00 s left" in said


def test_a_port_that_does_not_answer_is_named(place: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    place.server.shutdown()
    place.server.server_close()
    code, _, said = bench(place, capsys)
    assert code == ExitCode.NOT_RUNNING
    assert f"no answer from http://127.0.0.1:{place.port}" in said


def test_an_engine_without_its_benchmark_client_is_named(place: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    (place.package / "benchmarks/serve.py").unlink()
    code, _, said = bench(place, capsys)
    assert code == ExitCode.ENGINE_MISSING
    assert "benchmark client is not there: cannot import name 'serve'" in said


def test_an_interpreter_that_is_not_there_is_named(place: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    (place.root / "engine/bin/python").unlink()
    code, _, said = bench(place, capsys)
    assert code == ExitCode.ENGINE_MISSING
    assert "engine.python" in said


def test_start_refuses_beside_an_engine_that_serves(place: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = bench(place, capsys, "--start")
    assert code == ExitCode.BUSY
    assert "leave --start out" in said


def test_a_start_that_fails_hands_its_exit_code_on(place: Measured, capfd: pytest.CaptureFixture[str]) -> None:
    StateDirectory(place.state).state_file.unlink()
    place.declare({**place.changes, "model": {"path": str(place.root / "nowhere"), "name": MODEL}})
    assert run(["bench", "-c", str(place.config), "--start"]) == ExitCode.PREFLIGHT
    assert "the launch ended with exit code 4" in capfd.readouterr().err


# --- ended early -----------------------------------------------------------

# Two requests that are only tried, then eight measurements a round.
FIRST_ROUND = 2 + 8


def test_requests_that_fail_keep_what_was_measured_before(place: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    place.tell(fail_at=FIRST_ROUND + 1)
    code, content, said = bench(place, capsys)
    assert code == ExitCode.REQUEST_FAILED
    assert "4 of 4 requests of the benchmark failed: Unauthorized" in said
    assert content["complete"] is False
    assert [len(each["tokens_s"]) for each in content["figures"]] == [1] * 8
    assert len(place.kept()) == 1


@pytest.mark.parametrize(
    ("told", "words"), [("die_at", "ended with 9; it said: a table"), ("raise_at", "ValueError: told so")]
)
def test_a_client_that_fails_is_quoted(
    place: Measured, capsys: pytest.CaptureFixture[str], told: str, words: str
) -> None:
    place.tell(**{told: 1})
    code, content, said = bench(place, capsys)
    assert (code, content) == (ExitCode.REQUEST_FAILED, {})
    assert words in said
    assert place.kept() == []


def test_an_engine_that_ends_meanwhile_is_not_waited_for(place: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    place.tell(sleep_at=FIRST_ROUND + 1)

    def end() -> None:
        wait_until(lambda: (place.package / "benchmarks/seen.jsonl").exists() and len(place.seen()) > FIRST_ROUND)
        place.serve(ended=1.0, message="the engine core died")

    ending = threading.Thread(target=end)
    ending.start()
    code, content, said = bench(place, capsys)
    ending.join()
    assert code == ExitCode.DIED
    assert "the engine core died" in said
    assert content["complete"] is False


def test_an_interrupt_keeps_what_there_is(place: Measured) -> None:
    place.tell(sleep_at=FIRST_ROUND + 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "rigappliance", "bench", "-c", str(place.config), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(place.root)},
    )  # fmt: skip
    seen = place.package / "benchmarks/seen.jsonl"
    wait_until(lambda: seen.exists() and len(place.seen()) > FIRST_ROUND)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=20)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "stopped on SIGINT" in said
    assert len(json.loads(out)["figures"]) == 8
    assert json.loads(place.kept()[0].read_text())["complete"] is False
    assert not list(place.root.glob("rigappliance-bench-*"))


def test_a_client_does_not_outlive_a_run_that_is_killed(place: Measured) -> None:
    place.tell(sleep_at=1)
    process = subprocess.Popen(
        [sys.executable, "-m", "rigappliance", "bench", "-c", str(place.config)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(place.root)},
    )  # fmt: skip
    wait_until(lambda: (place.package / "benchmarks/seen.jsonl").exists())
    clients = [stat.pid for stat in descendants(process.pid)]
    assert len(clients) == 1
    process.kill()
    process.wait()
    wait_until(lambda: (stat := read_stat(clients[0])) is None or stat.state in "ZX")


def test_others_that_ask_meanwhile_are_noted(place: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    place.server.waiting = 3
    assert any("other requests" in note for note in bench(place, capsys, "--quick")[1]["notes"])
