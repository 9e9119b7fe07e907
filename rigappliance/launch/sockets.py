"""Whose listening socket is behind a port."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def listens(pids: Iterable[int], port: int) -> bool:
    """One of ``pids`` listens on TCP ``port``. Processes that are gone or hidden count as not listening."""
    for pid in pids:
        try:
            connections = psutil.Process(pid).net_connections(kind="tcp")
        except psutil.Error:
            continue
        if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections):
            return True
    return False
