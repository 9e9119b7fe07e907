"""CUDA code of other cards, blanked out of a library so that what is carried to one card stays small.

A library of CUDA kernels holds each kernel once for each kind of card ("fatbin"). The payload of the machine code
that the card at hand cannot run is overwritten with zeros; its header stays, so the driver sees the same entries and
still picks the one that fits. PTX stays: the driver compiles it where no machine code fits.

Layout of the container, as `cuobjdump --list-elf` shows it: https://docs.nvidia.com/cuda/cuda-binary-utilities
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAGIC = struct.pack("<I", 0xBA55ED50)
MACHINE_CODE = 2


@dataclass(frozen=True)
class Code:
    """One entry: PTX (1) or machine code (2), for which compute capability times ten, and where its payload lies."""

    kind: int
    capability: int
    start: int
    size_bytes: int


def entries(data: bytes | bytearray) -> list[Code]:
    """All entries of all fatbins in a library."""
    found = []
    at = data.find(MAGIC)
    while at >= 0:
        _, header, size = struct.unpack_from("<HHQ", data, at + 4)
        position, end = at + header, at + header + size
        if end > len(data):
            # The four bytes by chance, in a string or in code.
            at = data.find(MAGIC, at + 4)
            continue
        while position + 32 <= end:
            kind, _, own_header, payload = struct.unpack_from("<HHIQ", data, position)
            (capability,) = struct.unpack_from("<I", data, position + 28)
            if own_header == 0:
                break
            found.append(Code(kind, capability, position + own_header, payload))
            position += own_header + payload
        at = data.find(MAGIC, end)
    return found


def keep_only(data: bytearray, capability: int) -> int:
    """Blank the machine code of every other capability; returns the bytes blanked."""
    blanked = 0
    for code in entries(data):
        if code.kind == MACHINE_CODE and code.capability != capability:
            data[code.start : code.start + code.size_bytes] = bytes(code.size_bytes)
            blanked += code.size_bytes
    return blanked
