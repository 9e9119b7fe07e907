"""What the process behind the mount is told by the one who mounted it: a line of JSON each, answered by one."""

from __future__ import annotations

import json
import os
import select
import threading
from typing import Any

from bench.hdd.faults import Truncation, from_json
from bench.hdd.server import Server


def obey(server: Server, order: dict[str, Any]) -> dict[str, Any]:
    match order["do"]:
        case "counts":
            return counts(server)
        case "zero":
            server.zero()
        case "forget":
            waiting = [server.forget(node) for node in server.nodes.values() if not node.is_directory]
            threading.Thread(target=say_when_over, args=(waiting,), daemon=True).start()
            return {"later": True}
        case "fail":
            fault = from_json(order["fault"])
            if fault.file not in server.by_path:
                return {"error": f"no file {fault.file} on this disk"}
            if isinstance(fault, Truncation):
                server.served_bytes[fault.file] = 0
                server.truncations.append(fault)
                server.truncate_where_due()
            else:
                server.broken.append(fault)
        case "heal":
            server.broken.clear()
            server.truncations.clear()
            for node in server.nodes.values():
                if not node.is_directory:
                    node.size_bytes = os.fstat(node.descriptor).st_size
    return {}


def counts(server: Server) -> dict[str, Any]:
    return {
        "requests": server.requests, "seeks": server.seeks, "bytes_by_file": dict(server.bytes_by_file),
        "requests_by_file": dict(server.requests_by_file), "busy_s": server.busy_s, "lost_s": server.lost_s,
        "longest_queue": server.longest_queue,
    }  # fmt: skip


def say(reply: dict[str, Any]) -> None:
    os.write(1, json.dumps(reply).encode() + b"\n")


def say_when_over(waiting: list[threading.Thread]) -> None:
    for thread in waiting:
        thread.join()
    say({})


def serve(server: Server, orders: int = 0) -> None:
    """Until the file system is unmounted, or whoever gives the orders is gone."""
    os.set_blocking(server.device, False)
    pending = b""
    sources = [server.device, orders]
    while True:
        ready, _, _ = select.select(sources, [], [], server.timeout_s())
        if server.device in ready and not server.take_requests():
            return
        server.step()
        if orders in ready:
            received = os.read(orders, 65536)
            if not received:
                return
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                reply = obey(server, json.loads(line))
                if "later" not in reply:
                    say(reply)
