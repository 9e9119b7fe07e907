"""What contradicts itself in a declaration, without a look at this machine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rigappliance.cli import run
from rigappliance.errors import ConfigError, ExitCode
from rigappliance.facts import gpu, host
from rigappliance.preflight.declared import check_declared, is_loopback
from tests.unit.place import Place
from tests.unit.preflight.rig import config, cpu_config, of, severities
from tests.unit.test_bad_input import truncate

SHARD = "model-00002-of-00003.safetensors"


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"server": {"host": "::1"}},
        {"server": {"host": "127.1.2.3"}},
        {"server": {"host": "localhost"}},
        {"server": {"host": "0.0.0.0", "api_key_file": "/etc/key"}},
        {"memory": {"max": "100%"}},
        {"memory": {"max": "14GiB"}, "hardware": {"ram": "14GiB"}},
    ],
)
def test_the_sound_ones_are_silent(sections: dict[str, Any]) -> None:
    assert severities(check_declared(config(**sections))) == {"ok"}


@pytest.mark.parametrize(
    ("limit", "ram", "severity"),
    [("16GB", "16GB", "ok"), ("16.1GB", "16GB", "fail"), ("64GiB", "16GB", "fail"), ("64GiB", "64GiB", "ok")],
)
def test_a_limit_above_the_declared_ram_limits_nothing(limit: str, ram: str, severity: str) -> None:
    finding = of(check_declared(config(memory={"max": limit}, hardware={"ram": ram})), "memory.limit")
    assert finding.severity == severity


@pytest.mark.parametrize(
    ("swap", "severity"),
    # 90 % of 16 GB is 14.4 GB; eight ranks use 18.5 to 28 GB.
    [("0B", "fail"), ("4.0GB", "fail"), ("4.2GB", "warn"), ("13.5GB", "warn"), ("13.7GB", "ok"), ("128GiB", "ok")],
)
def test_swap_and_ram_hold_the_ranks(swap: str, severity: str) -> None:
    assert of(check_declared(config(memory={"swap": swap})), "memory.host").severity == severity


def test_only_what_the_limit_leaves_counts_as_ram() -> None:
    limited = config(memory={"max": "1GiB", "swap": "13.7GB"})
    assert of(check_declared(limited), "memory.host").severity == "fail"
    # A limit beyond the RAM makes no more of it.
    beyond = config(memory={"max": "64GiB", "swap": "0B"})
    assert of(check_declared(beyond), "memory.host").severity == "fail"


def test_fewer_ranks_need_less() -> None:
    assert of(check_declared(config(memory={"swap": "0B"}, engine={"tensor_parallel": 2})), "memory.host").severity == (
        "ok"
    )


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.7", "fd00::1", "rig-07", "rig-07.example.org"])
def test_an_address_that_others_reach_needs_a_key(address: str) -> None:
    finding = of(check_declared(config(server={"host": address})), "port.exposure")
    assert finding.severity == "fail"
    assert f"server.host {address} is reachable from other machines" in finding.found
    keyed = config(server={"host": address, "api_key_file": "/etc/key"})
    assert of(check_declared(keyed), "port.exposure").severity == "ok"


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("::1", True), ("::1%lo", True), ("127.0.0.53", True), ("LOCALHOST", False), ("localhost.evil.example", False)],
)
def test_no_name_but_localhost_is_known_to_stay_here(address: str, loopback: bool) -> None:
    """What a name means where the engine runs is not known where the check runs."""
    assert is_loopback(address) is loopback


def test_a_cpu_engine_has_no_ranks_on_cards() -> None:
    checks = {finding.check for finding in check_declared(cpu_config())}
    assert checks == {"memory.limit", "port.exposure"}


def test_options_of_the_engine_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="'swap-space'"):
        check_declared(config(engine={"options": {"swap-space": 4}}))


def test_no_machine_is_asked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*arguments: object) -> None:
        raise AssertionError("the machine was asked")

    from rigappliance import preflight

    for module, name in ((host, "read_text"), (gpu, "read_gpu_facts"), (preflight, "read_facts")):
        monkeypatch.setattr(module, name, asked)
    assert run(["check", "--config-only", "-c", str(place.config)]) == ExitCode.OK


# --- through the command line ----------------------------------------------


def test_a_sound_declaration_for_another_machine(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the engine nor the checkpoint nor the cards of the rig are here."""
    assert run(["check", "--config-only", "--profile", "rig"]) == ExitCode.OK
    assert capsys.readouterr() == ("the configuration is valid\n", "")


def test_a_contradiction_is_one_message(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.declare({"server": {"host": "0.0.0.0"}, "memory": {"max": "2GB"}})
    assert run(["check", "--config-only", "-c", str(place.config)]) == ExitCode.CONFIG
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0].startswith("rigappliance: memory.max 2GB is more than hardware.ram")
    assert [line[:12] for line in lines[1:]] == ["  expected: ", "  to do:    "]


@pytest.mark.parametrize(("changes", "code"), [({}, 0), ({"server": {"host": "0.0.0.0"}}, 3)])
def test_for_programs(changes: dict[str, Any], code: int, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.declare(changes)
    assert run(["check", "--config-only", "--json", "-c", str(place.config)]) == code
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert err == ""
    assert report["verdict"] == ("fail" if code else "ok")
    assert {finding["check"] for finding in report["findings"]} == {"memory.limit", "port.exposure"}


def test_only_one_group_is_shown_and_decides(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    # Wrong in another group: neither is told of the other.
    place.declare({"server": {"host": "192.0.2.1"}})
    for only, code in (("checkpoint", ExitCode.OK), ("port", ExitCode.PREFLIGHT)):
        assert run(["check", "--only", only, "-c", str(place.config), "--json"]) == code
        names = [finding["check"] for finding in json.loads(capsys.readouterr().out)["findings"]]
        assert names
        assert {name.split(".")[0] for name in names} == {only}
    truncate(SHARD)(place)
    assert run(["check", "--only", "checkpoint", "-c", str(place.config)]) == ExitCode.PREFLIGHT
    out = capsys.readouterr().out
    assert "checkpoint.files" in out
    assert "port." not in out
    assert "1 fail: not ready to start" in out


def test_a_missing_engine_has_its_own_exit_code_in_its_group_alone(place: Place) -> None:
    place.declare({"engine": {"python": "no/python"}})
    assert run(["check", "--only", "engine", "-c", str(place.config)]) == ExitCode.ENGINE_MISSING
    assert run(["check", "--only", "checkpoint", "-c", str(place.config)]) == ExitCode.OK


def test_every_group_has_findings(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    from rigappliance.cli.check import GROUPS

    run(["check", "-c", str(place.config), "--json"])
    names = {finding["check"].split(".")[0] for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert names == set(GROUPS)
