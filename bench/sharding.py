"""Weights of each rank, predicted from headers, against the engine's own model classes on the meta device.

python -m bench.sharding
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.common import finish, parser
from rigappliance.units import format_size
from tests.sharded import CASES, built_by_the_engine


def main() -> int:
    chosen = parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="rigbench-") as directory:
        answers = built_by_the_engine(chosen.engine_python, CASES, Path(directory))
    rows, cases, largest = [], [], 0.0
    for case, answer in zip(CASES, answers, strict=True):
        assert not answer.error, f"{case.name}: {answer.error}"
        predicted, real = case.predicted().total_bytes, sum(answer.created.values())
        error = predicted / real - 1
        largest = max(largest, abs(error))
        rows.append((case.name, f"{format_size(predicted, 3)} predicted, {format_size(real, 3)} real, {error:+.1e}"))
        cases.append({"case": case.name, "predicted_bytes": predicted, "real_bytes": real, "error": error})
    rows.append((f"largest error of {len(CASES)}", f"{largest:.1e}"))
    finish("sharding", chosen.output, {"largest_error": largest, "cases": cases}, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
