"""What came back from a machine with a card, as a table and JSON: the plan beside what was measured.

    python -m bench.gpu.report FITTING.json... --where "one H100" [--output FILE]

KV tokens are the engine's own count; weights are what the engine says that loading took; the peak is the card's memory
in use by NVML, 20 times a second, from before the start until its end.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from bench.common import finish
from rigappliance import ENGINE_VERSION
from rigappliance.units import format_size


def figures(told: dict[str, Any]) -> dict[str, Any] | None:
    """One start that was planned and became ready."""
    plan, state = told.get("plan"), told.get("state")
    if not plan or not state or not told.get("ready_s"):
        return None
    card = plan["cards"][0]["ledger"]
    return {
        "case": told["case"],
        "tokens_planned": plan["kv_tokens"],
        "tokens_logged": state["kv_tokens"],
        "tokens_error": plan["kv_tokens"] / state["kv_tokens"] - 1,
        "peak_planned_bytes": card["used_bytes"],
        "peak_measured_bytes": told["card"]["peak_bytes"],
        "peak_error": card["used_bytes"] / told["card"]["peak_bytes"] - 1,
        "ready_s": told["ready_s"],
        "phases_s": {each["name"]: round((each["ended"] or 0) - each["started"], 1) for each in state["phases"]},
        "processes_bytes": {each["name"]: each["pss_bytes"] for each in told.get("processes") or ()},
        "left_segments": told["left_segments"],
        "exit_status": told["exit_status"],
    }


def row(case: dict[str, Any]) -> tuple[str, str]:
    peaks = f"{format_size(case['peak_planned_bytes'], 2)} planned, {format_size(case['peak_measured_bytes'], 2)}"
    return (
        case["case"],
        f"KV tokens {case['tokens_planned']} planned, {case['tokens_logged']} ({case['tokens_error']:+.1%}); "
        f"peak {peaks} ({case['peak_error']:+.1%}); ready after {case['ready_s']:.0f} s",
    )


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("files", nargs="+", type=Path)
    arguments.add_argument("--where", required=True, help="the machine, in words")
    arguments.add_argument("--output", type=Path)
    chosen = arguments.parse_args()
    cases = [case for path in chosen.files for told in json.loads(path.read_text()) if (case := figures(told))]
    if not cases:
        sys.exit("no start in these files became ready")
    tokens = max(abs(case["tokens_error"]) for case in cases)
    peaks = max(abs(case["peak_error"]) for case in cases)
    rows = [row(case) for case in cases]
    rows += [("largest error of KV tokens", f"{tokens:.1%}"), ("largest error of the peak", f"{peaks:.1%}")]
    # Not the machine that this runs on.
    machine = {"cpu": re.sub(r"\s+", " ", chosen.where), "engine": f"vLLM {ENGINE_VERSION}, CUDA build"}
    result = {"machine": machine, "tokens_error": tokens, "peak_error": peaks, "cases": cases}
    finish("gpu", chosen.output, result, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
