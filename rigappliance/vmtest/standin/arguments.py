"""vLLM's command line, as far as a stand-in has to know it. argparse would cost more than all the rest."""

from __future__ import annotations

from typing import Any

# Before the arguments of the server itself.
LEADING = ("-m", "vllm.entrypoints.openai.api_server", "vllm", "serve")
# What the real engine's interpreter would run in their place; it hands the rest on.
ENTRY = "/enginestart/entry.py"
INTEGERS = ("port", "tensor-parallel-size", "pipeline-parallel-size", "max-model-len", "shutdown-timeout")


def parse(argv: list[str]) -> dict[str, Any]:
    """Options by name without dashes; the positional argument is the model. An option without a value is true."""
    rest = list(argv)
    if rest and rest[0].endswith(ENTRY):
        rest.pop(0)
    serve = "serve" in rest[:2]
    while rest and rest[0] in LEADING:
        rest.pop(0)
    found: dict[str, Any] = {}
    if serve and rest and not rest[0].startswith("-"):
        found["model"] = rest.pop(0)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        name = name.lstrip("-").replace("_", "-")
        values = [value] if equals else []
        while not equals and rest and not is_option(rest[0]):
            values.append(rest.pop(0))
        found[name] = values[0] if len(values) == 1 else values or True
    for name in INTEGERS:
        if isinstance(found.get(name), str) and found[name].isdigit():
            found[name] = int(found[name])
    return found


def is_option(text: str) -> bool:
    """Negative numbers are values."""
    return text.startswith("-") and not text[1:2].isdigit() and text != "-"


class Arguments:
    """What the stand-in needs of the command line and of the environment."""

    def __init__(self, argv: list[str], environ: dict[str, str]) -> None:
        options = parse(argv)
        name = options.get("served-model-name")
        self.options = options
        self.model = str(options.get("model", "/nonexistent"))
        self.name = str((name[0] if isinstance(name, list) else name) or self.model)
        self.host = str(options.get("host", "0.0.0.0"))  # noqa: S104 vLLM's default
        self.port = int(options.get("port", 8000))
        self.tensor_parallel = int(options.get("tensor-parallel-size", 1))
        self.pipeline_parallel = int(options.get("pipeline-parallel-size", 1))
        self.workers = self.tensor_parallel * self.pipeline_parallel
        self.max_model_len = int(options.get("max-model-len", 4096))
        self.drain_s = float(options.get("shutdown-timeout", 0))
        self.silent = set(str(options.get("disable-access-log-for-endpoints", "")).split(","))
        self.api_key = str(options.get("api-key", "")) or environ.get("VLLM_API_KEY", "")
        self.cache = environ.get("VLLM_CACHE_ROOT") or environ.get("HOME", "/tmp") + "/.cache/vllm"  # noqa: S108

    def non_default(self) -> dict[str, Any]:
        """As vLLM's log shows them."""
        shown = {name.replace("-", "_"): value for name, value in self.options.items()}
        if isinstance(shown.get("served_model_name"), str):
            shown["served_model_name"] = [shown["served_model_name"]]
        return shown
