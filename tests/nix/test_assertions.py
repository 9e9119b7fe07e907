"""Each contradiction is refused in one sentence; the good host hears nothing."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.nix.bench import ROOT, NixError, evaluate

# One evaluation of a system keeps tens of megabytes until Nix ends.
TOGETHER = 8
PROCESSES = 2


@dataclass(frozen=True)
class Wrong:
    """A definition on top of the rig, and what has to be said about it."""

    name: str
    definition: str
    found: str
    remedy: str


def settings(text: str) -> str:
    return f"services.rigappliance.settings.{text};"


def appliance(text: str) -> str:
    return f"services.rigappliance.{text};"


def mounted(where: str, kind: str) -> str:
    return f'fileSystems."{where}" = {{ device = "/dev/disk/by-label/other"; fsType = "{kind}"; }};'


REFUSED = (
    Wrong(
        "more ranks than cards",
        settings("engine.pipeline_parallel = 2"),
        "settings.engine.tensor_parallel 8 × pipeline_parallel 2 makes 16 ranks, and settings.hardware.cards is 8",
        "lower one of the first two",
    ),
    Wrong(
        "no utilisation",
        settings("engine.gpu_memory_utilization = 0"),
        "settings.engine.gpu_memory_utilization is 0",
        "set it to 0.85",
    ),
    Wrong(
        "negative utilisation",
        settings("engine.gpu_memory_utilization = -0.5"),
        "settings.engine.gpu_memory_utilization is -0.5",
        "set it to 0.85",
    ),
    Wrong(
        "utilisation beyond the card",
        settings("engine.gpu_memory_utilization = 1.01"),
        "settings.engine.gpu_memory_utilization is 1.01",
        "set it to 0.85",
    ),
    Wrong(
        "memory limit above the RAM",
        settings('memory.max = "17GB"'),
        "settings.memory.max 17GB is more than settings.hardware.ram 16GB",
        "lower settings.memory.max",
    ),
    Wrong(
        "memory limit above the RAM by its unit",
        settings('memory.max = "16GiB"'),
        "settings.memory.max 16GiB is more than settings.hardware.ram 16GB",
        "lower settings.memory.max",
    ),
    Wrong(
        "memory limit of more than everything",
        settings('memory.max = "100.01%"'),
        "settings.memory.max 100.01% is more than settings.hardware.ram 16GB",
        "lower settings.memory.max",
    ),
    Wrong(
        "public without a key",
        settings('server.host = "0.0.0.0"'),
        "settings.server.host 0.0.0.0 is reachable from other machines, and settings.server.api_key_file is not set",
        "write a key to a file",
    ),
    Wrong(
        "public by IPv6 without a key",
        settings('server.host = "::"'),
        "settings.server.host :: is reachable",
        "write a key to a file",
    ),
    Wrong(
        "public by name without a key",
        settings('server.host = "rig.lan"'),
        "settings.server.host rig.lan is reachable",
        "write a key to a file",
    ),
    Wrong(
        "key in the store",
        settings(f'server.api_key_file = "${{{ROOT}/LICENSE}}"'),
        "settings.server.api_key_file is in the Nix store",
        "put the key into a file of root's",
    ),
    Wrong(
        "state in the store",
        settings('state_dir = "/nix/store/state"'),
        "settings.state_dir is in the Nix store",
        "set it to /var/lib/rigappliance",
    ),
    Wrong(
        "state in RAM",
        mounted("/var/lib", "tmpfs"),
        "settings.state_dir /var/lib/rigappliance is on tmpfs",
        "mount one there",
    ),
    Wrong(
        "swap of nothing",
        appliance('swap.size = "0B"'),
        "services.rigappliance.swap.enable is set, and settings.memory.swap is 0B",
        "set services.rigappliance.swap.size",
    ),
    *(
        Wrong(
            f"swap file on {kind}",
            mounted("/srv", kind) + appliance('swap.path = "/srv/swap"'),
            f"settings.memory.swap_file /srv/swap is on {kind}, on which the kernel cannot swap",
            "set services.rigappliance.swap.path",
        )
        for kind in ("zfs", "nfs4", "tmpfs", "overlay", "fuse.sshfs")
    ),
    Wrong(
        "swap file made twice",
        'swapDevices = [ { device = "/var/lib/rigappliance.swap"; } ];',
        "/var/lib/rigappliance.swap is settings.memory.swap_file, and in swapDevices too",
        "remove it from swapDevices",
    ),
    Wrong(
        "zswap before nothing",
        appliance("swap = { enable = false; zswap.enable = true; }"),
        "services.rigappliance.swap.zswap.enable is set, and swap.enable is not",
        "set services.rigappliance.swap.enable",
    ),
    Wrong(
        "pages compressed twice",
        appliance("swap.zswap.enable = true") + "zramSwap.enable = true;",
        "services.rigappliance.swap.zswap.enable and zramSwap.enable are both set",
        "set one of them to false",
    ),
    Wrong(
        "driver too old",
        'imports = [ (driver "575.64.05") ];',
        "NVIDIA's driver is 575.64.05; expected: 580 or newer",
        "set services.rigappliance.gpu.driverPackage",
    ),
    Wrong(
        "driver just too old",
        'imports = [ (driver "579.99") ];',
        "NVIDIA's driver is 579.99; expected: 580 or newer",
        "set services.rigappliance.gpu.driverPackage",
    ),
    Wrong(
        "no power",
        appliance("gpu.powerLimitWatts = 0"),
        "services.rigappliance.gpu.powerLimitWatts is 0",
        "set it between the least and the most",
    ),
    Wrong(
        "negative power for one card",
        appliance('gpu.cards."3".powerLimitWatts = -10'),
        'services.rigappliance.gpu.cards."3".powerLimitWatts is -10',
        "set it between the least and the most",
    ),
    Wrong(
        "a ninth card",
        appliance('gpu.cards."8".powerLimitWatts = 100'),
        "services.rigappliance.gpu.cards has 8, and settings.hardware.cards is 8",
        "correct them",
    ),
    Wrong(
        "a card that is no number",
        appliance('gpu.cards."first".powerLimitWatts = 100'),
        "services.rigappliance.gpu.cards has first",
        "correct them",
    ),
    Wrong(
        "cards without any",
        settings("hardware.cards = 0"),
        "services.rigappliance.gpu.enable is set, and settings.hardware.cards is 0",
        "set settings.hardware.cards",
    ),
    Wrong(
        "port of ssh",
        settings("server.port = 22"),
        "port 22 is used by ssh (services.openssh.ports, number 1) and by the API (settings.server.port)",
        "give one of them another port",
    ),
    Wrong(
        "port of Prometheus",
        appliance("monitoring.enable = true") + settings("server.port = 9090"),
        "port 9090 is used by Prometheus (services.prometheus.port) and by the API",
        "give one of them another port",
    ),
    Wrong(
        "port of an exporter",
        appliance("monitoring.enable = true") + settings("server.port = 9100"),
        "port 9100 is used by services.prometheus.exporters.node and by the API",
        "give one of them another port",
    ),
    Wrong(
        "port of the cards' exporter",
        appliance("monitoring.enable = true") + settings("server.port = 9835"),
        "port 9835 is used by services.prometheus.exporters.nvidia-gpu and by the API",
        "give one of them another port",
    ),
    Wrong(
        "port that was told",
        appliance('ports."a wiki" = 8000'),
        "port 8000 is used by a wiki and by the API",
        "give one of them another port",
    ),
)

WARNED = (
    Wrong(
        "utilisation that died",
        settings("engine.gpu_memory_utilization = 0.9"),
        "settings.engine.gpu_memory_utilization is 0.9",
        "set it to 0.85",
    ),
    Wrong(
        "utilisation above vLLM's own",
        settings("engine.gpu_memory_utilization = 0.95"),
        "settings.engine.gpu_memory_utilization is 0.95",
        "set it to 0.85",
    ),
    Wrong(
        "open port that nobody listens on",
        appliance("openFirewall = true"),
        "services.rigappliance.openFirewall is set, and settings.server.host 127.0.0.1 is reachable from this machine",
        "set settings.server.host to 0.0.0.0",
    ),
    Wrong(
        "cards for the CPU",
        settings('engine.device = "cpu"'),
        "services.rigappliance.gpu.enable is set, and settings.engine.device is cpu",
        "set settings.engine.device to cuda",
    ),
    Wrong(
        "cards without a driver",
        appliance("gpu.enable = false"),
        "settings.engine.device is cuda, and nothing installs NVIDIA's driver",
        "set services.rigappliance.gpu.enable",
    ),
    Wrong(
        "no toolchain",
        appliance("toolchain.enable = false"),
        "settings.engine.device is cuda, and services.rigappliance.toolchain.enable is not set",
        "set services.rigappliance.toolchain.enable",
    ),
)

# Right, and near to what is wrong.
GOOD = {
    "the rig": "",
    "pipelines": settings("engine = { tensor_parallel = 4; pipeline_parallel = 2; }"),
    "more ranks than cards on the CPU": settings('engine = { device = "cpu"; tensor_parallel = 16; }')
    + appliance("gpu.enable = false"),
    "just below": settings("engine.gpu_memory_utilization = 0.89"),
    "all of the RAM": settings('memory.max = "16GB"'),
    "public with a key": settings('server = { host = "0.0.0.0"; api_key_file = "/etc/rigappliance/api-key"; }')
    + appliance("openFirewall = true"),
    "another loopback address": settings('server.host = "127.0.1.1"'),
    "IPv6 loopback": settings('server.host = "::1"'),
    "other swap too": 'swapDevices = [ { device = "/dev/disk/by-label/swap"; } ];',
    "swap of others": appliance("swap.enable = false") + settings('memory.swap = "64GiB"'),
    "swap file beside a file system without": mounted("/var/lib/rigappliance", "zfs"),
    "name that begins like a mount": mounted("/var/lib/rig", "tmpfs"),
    "zswap": appliance("swap.zswap.enable = true"),
    "a driver": 'imports = [ (driver "580.65.06") ];',
    "a newer driver": 'imports = [ (driver "1000.1") ];',
    "limits": appliance('gpu = { powerLimitWatts = 130; cards."7".targetTemperatureCelsius = 70; }'),
    "monitored": appliance("monitoring.enable = true"),
    "other ports": appliance('ports."a wiki" = 8001'),
}


def all_findings() -> dict[str, Any]:
    """Name of each variant → what it was refused with and warned of."""
    variants = {wrong.name: wrong.definition for wrong in (*REFUSED, *WARNED)} | GOOD
    assert len(variants) == len(REFUSED) + len(WARNED) + len(GOOD), "two variants of one name"
    found: dict[str, Any] = {}
    names = list(variants)
    groups = [names[start : start + TOGETHER] for start in range(0, len(names), TOGETHER)]

    def evaluated(group: list[str]) -> Any:
        entries = " ".join(f'"{name}" = findings [ host {{ {variants[name]} }} ];' for name in group)
        return evaluate(f"{{ {entries} }}")

    with ThreadPoolExecutor(PROCESSES) as pool:
        for part in pool.map(evaluated, groups):
            found |= part
    return found


@pytest.fixture(scope="module")
def findings() -> dict[str, Any]:
    return all_findings()


@pytest.mark.parametrize("wrong", REFUSED, ids=lambda wrong: wrong.name)
def test_what_is_wrong_is_refused(findings: dict[str, Any], wrong: Wrong) -> None:
    said = [message for message in findings[wrong.name]["refused"] if wrong.found in message]
    assert len(said) == 1, findings[wrong.name]
    assert f"; to do: {wrong.remedy}" in said[0]


@pytest.mark.parametrize("doubtful", WARNED, ids=lambda doubtful: doubtful.name)
def test_what_is_doubtful_is_warned_of(findings: dict[str, Any], doubtful: Wrong) -> None:
    said = findings[doubtful.name]
    assert said["refused"] == []
    assert len(said["warned"]) == 1, said
    assert doubtful.found in said["warned"][0]
    assert f"; to do: {doubtful.remedy}" in said["warned"][0]


@pytest.mark.parametrize("name", GOOD)
def test_what_is_right_hears_nothing(findings: dict[str, Any], name: str) -> None:
    assert findings[name] == {"refused": [], "warned": []}


def test_a_message_is_one_sentence(findings: dict[str, Any]) -> None:
    messages = [message for said in findings.values() for message in (*said["refused"], *said["warned"])]
    assert len(messages) >= len(REFUSED) + len(WARNED)
    shape = re.compile(r"rigappliance: [^\n]+; expected: [^\n]+; to do: [^\n]+[^.\n]\.")
    assert [message for message in messages if not shape.fullmatch(message) or "  " in message] == []


def test_every_assertion_is_triggered_by_a_wrong_input_here(findings: dict[str, Any]) -> None:
    """A message that is added in the module and nowhere here would be missed by its number."""
    text = (ROOT / "nixos/modules/assertions.nix").read_text(encoding="utf-8")
    declared = len(re.findall(r"^ +when = ", text, flags=re.MULTILINE))
    remedies = {
        message.partition("; to do: ")[2]
        for wrong in (*REFUSED, *WARNED)
        for message in (*findings[wrong.name]["refused"], *findings[wrong.name]["warned"])
    }
    # Two say the same to do: utilisation out of its range, and near its end.
    assert len({re.sub(r", with which.*", "", remedy).rstrip(".") for remedy in remedies}) == declared - 1


# Types of options, which Nix itself refuses; each of them ends an evaluation.
TYPES = {
    "unknown profile": ('profile = "rigg"', "profile", '"demo", "rig"'),
    "port as text": ('server.port = "8000"', "server.port", "16 bit unsigned integer"),
    "port out of range": ("server.port = 70000", "server.port", "16 bit unsigned integer"),
    "size without a unit": ('memory.swap = "128"', "memory.swap", "size with its unit"),
    "size as a number": ("memory.swap = 128", "memory.swap", "size with its unit"),
    "unknown device": ('engine.device = "rocm"', "engine.device", '"cuda", "cpu"'),
    "fraction of a rank": ("engine.tensor_parallel = 0.5", "engine.tensor_parallel", "positive integer"),
    "relative path": ('model.path = "models/qwen"', "model.path", "absolute path"),
    "limit in words": ('memory.max = "most"', "memory.max", "share of the RAM"),
}


@pytest.mark.parametrize("case", TYPES)
def test_a_wrong_type_is_refused_by_name(case: str) -> None:
    text, option, expected = TYPES[case]
    with pytest.raises(NixError) as caught:
        evaluate(f"(config [ appliance {{ {settings(text)} }} ]).services.rigappliance.settings")
    assert f"services.rigappliance.settings.{option}' is not of type" in str(caught.value)
    assert expected in str(caught.value)


def test_a_package_that_nobody_sets_says_who_should() -> None:
    modules = f"[ {ROOT}/nixos/modules {{ services.rigappliance.enable = true; }} ]"
    for option, path in (
        ("package", "package.name"),
        ("enginePackage", "settings.engine.python"),
        ("toolchain.package", "toolchain.package.path"),
    ):
        with pytest.raises(NixError) as caught:
            evaluate(f"(config {modules}).services.rigappliance.{path}")
        assert f"rigappliance: services.rigappliance.{option} is not set" in str(caught.value)
        assert "nixosModules.default" in str(caught.value)
