"""What came back from a machine with a card, as a table and JSON: the plan beside what was measured.

    python -m bench.gpu.report --fitted RESULTS --seen DIRECTORY... --host-fitted DIRECTORY... --where "one H200"

RESULTS is what this wrote on another day: starts in it that the card model was corrected by are planned anew by
the model as it is. Directories hold what bench.gpu.main and bench.gpu.peak wrote, with the plan that was made on the
machine before each start. KV tokens are the engine's own count; the peak is the card's memory in use by NVML, 20 times
a second: of those corrected by, from before the start until its end; of the others while it served, one prompt as long
as a step among what it did. The host's memory is PSS of all processes, and the ledger of the plan as it is, without
the supervisor; the starts in the directories of --host-fitted are those that its number for CUDA was fitted to.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.common import finish
from bench.gpu.replan import known, replanned
from rigappliance import ENGINE_VERSION
from rigappliance.plan.coefficients import shipped
from rigappliance.units import format_size


def figures(told: dict[str, Any], host_fitted: bool) -> dict[str, Any] | None:
    """One start that was planned and got as far as HTTP, where all its memory is taken; ready or ended before that."""
    plan, state = told.get("plan"), told.get("state")
    if not plan or not state or not state["kv_tokens"] or state["phases"][-1]["name"] not in ("HTTP", "ready"):
        return None
    processes = {each["name"]: each["pss_bytes"] for each in told.get("processes") or ()}
    return {
        "case": told["case"],
        "fitted": False,
        **held_against(plan["kv_tokens"], plan["cards"][0]["ledger"]["used_bytes"], state["kv_tokens"], peak_of(told)),
        "start_peak_bytes": told["card"]["peak_bytes"],
        "ready_s": told["ready_s"],
        "phases_s": phases_of(state),
        "processes_bytes": processes,
        "host_planned_bytes": host_bytes(plan),
        "host_measured_bytes": sum(processes.values()),
        "host_fitted": host_fitted,
        "asked": {
            "ask": (told.get("ask") or {}).get("status"),
            "full_step": (told.get("full_step") or {}).get("status"),
        },
        "exit_status": told["exit_status"],
        "cause": (told.get("why") or {}).get("cause"),
    }


def phases_of(state: dict[str, Any]) -> dict[str, float]:
    return {each["name"]: round((each["ended"] or 0) - each["started"], 1) for each in state["phases"]}


def peak_of(told: dict[str, Any]) -> int:
    return int(told["card"].get("serving_peak_bytes") or told["card"]["peak_bytes"])


def host_bytes(plan: dict[str, Any]) -> int:
    """Of one rank, by the numbers as they are now: the plan of the day had another one for CUDA."""
    lines = plan["host"]["phases"][-1]["ledger"]["lines"]
    others = sum(line["size_bytes"] for line in lines if line["name"] not in ("supervisor", "cuda"))
    return int(others + shipped().size_bytes("host.cuda_serving"))


def held_against(tokens: int, used: int, tokens_logged: int, peak: int) -> dict[str, Any]:
    return {
        "tokens_planned": tokens,
        "tokens_logged": tokens_logged,
        "tokens_error": tokens / tokens_logged - 1,
        "peak_planned_bytes": used,
        "peak_measured_bytes": peak,
        "peak_error": used / peak - 1,
    }


def anew(seen: dict[str, Any]) -> dict[str, Any]:
    """A start of an earlier day that the card model was corrected by, planned by the model as it is."""
    case = known(seen["case"])
    assert case is not None, f"{seen['case']} is not among the configurations of bench.gpu.cases"
    memory = replanned(case)
    used = memory.cards[0].ledger.used_bytes
    return {**seen, **held_against(memory.kv_tokens or 0, used, seen["tokens_logged"], seen["peak_measured_bytes"])}


def row(case: dict[str, Any]) -> tuple[str, str]:
    peaks = f"{format_size(case['peak_planned_bytes'], 2)} planned, {format_size(case['peak_measured_bytes'], 2)}"
    return (
        case["case"] + ("" if case["fitted"] else " *"),
        f"KV tokens {case['tokens_planned']} planned, {case['tokens_logged']} ({case['tokens_error']:+.1%}); "
        f"peak {peaks} ({case['peak_error']:+.1%}); {ended(case)}",
    )


def ended(case: dict[str, Any]) -> str:
    if case["ready_s"]:
        return f"ready after {case['ready_s']:.0f} s"
    return f"ended in HTTP by {case['cause']}"


def host_row(case: dict[str, Any]) -> tuple[str, str]:
    planned, measured = case["host_planned_bytes"], case["host_measured_bytes"]
    parts = ", ".join(f"{name} {format_size(size, 2)}" for name, size in case["processes_bytes"].items())
    return (
        f"host memory, {case['case']}{'' if case['host_fitted'] else ' *'}",
        f"{format_size(planned, 2)} planned, {format_size(measured, 2)} ({planned / measured - 1:+.1%}): {parts}",
    )


def largest(cases: list[dict[str, Any]], label: str) -> list[tuple[str, str]]:
    if not cases:
        return []
    tokens = max(abs(case["tokens_error"]) for case in cases)
    peaks = max(abs(case["peak_error"]) for case in cases)
    return [(f"largest errors, {label}", f"KV tokens {tokens:.1%}, peak {peaks:.1%} ({len(cases)} starts)")]


def host_largest(cases: list[dict[str, Any]], label: str) -> list[tuple[str, str]]:
    errors = [case["host_planned_bytes"] / case["host_measured_bytes"] - 1 for case in cases]
    if not errors:
        return []
    return [(f"host memory, {label}", f"errors from {min(errors):+.1%} to {max(errors):+.1%} ({len(errors)} starts)")]


def choice(told: dict[str, Any]) -> dict[str, Any]:
    """What a choice of graphs and level costs: seconds of the start, and the speed that it gives."""
    return {
        "choice": told["case"],
        "phases_s": phases_of(told["state"]),
        "figures": told["during"]["figures"],
        "bench_status": (told["during"].get("bench") or {}).get("status"),
    }


def choice_rows(seen: dict[str, Any]) -> Iterator[tuple[str, str]]:
    phases = ", ".join(f"{name} {seen['phases_s'].get(name, 0):.0f}" for name in ("compile", "graph capture"))
    yield f"{seen['choice']}: start, s", phases
    for kind in ("decode", "prefill"):
        rates = [
            f"{each['concurrency']} at a time {statistics.median(each['tokens_s']):.0f} "
            f"({min(each['tokens_s']):.0f} to {max(each['tokens_s']):.0f})"
            for each in seen["figures"]
            if each["kind"] == kind
        ]
        yield f"{seen['choice']}: {kind}, tokens/s", ", ".join(rates)
    steps = [
        f"{each['concurrency']} at a time {statistics.median(each['typical_s']) * 1e3:.1f}"
        for each in seen["figures"]
        if each["kind"] == "decode"
    ]
    yield f"{seen['choice']}: a step of decoding, ms", ", ".join(steps)


def named(told: dict[str, Any]) -> dict[str, Any]:
    """An end that was made to happen, and what `why` said."""
    return {
        "case": told["case"],
        "planned": (told.get("plan") or {}).get("verdict"),
        "became_ready": bool(told.get("ready_s")),
        "cause_expected": told.get("expected_cause"),
        "cause_named": (told.get("why") or {}).get("cause"),
        "exit_status": told.get("exit_status"),
        "seconds": told.get("seconds"),
    }


def named_row(end: dict[str, Any]) -> tuple[str, str]:
    planned = f"plan: {end['planned']}; " if end["planned"] != "fits" else ""
    right = "" if end["cause_named"] == end["cause_expected"] else f", expected {end['cause_expected']}"
    return end["case"], f"{planned}why: {end['cause_named']}{right}; exit status {end['exit_status']}"


def profile(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "start": told["start"],
        "headroom_bytes": told.get("headroom_bytes"),
        "consumed_bytes": told.get("consumed_bytes"),
        "at_peak": [
            {"size_bytes": block["size_bytes"], "stack": block["stack"][:4]} for block in told.get("at_peak", ())[:4]
        ],
    }


def profile_row(seen: dict[str, Any]) -> tuple[str, str]:
    top = seen["at_peak"][0] if seen["at_peak"] else None
    by = f"; largest {format_size(top['size_bytes'], 2)} from {top['stack'][0]}" if top else ""
    return (
        f"profile run, {seen['start']}",
        f"peak {format_size(seen['headroom_bytes'] or 0, 2)} beyond what is kept{by}",
    )


def read(paths: list[Path], name: str) -> Iterator[dict[str, Any]]:
    for path in paths:
        file = path / name
        if file.exists():
            yield from (told for told in json.loads(file.read_text()) if "error" not in told)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--fitted", type=Path)
    arguments.add_argument("--seen", nargs="*", type=Path, default=[])
    arguments.add_argument("--host-fitted", nargs="*", type=Path, default=[])
    arguments.add_argument("--where", required=True, help="the machine, in words")
    arguments.add_argument("--output", type=Path)
    chosen = arguments.parse_args()
    before = json.loads(chosen.fitted.read_text())["cases"] if chosen.fitted else []
    starts = [told for told in read(chosen.seen, "starts.json") if "plan" in told]
    fitted_to = [told for told in read(chosen.host_fitted, "starts.json") if "plan" in told]
    cases = [anew(seen) for seen in before if seen["fitted"]]
    cases += [case for told in starts if (case := figures(told, told in fitted_to))]
    choices = [choice(told) for told in starts if isinstance(told.get("during"), dict)]
    if not cases:
        sys.exit("no start in these files became ready")
    # What was to be killed while it served, and ended before, tells nothing of that.
    ends = [
        named(told)
        for told in starts
        if told.get("expected_cause") and not (told["expected_to_fit"] and not told["ready_s"])
    ]
    left = [told for told in read(chosen.seen, "starts.json") if told["case"] == "left behind"]
    profiles = [profile(told) for told in read(chosen.seen, "peak.json")]
    loads = [load for told in read(chosen.seen, "loaders.json") for load in told["loads"]]
    rows = [row(case) for case in cases]
    rows += largest([case for case in cases if case["fitted"]], "corrected by")
    rows += largest([case for case in cases if not case["fitted"]], "held out (*)")
    hosts = [case for case in cases if case.get("host_measured_bytes") and "host_fitted" in case]
    rows += host_largest([case for case in hosts if case["host_fitted"]], "corrected by")
    rows += host_largest([case for case in hosts if not case["host_fitted"]], "held out (*)")
    rows += [line for seen in choices for line in choice_rows(seen)]
    if left:
        segments, processes = (sum(len(told[kind]) for told in left) for kind in ("segments", "processes"))
        rows.append(("left behind, all together", f"{segments} segments, {processes} processes"))
    rows += [named_row(end) for end in ends] + [profile_row(seen) for seen in profiles]
    if loads:
        same = len({load["digest"] for load in loads}) == 1
        times = {
            load_format: ", ".join(f"{load['seconds']:.1f}" for load in loads if load["format"] == load_format)
            for load_format in ("auto", "sequential")
        }
        rows.append(("loaders in turn, s", f"auto {times['auto']}; sequential {times['sequential']}"))
        rows.append(("their parameters", "identical" if same else "DIFFERENT"))
    # Last, since they are many.
    rows += [host_row(case) for case in hosts]
    # Not the machine that this runs on.
    machine = {"cpu": re.sub(r"\s+", " ", chosen.where), "engine": f"vLLM {ENGINE_VERSION}, CUDA build"}
    result: dict[str, object] = {
        "machine": machine,
        "cases": cases,
        "choices": choices,
        "ends": ends,
        "left": left,
        "profiles": profiles,
        "loads": loads,
    }
    finish("gpu", chosen.output, result, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
