"""A machine as a file."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rigappliance.errors import ConfigError
from rigappliance.facts.machine import load_machine, machine_schema, machine_text, read_machine_facts


def test_what_is_written_is_read_back_but_for_the_hosts_name(tmp_path: Path) -> None:
    machine = read_machine_facts(tmp_path)
    assert machine.host.hostname and machine.host.ram_total_bytes and machine.host.cpu.flags
    (tmp_path / "m.json").write_text(machine_text(machine))
    assert machine.host.hostname not in json.loads(machine_text(machine))["host"].values()
    back = load_machine(tmp_path / "m.json")
    assert back == dataclasses.replace(machine, host=dataclasses.replace(machine.host, hostname=None))


def test_by_hand_only_what_is_known_is_written(tmp_path: Path) -> None:
    cards = [{"name": "NVIDIA GeForce RTX 3060", "memory_total_bytes": 12_884_901_888}] * 2
    (tmp_path / "m.json").write_text(json.dumps({"host": {"ram_total_bytes": 16_000_000_000}, "gpu": {"cards": cards}}))
    machine = load_machine(tmp_path / "m.json")
    assert [card.index for card in machine.gpu.cards] == [0, 1]
    assert (machine.host.ram_total_bytes, machine.host.swap_total_bytes) == (16_000_000_000, None)
    assert machine.host.disk.rotational is None and machine.host.cpu.flags == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"host": {"ram": 1}}', "host.ram"),
        ('{"gpu": {"cards": [{"nam": "x"}]}}', "gpu.cards.0.nam"),
        ('{"gpu": {"cards": [3]}}', "gpu.cards.0"),
        ('{"gpu": {"cards": 3}}', "gpu.cards"),
        ('{"host": {"ram_total_bytes": "much"}}', "host.ram_total_bytes"),
        ("[]", "MachineFacts"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_machine_is_refused_by_the_place_of_the_mistake(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_machine(tmp_path / "m.json")
    assert words in refused.value.found and "facts" in refused.value.remedy


def test_the_schema_names_what_a_card_has() -> None:
    properties = machine_schema()["$defs"]["CardFacts"]["properties"]
    assert {"name", "memory_total_bytes", "pcie_width"} <= set(properties)


def test_the_verb_writes_the_file_and_says_where_it_cannot(tmp_path: Path) -> None:
    def facts(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rigappliance", "facts", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    assert facts("--output", str(tmp_path / "m.json")).returncode == 0
    assert load_machine(tmp_path / "m.json").host.ram_total_bytes
    refused = facts("--output", str(tmp_path / "none/m.json"))
    assert refused.returncode == 2 and "cannot be written" in refused.stderr and "Traceback" not in refused.stderr
    assert "CardFacts" in facts("--schema").stdout
