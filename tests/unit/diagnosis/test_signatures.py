"""Every signature finds the line that it is for, whatever stands around it, and no other signature takes it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from rigappliance.diagnosis.catalogue import CAUSES
from rigappliance.diagnosis.logevidence import Hit
from rigappliance.diagnosis.logreader import LogReader
from rigappliance.diagnosis.signature import Role, Signature
from rigappliance.diagnosis.signatures import SIGNATURES

EXAMPLES: dict[str, str] = tomllib.loads((Path(__file__).parent / "examples.toml").read_text())
# Families of causes that a rule settles, and what says no cause.
FAMILIES = {"card-memory", "bus-error", "killed", ""}
SAYING = [signature for signature in SIGNATURES if signature.role is not Role.NOTHING]
SILENT = [signature for signature in SIGNATURES if signature.role is Role.NOTHING]


def line_of(signature: Signature) -> str:
    return EXAMPLES.get(signature.name, signature.text)


def hits(*lines: str) -> tuple[Hit, ...]:
    reader = LogReader()
    for line in lines:
        reader.feed(line)
    return reader.evidence().hits


@pytest.mark.parametrize("signature", SAYING, ids=lambda signature: signature.name)
def test_it_finds_its_line(signature: Signature) -> None:
    (hit,) = hits(line_of(signature))
    assert (hit.signature, hit.cause, hit.role) == (signature.name, signature.cause, signature.role)


@pytest.mark.parametrize("signature", SILENT, ids=lambda signature: signature.name)
def test_a_harmless_line_is_none_of_the_others(signature: Signature) -> None:
    assert hits(line_of(signature)) == ()


WRAPPINGS = {
    "engine": "(Worker_TP3 pid=6693) ERROR 11-23 13:12:34 [multiproc_executor.py:953] {}",
    "colour": "\x1b[1;36m(Worker_TP3 pid=6693)\x1b[0;0m ERROR 11-23 13:12:34 [multiproc_executor.py:953] {}\x1b[0m",
    "older engine": "ERROR 07-04 17:35:16 multiproc_worker_utils.py:140] {}",
    "journal": "Nov 23 13:12:34 rig rigappliance[4711]: {}",
    "docker compose": "vllm-1  | {}",
    "Kubernetes": "2026-11-23T13:12:34.123456789Z stderr F {}",
    "torchrun": "[rank3]: {}",
    "Ray": "\x1b[36m(RayWorkerWrapper pid=12, ip=10.0.0.2)\x1b[0m {}",
    "carriage return": "Loading safetensors checkpoint shards:  33% Completed | 1/3 [00:00<00:00, 382.17it/s]\r{}",
}


@pytest.mark.parametrize("wrapping", [*WRAPPINGS, "docker JSON"])
def test_all_of_them_are_found_behind_any_prefix(wrapping: str) -> None:
    lost = []
    for signature in SAYING:
        line = line_of(signature)
        if wrapping == "docker JSON":
            wrapped = json.dumps({"log": f"{line}\n", "stream": "stderr", "time": "2026-11-23T13:12:34Z"})
        else:
            wrapped = WRAPPINGS[wrapping].format(line)
        if [hit.signature for hit in hits(wrapped)] != [signature.name]:
            lost.append((signature.name, wrapped, hits(wrapped)))
    assert lost == []


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING"])
def test_a_line_below_error_says_nothing(level: str) -> None:
    found = [
        signature.name
        for signature in SIGNATURES
        for line in (
            f"(Worker pid=1) {level} 11-23 13:12:34 [x.py:9] {line_of(signature)}",
            f"\x1b[32m{level}\x1b[0m:     {line_of(signature)}",
            f"{level} 01-02 03:04:05 x.py:9] {line_of(signature)}",
        )
        if not signature.warning and hits(line)
    ]
    assert found == []


def test_names_are_unique_causes_exist_patterns_compile_and_examples_are_used() -> None:
    names = [signature.name for signature in SIGNATURES]
    assert len(set(names)) == len(names)
    assert {signature.cause for signature in SIGNATURES} - FAMILIES <= set(CAUSES)
    assert all(re.compile(signature.pattern) and signature.text and signature.source for signature in SIGNATURES)
    assert set(EXAMPLES) <= set(names)
