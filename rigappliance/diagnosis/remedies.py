"""Remedies with this case's numbers, where the line that names the cause has them."""

from __future__ import annotations

import re
from collections.abc import Callable

_ESTIMATE = re.compile(r"estimated maximum model length is (\d+)")
_LENGTHS = re.compile(r"max seq len \((\d+)\).{0,80}?\(?([\d.]+) GiB KV.{0,120}?\(([\d.]+) GiB\)")
_FREE = re.compile(r"Free memory on device (\S+) \(([\d.]+)/([\d.]+) GiB\).{0,120}?\(([\d.]+), ([\d.]+) GiB\)")
_PORT = re.compile(r"\('[^']*', (\d{1,5})\)|:(\d{2,5})\b(?!.*:\d{2,5}\b)")
_PATH = re.compile(r"No space left on device:? '([^']+)'")
_MINIMUM = re.compile(r"Minimum capability: (\d+)\. Current capability: (\d+)")
_NAMED_FILE = re.compile(r"'([^']*\.(?:safetensors|bin|json|model|gguf))'")
_WORLD = re.compile(r"World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)")
_HEADS = re.compile(r"attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)")
_DERIVED = re.compile(r"max_model_len \((\d+)\) is greater than the derived max_model_len \([^=]*=([\d.]+)")
_UNRECOGNISED = re.compile(r"unrecognized arguments: (.{1,200})")


def remedy_for(cause: str, text: str) -> str:
    """One clause, or nothing where the cause's own remedy says all."""
    make = _REMEDIES.get(cause)
    return make(text) if make else ""


def _kv_cache(text: str) -> str:
    if match := _ESTIMATE.search(text):
        needs = ""
        if lengths := _LENGTHS.search(text):
            needs = f" (it is {lengths[1]}, which needs {lengths[2]} GiB where {lengths[3]} GiB are left)"
        return f"lower engine.max_model_len to {match[1]} or less{needs}, or raise engine.gpu_memory_utilization"
    return ""


def _card_taken(text: str) -> str:
    match = _FREE.search(text)
    if not match:
        return ""
    device, free, total, share, wanted = match.groups()
    fits = int(float(free) / float(total) * 100) / 100 if float(total) else 0.0
    return (
        f"end what else uses {device} (`nvidia-smi` names it): {free} of {total} GiB were free and "
        f"{wanted} GiB wanted; or lower engine.gpu_memory_utilization from {share} to {fits:.2f} or less"
    )


def _port(text: str) -> str:
    match = _PORT.search(text)
    port = (match[1] or match[2]) if match else ""
    return f"stop the server on port {port} (`ss -ltnp` names it), or set server.port to a free one" if port else ""


def _disk(text: str) -> str:
    match = _PATH.search(text)
    return f"free some space on the disk of {match[1]}, or move state_dir to another" if match else ""


def _old_card(text: str) -> str:
    match = _MINIMUM.search(text)
    if not match:
        return ""
    least, have = (f"{number[:-1]}.{number[-1]}" for number in match.groups())
    return f"use cards of compute capability {least} or more (this one has {have}), or another quantisation"


def _file(text: str) -> str:
    match = _NAMED_FILE.search(text)
    return f"bring {match[1]} (again): `rigappliance fetch` does" if match else ""


def _few_cards(text: str) -> str:
    match = _WORLD.search(text)
    if not match:
        return ""
    return (
        f"look for the missing cards (`nvidia-smi -L`): {match[2]} of {match[1]} are there; "
        "or lower engine.tensor_parallel × engine.pipeline_parallel"
    )


def _option(text: str) -> str:
    if match := _DERIVED.search(text):
        return f"lower engine.max_model_len from {match[1]} to {float(match[2].rstrip('.')):.0f} or less"
    if match := _HEADS.search(text):
        return f"choose an engine.tensor_parallel that divides {match[1]} ({match[2]} does not)"
    if match := _UNRECOGNISED.search(text):
        return f"remove {match[1].strip()} from engine.extra_args"
    if "For FP8 input" in text:
        return "set engine.dtype to bfloat16, or engine.kv_cache_dtype to auto"
    if "FP8 KV cache" in text:
        return "set engine.kv_cache_dtype to auto"
    return ""


_REMEDIES: dict[str, Callable[[str], str]] = {
    "kv-cache-too-small": _kv_cache,
    "card-memory-taken": _card_taken,
    "port-taken": _port,
    "disk-full": _disk,
    "card-too-old": _old_card,
    "checkpoint-missing": _file,
    "checkpoint-truncated": _file,
    "checkpoint-corrupt": _file,
    "cards-missing": _few_cards,
    "option-rejected": _option,
}
