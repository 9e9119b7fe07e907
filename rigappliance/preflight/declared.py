"""What contradicts itself in a declaration, told without looking at any machine.

A NixOS configuration is checked with this while it is built, on whatever machine builds it.
"""

from __future__ import annotations

import ipaddress

from rigappliance.config import RigConfig
from rigappliance.preflight.finding import Finding, fail, ok
from rigappliance.preflight.memory import cuda_host_memory
from rigappliance.render.vllm import render
from rigappliance.units import format_size, memory_limit_bytes


def check_declared(config: RigConfig) -> list[Finding]:
    """All findings. Raises ``ConfigError`` for options or variables that the pinned engine does not take."""
    render(config)
    findings = [check_declared_limit(config), check_declared_exposure(config)]
    if config.engine.device == "cuda":
        ram = config.hardware.ram
        have = min(ram, memory_limit_bytes(config.memory.max, ram)) + config.memory.swap
        findings.append(cuda_host_memory(config, have))
    return findings


def check_declared_limit(config: RigConfig) -> Finding:
    """``memory.max`` against ``hardware.ram``."""
    ram = config.hardware.ram
    limit = memory_limit_bytes(config.memory.max, ram)
    if limit <= ram:
        return ok("memory.limit", f"the engine may use {format_size(limit)} of RAM ({config.memory.max})")
    return fail(
        "memory.limit",
        f"memory.max {config.memory.max} is more than hardware.ram, {format_size(ram)}: it limits nothing",
        "a share such as 90%, or a size below the RAM",
        "lower memory.max, or set hardware.ram to what the machine has",
    )


def check_declared_exposure(config: RigConfig) -> Finding:
    """Whoever reaches the API may use it, so an address that others reach needs a key."""
    server = config.server
    if server.api_key_file is not None or is_loopback(server.host):
        return ok("port.exposure", "only this machine or whoever has the key may use the API")
    return fail(
        "port.exposure",
        f"server.host {server.host} is reachable from other machines, and server.api_key_file is not set",
        "a key, or a loopback address",
        "write a key to a file on the machine and set server.api_key_file, or set server.host to 127.0.0.1",
    )


def is_loopback(host: str) -> bool:
    """Names are not looked up: what one means can differ where the engine runs."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
