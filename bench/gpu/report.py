"""What came back from a machine with a card, as a table and JSON: the plan beside what was measured.

    python -m bench.gpu.report --fitted FITTING.json... --seen DIRECTORY... --where "one H100" [--output FILE]

FITTING.json are starts that the card model was corrected by: they are planned anew by the model as it is. Directories
hold what bench.gpu.main and bench.gpu.peak wrote, with the plan that was made on the machine before each start. KV
tokens are the engine's own count; the peak is the card's memory in use by NVML, 20 times a second: of those corrected
by, from before the start until its end; of the others while it served, one prompt as long as a step among what it did.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.common import finish
from bench.gpu.replan import known, replanned
from rigappliance import ENGINE_VERSION
from rigappliance.units import format_size


def figures(told: dict[str, Any], fitted: bool) -> dict[str, Any] | None:
    """One start that was planned and became ready."""
    plan, state = told.get("plan"), told.get("state")
    if not plan or not state or not told.get("ready_s"):
        return None
    tokens, used = plan["kv_tokens"], plan["cards"][0]["ledger"]["used_bytes"]
    if fitted:
        case = known(told["case"])
        if case is None:
            return None
        memory = replanned(case)
        tokens, used = memory.kv_tokens, memory.cards[0].ledger.used_bytes
    peak = told["card"].get("serving_peak_bytes") or told["card"]["peak_bytes"]
    return {
        "case": told["case"],
        "fitted": fitted,
        "tokens_planned": tokens,
        "tokens_logged": state["kv_tokens"],
        "tokens_error": tokens / state["kv_tokens"] - 1,
        "peak_planned_bytes": used,
        "peak_measured_bytes": peak,
        "peak_error": used / peak - 1,
        "start_peak_bytes": told["card"]["peak_bytes"],
        "ready_s": told["ready_s"],
        "phases_s": {each["name"]: round((each["ended"] or 0) - each["started"], 1) for each in state["phases"]},
        "processes_bytes": {each["name"]: each["pss_bytes"] for each in told.get("processes") or ()},
        "left_segments": told["left_segments"],
        "exit_status": told["exit_status"],
    }


def row(case: dict[str, Any]) -> tuple[str, str]:
    peaks = f"{format_size(case['peak_planned_bytes'], 2)} planned, {format_size(case['peak_measured_bytes'], 2)}"
    return (
        case["case"] + ("" if case["fitted"] else " *"),
        f"KV tokens {case['tokens_planned']} planned, {case['tokens_logged']} ({case['tokens_error']:+.1%}); "
        f"peak {peaks} ({case['peak_error']:+.1%}); ready after {case['ready_s']:.0f} s",
    )


def largest(cases: list[dict[str, Any]], label: str) -> list[tuple[str, str]]:
    if not cases:
        return []
    tokens = max(abs(case["tokens_error"]) for case in cases)
    peaks = max(abs(case["peak_error"]) for case in cases)
    return [(f"largest errors, {label}", f"KV tokens {tokens:.1%}, peak {peaks:.1%} ({len(cases)} starts)")]


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
    arguments.add_argument("--fitted", nargs="*", type=Path, default=[])
    arguments.add_argument("--seen", nargs="*", type=Path, default=[])
    arguments.add_argument("--where", required=True, help="the machine, in words")
    arguments.add_argument("--output", type=Path)
    chosen = arguments.parse_args()
    before = {told["case"]: told for path in chosen.fitted for told in json.loads(path.read_text())}
    fitting = list(read(chosen.seen, "fitting.json"))
    cases = [case for told in before.values() if (case := figures(told, True))]
    cases += [case for told in fitting if (case := figures(told, False))]
    if not cases:
        sys.exit("no start in these files became ready")
    ends = [named(told) for told in fitting if told.get("expected_cause")]
    ends += [named(told) for name in ("refused.json", "failures.json") for told in read(chosen.seen, name)]
    profiles = [profile(told) for told in read(chosen.seen, "peak.json")]
    loads = [load for told in read(chosen.seen, "loaders.json") for load in told["loads"]]
    rows = [row(case) for case in cases]
    rows += largest([case for case in cases if case["fitted"]], "corrected by")
    rows += largest([case for case in cases if not case["fitted"]], "held out (*)")
    rows += [named_row(end) for end in ends] + [profile_row(seen) for seen in profiles]
    if loads:
        same = len({load["digest"] for load in loads}) == 1
        times = {
            load_format: ", ".join(f"{load['seconds']:.1f}" for load in loads if load["format"] == load_format)
            for load_format in ("auto", "sequential")
        }
        rows.append(("loaders in turn, s", f"auto {times['auto']}; sequential {times['sequential']}"))
        rows.append(("their parameters", "identical" if same else "DIFFERENT"))
    # Not the machine that this runs on.
    machine = {"cpu": re.sub(r"\s+", " ", chosen.where), "engine": f"vLLM {ENGINE_VERSION}, CUDA build"}
    result: dict[str, object] = {"machine": machine, "cases": cases, "ends": ends, "profiles": profiles, "loads": loads}
    finish("gpu", chosen.output, result, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
