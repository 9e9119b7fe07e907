"""The engine's own benchmark client, kept open. Run as a file by the engine's interpreter; imports nothing of ours.

A line of JSON comes in for each measurement, with the arguments of ``vllm bench serve``; a line goes out when it is
done. Importing vLLM takes half a minute on two slow cores, so one process makes all measurements of a run.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import sys
import time
from typing import Any

# It shares two cores with the engine. More would delay its clock readings, less the engine itself.
NICE = 5


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def opened() -> tuple[Any, Any]:
    """The client's module, and the parser of its command line. Raises ``ImportError``."""
    from vllm.benchmarks import serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    # The same tokenizer each time; loading it anew would cost seconds of every measurement.
    serve.get_tokenizer = functools.cache(serve.get_tokenizer)
    parser = FlexibleArgumentParser()
    serve.add_cli_args(parser)
    return serve, parser


def measured(serve: Any, parser: Any, arguments: list[str]) -> dict[str, Any]:
    """What one measurement took, or why there is none; its figures are in the file that ``arguments`` name."""
    began, used = time.monotonic(), cpu_s()
    try:
        serve.main(parser.parse_args(arguments))
    except SystemExit as error:
        return {"error": f"its command line is not understood (exit {error.code})"}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": time.monotonic() - began, "cpu_s": cpu_s() - used, "peak_bytes": peak}


def main() -> int:
    os.nice(NICE)
    # It prints tables and progress bars; the answers need a channel of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        serve, parser = opened()
    except ImportError as error:
        answer({"missing": str(error)})
        return 1
    answer({"open": True})
    for line in sys.stdin:
        answer(measured(serve, parser, json.loads(line)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
