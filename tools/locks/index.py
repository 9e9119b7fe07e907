"""The package index: where it is, and what it states of a package's files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from http.client import HTTPException, HTTPResponse
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urldefrag, urljoin
from urllib.request import Request, urlopen

JSON = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON}, text/html;q=0.5"
TIMEOUT_S = 60.0
TRIES = 4
PAUSE_S = 1.0

T = TypeVar("T")


@dataclass(frozen=True)
class IndexedFile:
    """What the index states of a file: where it is, its SHA-256 in hexadecimal, its length if stated."""

    url: str
    sha256: str | None
    size_bytes: int | None


def index_url() -> str:
    """The simple index that pip would use here, by its variables, its configuration or its default."""
    from pip._internal.commands import create_command

    return str(create_command("download").parser.get_default_values().index_url).rstrip("/")


def files_of(index: str, package: str) -> dict[str, IndexedFile]:
    """All files of ``package``, by file name. Raises ``OSError`` where the index does not answer."""
    with opened(f"{index}/{package}/", ACCEPT) as response:
        text = response.read().decode()
        if response.headers.get_content_type() == JSON:
            return from_json(text, response.url)
        return from_html(text, response.url)


def from_json(text: str, base: str) -> dict[str, IndexedFile]:
    """Files on a page of the index in its JSON form (PEP 691), fetched from ``base``."""
    page: dict[str, Any] = json.loads(text)
    return {
        entry["filename"]: IndexedFile(
            urljoin(base, entry["url"]), entry.get("hashes", {}).get("sha256"), entry.get("size")
        )
        for entry in page["files"]
    }


def from_html(text: str, base: str) -> dict[str, IndexedFile]:
    """Files on a page of the index in its HTML form (PEP 503), fetched from ``base``."""
    links = _Links()
    links.feed(text)
    files = {}
    for link in links.found:
        url, fragment = urldefrag(urljoin(base, link))
        digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        files[url.rsplit("/", 1)[-1].replace("%2B", "+")] = IndexedFile(url, digest, None)
    return files


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


@contextmanager
def opened(url: str, accept: str = "*/*", method: str = "GET") -> Iterator[HTTPResponse]:
    """The answer to one request. Raises ``OSError`` where there is none."""
    with urlopen(Request(url, headers={"Accept": accept}, method=method), timeout=TIMEOUT_S) as response:
        yield response


def tried(action: Callable[[], T]) -> T:
    """What ``action`` returns, after up to four tries where the network fails. Raises ``OSError`` if it goes on."""
    for attempt in range(TRIES):
        try:
            return action()
        except HTTPError as error:
            # What the index refuses it will refuse again.
            if error.code < 500 or attempt == TRIES - 1:
                raise
        except (OSError, HTTPException) as error:
            if attempt == TRIES - 1:
                raise OSError(str(error)) from error
        time.sleep(PAUSE_S * 2**attempt)
    raise AssertionError("unreachable")
