"""The process behind the mount: takes the kernel's requests, and answers each read when the model's head is through.

Time is kept twice. The disk's own clock goes by what the model charges, so that neither this process's work nor a late
wake-up adds to it: after a late answer the next ones come earlier until both clocks agree again. What could not be
made up for, because nothing was waiting, is bounded by ``LATENESS_S`` and counted.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from contextlib import suppress

from bench.hdd import wire
from bench.hdd.elevator import Elevator, Read
from bench.hdd.faults import BadRange, SlowRange, Truncation, touches
from bench.hdd.model import DiskModel
from bench.hdd.platter import Node
from bench.hdd.wire import Op

# More than this behind, and the disk was not slow but its process starved: the time is lost, and said to be.
LATENESS_S = 0.05


class Server:
    def __init__(self, device: int, nodes: dict[int, Node], model: DiskModel, fifo: bool) -> None:
        self.device, self.nodes, self.model = device, nodes, model
        self.by_path = {node.path: node for node in nodes.values()}
        self.queue = Elevator(fifo)
        self.served: tuple[Read, bytes, int] | None = None
        self.head_bytes = 0
        self.free_s = self.done_s = self.late_s = 0.0
        self.broken: list[BadRange | SlowRange] = []
        self.truncations: list[Truncation] = []
        self.served_bytes: Counter[str] = Counter()
        self.zero()

    def zero(self) -> None:
        self.requests = self.seeks = self.longest_queue = 0
        self.bytes_by_file: Counter[str] = Counter()
        self.requests_by_file: Counter[str] = Counter()
        self.busy_s = self.lost_s = 0.0

    # Time

    def timeout_s(self) -> float | None:
        return None if self.served is None else max(0.0, self.done_s - time.monotonic())

    def step(self) -> None:
        """Answer what is due, and start the next read as soon as the head is free."""
        while True:
            now = time.monotonic()
            if self.served is not None:
                if now < self.done_s:
                    return
                self.finish(now)
            if not len(self.queue):
                return
            self.start()

    def start(self) -> None:
        read = self.queue.take(self.head_bytes, max(self.free_s, self.queue.earliest_s()))
        node = self.nodes[read.inode]
        # The file may have become shorter while the read waited.
        size = max(0, min(read.size_bytes, node.size_bytes - read.at_bytes))
        access = self.model.access_s(self.head_bytes, read.offset_bytes)
        # While nobody waited the drive read on into its own buffer; for anything else the head stood still.
        ahead = self.model.look_ahead_s if access == 0.0 else 0.0
        begin = max(self.free_s, read.arrived_s - ahead)
        seconds, error = access + self.model.transfer_s(size), 0
        for fault in self.broken:
            if fault.file == node.path and touches(fault, read.at_bytes, size):
                seconds += fault.seconds
                error = errno.EIO if isinstance(fault, BadRange) else error
        data = b"" if error else os.pread(node.descriptor, size, read.at_bytes)
        self.requests += 1
        self.seeks += read.offset_bytes != self.head_bytes
        self.requests_by_file[node.path] += 1
        self.bytes_by_file[node.path] += len(data)
        self.served_bytes[node.path] += len(data)
        self.busy_s += seconds
        self.head_bytes = read.offset_bytes + size
        self.served, self.done_s = (read, data, error), max(begin + seconds, read.arrived_s)

    def finish(self, now_s: float) -> None:
        assert self.served is not None
        read, data, error = self.served
        self.served, self.free_s = None, self.done_s
        self.answer(read.unique, data, error)
        late = now_s - self.done_s
        self.late_s = min(late, LATENESS_S)
        self.lost_s += late - self.late_s
        self.free_s += late - self.late_s
        self.truncate_where_due()

    # Requests of the kernel

    def take_requests(self) -> bool:
        """Everything that the kernel has for us; false once the file system is unmounted."""
        while True:
            try:
                request = os.read(self.device, wire.REQUEST_BYTES)
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return False
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                raise
            _, operation, unique, inode, *_ = wire.IN_HEADER.unpack_from(request)
            self.handle(operation, unique, inode, request[wire.IN_HEADER.size :])

    def handle(self, operation: int, unique: int, inode: int, body: bytes) -> None:
        node = self.nodes.get(inode)
        match operation:
            case Op.READ if node:
                _, at, size, *_ = wire.READ_IN.unpack_from(body)
                arrived = time.monotonic() - self.late_s
                self.queue.add(Read(node.start_bytes + at, unique, size, inode, at, arrived))
                self.longest_queue = max(self.longest_queue, len(self.queue))
            case Op.INIT:
                self.answer(unique, wire.init_out(body))
            case Op.LOOKUP if node:
                found = self.nodes.get(node.children.get(body.rstrip(b"\0"), 0))
                if found:
                    self.answer(unique, wire.entry_out(found.inode, attributes(found)))
                else:
                    self.answer(unique, error=errno.ENOENT)
            case Op.GETATTR if node:
                self.answer(unique, wire.attr_out(attributes(node)))
            case Op.OPEN:
                self.answer(unique, wire.OPEN_OUT.pack(0, wire.FOPEN_KEEP_CACHE, 0))
            case Op.OPENDIR:
                self.answer(unique, wire.OPEN_OUT.pack(0, wire.FOPEN_KEEP_CACHE | wire.FOPEN_CACHE_DIR, 0))
            case Op.READDIR if node:
                _, at, size, *_ = wire.READ_IN.unpack_from(body)
                self.answer(unique, self.listing(node, at, size))
            case Op.STATFS:
                blocks = self.model.capacity_bytes // 4096
                self.answer(unique, wire.STATFS_OUT.pack(blocks, 0, 0, len(self.nodes), 0, 4096, 255, 4096, *[0] * 7))
            case Op.RELEASE | Op.RELEASEDIR | Op.FLUSH | Op.DESTROY:
                self.answer(unique)
            case _ if operation not in wire.NO_ANSWER:
                self.answer(unique, error=errno.ENOSYS)

    def listing(self, node: Node, first: int, size: int) -> bytes:
        listed = b""
        for number, (name, inode) in list(enumerate(node.children.items(), start=1))[first:]:
            entry = wire.dirent(inode, number, self.nodes[inode].mode, name)
            if len(listed) + len(entry) > size:
                break
            listed += entry
        return listed

    def answer(self, unique: int, body: bytes = b"", error: int = 0) -> None:
        # ENOENT: whoever asked was killed while it waited.
        with suppress(FileNotFoundError):
            os.writev(self.device, [wire.answer_header(unique, len(body), error), body])

    # Faults

    def truncate_where_due(self) -> None:
        for fault in list(self.truncations):
            if self.served_bytes[fault.file] >= fault.after_bytes:
                self.truncations.remove(fault)
                node = self.by_path[fault.file]
                node.size_bytes = min(node.size_bytes, fault.size_bytes)
                self.forget(node, fault.size_bytes)

    def forget(self, node: Node, offset_bytes: int = 0) -> threading.Thread:
        """Have the kernel drop the pages. It waits for those being read, which only this process can end."""
        message = wire.invalidation(node.inode, offset_bytes)

        def tell() -> None:
            # ENOENT: the kernel does not know the file (any more), so there is nothing to drop.
            with suppress(FileNotFoundError):
                os.write(self.device, message)

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        return thread


def attributes(node: Node) -> bytes:
    return wire.attributes(node.inode, node.size_bytes, node.mode, node.mtime_s)
