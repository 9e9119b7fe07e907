"""The model hub's side of a download, for one small repository, with the faults that a test asks for.

It answers what `hf` asks for while it brings and verifies a model: the commit of a revision, the tree of a
commit (50 entries a page, as the real one), and the files with their ETag, commit and byte ranges.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "rig/tiny"
COMMIT = "c0ffee" * 6 + "c0ff"
CHUNK_BYTES = 16 * 1024


@dataclass
class Faults:
    """What goes wrong, by what was asked for; nothing unless set."""

    # Answer every request of the API, or every file, with this status and error code.
    api_status: int = 0
    api_code: str = ""
    file_status: int = 0
    file_code: str = ""
    # Close the connection after so many bytes of a file's body, this many times.
    cut_after_bytes: int = 0
    cuts: int = 0
    # Send bodies no faster than this.
    bytes_per_s: int = 0
    # Send other bytes than were promised for this file, once or always.
    spoil: str = ""
    spoil_once: bool = False


@dataclass
class Hub:
    """A running hub. ``files`` may be changed while it runs; ``asked`` counts the requests by kind."""

    files: dict[str, bytes]
    commits: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    faults: Faults = field(default_factory=Faults)
    asked: Counter[str] = field(default_factory=Counter)
    tokens: set[str] = field(default_factory=set)
    ranges: list[str] = field(default_factory=list)
    sent_bytes: int = 0
    page_entries: int = 50
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_port}"

    def start(self) -> None:
        hub = self

        class Bound(Handler):
            pass

        Bound.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        assert self.server is not None
        self.server.shutdown()
        self.server.server_close()

    def entry(self, path: str) -> dict[str, Any]:
        """As the tree endpoint describes a file: large ones carry their SHA-256, all their git blob id."""
        content = self.files[path]
        described: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
        if path.endswith(".safetensors"):
            digest = hashlib.sha256(content).hexdigest()
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()
            described["lfs"] = {"oid": digest, "size": len(content), "pointerSize": len(pointer)}
            return {**described, "oid": blob_id(pointer)}
        return {**described, "oid": blob_id(content)}


def blob_id(content: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Tests look at ``asked`` instead."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if token := self.headers.get("authorization"):
            self.hub.tokens.add(token)
        if path == "/api/agent-harnesses":
            self.json({})
            return
        start = f"/api/models/{REPOSITORY}"
        if path.startswith(f"{start}/revision/"):
            self.revision(path.removeprefix(f"{start}/revision/"))
        elif path.startswith(f"{start}/tree/"):
            self.tree(path.removeprefix(f"{start}/tree/"), parse_qs(parts.query))
        elif path.startswith(f"/{REPOSITORY}/resolve/"):
            self.file(*path.removeprefix(f"/{REPOSITORY}/resolve/").split("/", 1))
        else:
            self.refuse(404, "RepoNotFound")

    def json(self, content: object, **headers: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.hub.asked[f"{status} {code}".strip()] += 1
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def commit(self, revision: str) -> str | None:
        known = self.hub.commits
        return known.get(revision, revision if revision in known.values() else None)

    def revision(self, revision: str) -> None:
        self.hub.asked["revision"] += 1
        faults = self.hub.faults
        commit = self.commit(revision)
        if faults.api_status:
            self.refuse(faults.api_status, faults.api_code)
        elif commit is None:
            self.refuse(404, "RevisionNotFound")
        else:
            self.json({"_id": "1", "id": REPOSITORY, "sha": commit})

    def tree(self, revision: str, query: dict[str, list[str]]) -> None:
        self.hub.asked["tree"] += 1
        if self.hub.faults.api_status:
            self.refuse(self.hub.faults.api_status, self.hub.faults.api_code)
            return
        if self.commit(revision) is None:
            self.refuse(404, "RevisionNotFound")
            return
        at = int(query.get("cursor", ["0"])[0])
        end = at + self.hub.page_entries
        names = sorted(self.hub.files)
        directories = sorted({name.rpartition("/")[0] for name in names} - {""})
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": name} for name in directories]
        entries += [self.hub.entry(name) for name in names]
        more = f'<{self.hub.url}{self.path.partition("?")[0]}?recursive=true&cursor={end}>; rel="next"'
        self.json(entries[at:end], **({"Link": more} if end < len(entries) else {}))

    def file(self, revision: str, path: str) -> None:
        self.hub.asked[self.command] += 1
        faults = self.hub.faults
        if faults.file_status:
            self.refuse(faults.file_status, faults.file_code)
            return
        if path not in self.hub.files:
            self.refuse(404, "EntryNotFound")
            return
        content = self.hub.files[path]
        described = self.hub.entry(path)
        etag = described["lfs"]["oid"] if "lfs" in described else described["oid"]
        if faults.spoil == path and self.command == "GET":
            content = bytes(byte ^ 1 for byte in content)
            if faults.spoil_once:
                faults.spoil = ""
        begin = 0
        asked_range = self.headers.get("Range")
        if asked_range:
            self.hub.ranges.append(asked_range)
            begin = int(asked_range.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if asked_range else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", self.commit(revision) or "")
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - begin))
        if asked_range:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self.body(memoryview(content)[begin:])

    def body(self, content: memoryview) -> None:
        faults = self.hub.faults
        limit = len(content)
        if faults.cuts and faults.cut_after_bytes < limit:
            faults.cuts -= 1
            limit = faults.cut_after_bytes
            self.close_connection = True
        for at in range(0, limit, CHUNK_BYTES):
            piece = content[at : min(at + CHUNK_BYTES, limit)]
            try:
                self.wfile.write(piece)
            except OSError:
                self.close_connection = True
                return
            self.hub.sent_bytes += len(piece)
            if faults.bytes_per_s:
                time.sleep(len(piece) / faults.bytes_per_s)


def content_of(directory: Path) -> dict[str, bytes]:
    """All files below ``directory`` as a repository would hold them."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
