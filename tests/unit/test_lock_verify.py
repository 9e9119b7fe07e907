"""Hashes of a lock against an index: what it states, and what it serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tools.locks import index
from tools.locks.index import JSON, IndexedFile, from_html, index_url
from tools.locks.lockfile import Lock, LockedFile, Package
from tools.locks.verify import LARGEST, OTHERS, Result, sample, table, verify

CONTENT = b"the bytes of a wheel" * 1000
DIGEST = sha256(CONTENT).hexdigest()


class Index(ThreadingHTTPServer):
    """An index of one package, ``one``, that can be told to lie."""

    daemon_threads = True
    stated = DIGEST
    content = CONTENT
    announced_bytes = len(CONTENT)
    as_html = False
    asked: list[str]


class Page(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        file = "one-1-py3-none-any.whl"
        if self.path == "/simple/one/" and self.server.as_html:
            self.answer("text/html", f'<a href="../../files/{file}#sha256={self.server.stated}">{file}</a>'.encode())
        elif self.path == "/simple/one/":
            entry = {"filename": file, "url": f"/files/{file}", "hashes": {"sha256": self.server.stated}, "size": 20000}
            self.answer(JSON, json.dumps({"files": [entry]}).encode())
        elif self.path == f"/files/{file}":
            self.answer("application/octet-stream", self.server.content, self.server.announced_bytes)
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, kind: str, content: bytes, announced_bytes: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(announced_bytes or len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Silence."""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    server = Index(("127.0.0.1", 0), Page)
    server.asked = []
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(index, "PAUSE_S", 0.01)
    yield server
    server.shutdown()
    server.server_close()


def package(name: str = "one", file: str = "one-1-py3-none-any.whl", digest: str = DIGEST) -> Package:
    return Package(name, "1", False, "*", ("main",), "", (LockedFile(file, f"sha256:{digest}"),))


def lock(*packages: Package) -> Lock:
    return Lock(packages, {}, "2.1", "*", "")


def test_the_index_is_the_one_that_pip_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple/")
    assert index_url() == "https://mirror.example/simple"


def test_a_right_hash_is_compared_with_the_statement_and_the_bytes(served: Index) -> None:
    (result,) = verify(lock(package()), download="all")
    assert (result.wrong, result.served_bytes, result.served_sha256) == ("", len(CONTENT), DIGEST)


def test_an_index_without_json_will_do(served: Index) -> None:
    served.as_html = True
    (result,) = verify(lock(package()), download="all")
    assert (result.wrong, result.served_bytes) == ("", len(CONTENT))
    assert result.stated and result.stated.size_bytes == len(CONTENT)


def test_a_changed_hash_is_seen_by_the_statement(served: Index) -> None:
    (result,) = verify(lock(package(digest="0" * 64)), download="all")
    assert result.wrong == f"the index states {DIGEST}, locked is {'0' * 64}"
    assert "WRONG one-1-py3-none-any.whl: the index states" in table([result])


def test_the_statement_alone_is_enough_to_see_it(served: Index) -> None:
    (result,) = verify(lock(package(digest="0" * 64)), download="none")
    assert result.wrong
    assert result.served_bytes is None
    assert served.asked == ["/simple/one/"]
    assert table([result]).startswith("0 files downloaded, 0 bytes; 1 hashes compared")


def test_changed_bytes_are_seen_behind_a_right_statement(served: Index) -> None:
    served.content = CONTENT.replace(b"bytes", b"other")
    (result,) = verify(lock(package()), download="all")
    assert result.wrong == f"the file served has {sha256(served.content).hexdigest()}, locked is {DIGEST}"
    assert "| one 1 | one-1-py3-none-any.whl | 20000 | no |" in table([result])


def test_a_file_that_the_index_lacks_is_wrong(served: Index) -> None:
    (result,) = verify(lock(package(file="one-1-cp312-cp312-manylinux1_x86_64.whl")), download="all")
    assert result.wrong == "the index has no such file"


def test_a_broken_connection_is_no_wrong_hash(served: Index) -> None:
    served.announced_bytes = len(CONTENT) + 1
    with pytest.raises(OSError, match="ended after 20000 of 20001 bytes"):
        verify(lock(package()), download="all")
    assert served.asked.count("/files/one-1-py3-none-any.whl") == index.TRIES


def test_a_package_that_the_index_lacks_is_asked_for_once(served: Index) -> None:
    with pytest.raises(OSError, match="404"):
        verify(lock(package("two")), download="all")
    assert served.asked == ["/simple/two/"]


def test_a_page_of_links_is_read() -> None:
    page = (
        '<a href="../../f/one-1%2Bcu13-py3-none-any.whl#sha256=aa">one</a>'
        '<a name="x">no link</a><a href="/f/one-1.tar.gz#md5=bb">two</a>'
    )
    assert from_html(page, "https://mirror.example/simple/one/") == {
        "one-1+cu13-py3-none-any.whl": IndexedFile(
            "https://mirror.example/f/one-1%2Bcu13-py3-none-any.whl", "aa", None
        ),
        "one-1.tar.gz": IndexedFile("https://mirror.example/f/one-1.tar.gz", None, None),
    }


def test_the_sample_holds_the_largest_and_is_the_same_each_time() -> None:
    pairs = [
        (package(f"p{size}", digest=sha256(str(size).encode()).hexdigest()), IndexedFile("", None, size))
        for size in range(100)
    ]
    names = [one.name for one in sample(pairs)]
    assert names[:LARGEST] == [f"p{size}" for size in range(99, 99 - LARGEST, -1)]
    by_hash = sorted((one for one, _ in pairs[: 100 - LARGEST]), key=lambda one: one.files[0].hash)
    assert names[LARGEST:] == [one.name for one in by_hash[:OTHERS]]
    assert [one.name for one in sample(pairs[::-1])] == names


def test_a_file_that_was_not_downloaded_has_no_row_but_counts() -> None:
    result = Result(package(), IndexedFile("", DIGEST, 7), None, None)
    assert "| one 1 |" not in table([result])
    assert "0 files downloaded, 0 bytes; 1 hashes compared with the index, 7 bytes in all; 0 wrong" in table([result])
