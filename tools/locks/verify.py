"""Compare a lock's hashes with what the index states, and with the files that it serves."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

from tools.locks.index import IndexedFile, files_of, index_url, opened, tried
from tools.locks.lockfile import Lock, Package

CHUNK_BYTES = 1 << 20
LARGEST = 10
OTHERS = 15
AT_ONCE = 4


@dataclass(frozen=True)
class Result:
    """One file: what was compared and whether it agreed. ``served_bytes`` is ``None`` where it was not downloaded."""

    package: Package
    stated: IndexedFile | None
    served_bytes: int | None
    served_sha256: str | None

    @property
    def wrong(self) -> str:
        """What disagrees; empty where nothing does."""
        locked = self.package.files[0].hash.removeprefix("sha256:")
        if self.stated is None:
            return "the index has no such file"
        if self.stated.sha256 != locked:
            return f"the index states {self.stated.sha256}, locked is {locked}"
        if self.served_sha256 not in (None, locked):
            return f"the file served has {self.served_sha256}, locked is {locked}"
        return ""


Download = Literal["none", "sample", "all"]


def verify(lock: Lock, download: Download) -> list[Result]:
    """Every file's hash against the index's statement, and some or all against the bytes. Raises ``OSError``."""
    index = index_url()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        stated = list(pool.map(lambda package: _stated(index, package), lock.packages))
        pairs = list(zip(lock.packages, stated, strict=True))
        chosen = {"none": [], "sample": sample(pairs), "all": lock.packages}[download]
        wanted = {package.name for package in chosen}
        return list(pool.map(lambda pair: _result(pair[0], pair[1], pair[0].name in wanted), pairs))


def sample(pairs: Iterable[tuple[Package, IndexedFile | None]]) -> list[Package]:
    """The largest files, and others in an order that depends on nothing but their hashes."""
    by_size = sorted(pairs, key=lambda pair: -(pair[1].size_bytes or 0) if pair[1] else 0)
    largest = [package for package, _ in by_size[:LARGEST]]
    others = sorted((package for package, _ in by_size[LARGEST:]), key=lambda package: package.files[0].hash)
    return [*largest, *others[:OTHERS]]


def _stated(index: str, package: Package) -> IndexedFile | None:
    file = tried(lambda: files_of(index, package.name)).get(package.files[0].file)
    if file is None or file.size_bytes is not None:
        return file
    return replace(file, size_bytes=tried(lambda: _length(file.url)))


def _length(url: str) -> int:
    with opened(url, method="HEAD") as response:
        return int(response.headers.get("Content-Length", 0))


def _result(package: Package, stated: IndexedFile | None, download: bool) -> Result:
    if stated is None or not download:
        return Result(package, stated, None, None)
    print(f"  {package.files[0].file}", file=sys.stderr)
    served_bytes, digest = tried(lambda: _served(stated.url))
    return Result(package, stated, served_bytes, digest)


def _served(url: str) -> tuple[int, str]:
    digest = sha256()
    length_bytes = 0
    with opened(url) as response:
        while chunk := response.read(CHUNK_BYTES):
            digest.update(chunk)
            length_bytes += len(chunk)
        announced = response.headers.get("Content-Length")
    # A connection that broke is no proof against the lock.
    if announced and int(announced) != length_bytes:
        raise OSError(f"{url} ended after {length_bytes} of {announced} bytes")
    return length_bytes, digest.hexdigest()


def table(results: list[Result]) -> str:
    """The files downloaded, a row each, and what disagreed."""
    downloaded = [result for result in results if result.served_bytes is not None]
    rows = ["| package | file | bytes | ok |", "|---|---|---:|---|"] if downloaded else []
    for result in sorted(downloaded, key=lambda result: -(result.served_bytes or 0)):
        file, ok = result.package.files[0].file, "no" if result.wrong else "yes"
        rows.append(f"| {result.package.name} {result.package.version} | {file} | {result.served_bytes} | {ok} |")
    total = sum(result.served_bytes or 0 for result in downloaded)
    known = sum(result.stated.size_bytes or 0 for result in results if result.stated)
    rows += [""] if downloaded else []
    rows += [
        f"{len(downloaded)} files downloaded, {total} bytes; {len(results)} hashes compared with the index, "
        f"{known} bytes in all; {sum(bool(result.wrong) for result in results)} wrong",
    ]
    rows += [f"WRONG {result.package.files[0].file}: {result.wrong}" for result in results if result.wrong]
    return "\n".join(rows)
