"""What is asked of the template, and what a new process reads first."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from typing import Any

from rigappliance.enginestart.environment import Change

# The whole message of a request; the rest are descriptors.
FORK, RETIRE = b"fork", b"done"
NUMBER = struct.Struct("q")


@dataclass(frozen=True)
class Request:
    """Descriptors of one request, in this order in the packet."""

    data: int  # what the child reads: its Change as JSON with its length before it, then what spawn sends
    status: int
    requests: int  # the socket on which the child may ask in its turn
    tracker: int  # of multiprocessing's resource tracker
    inherited: tuple[int, ...]  # what the pickled process refers to by its place in this list


def pack(change: Change) -> bytes:
    text = json.dumps({"environ": change.environ, "threads": change.threads, "cpus": change.cpus}).encode()
    return NUMBER.pack(len(text)) + text


def read_exactly(fd: int, size: int) -> bytes:
    """Raises ``EOFError``."""
    data = b""
    while len(data) < size:
        piece = os.read(fd, size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def unpack(fd: int) -> Change:
    text = read_exactly(fd, NUMBER.unpack(read_exactly(fd, NUMBER.size))[0])
    content: dict[str, Any] = json.loads(text)
    return Change(content["environ"], content["threads"], tuple(content["cpus"]))
