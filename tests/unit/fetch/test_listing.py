"""What `hf models` prints, and what must not be believed of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rigappliance.errors import RequestFailedError
from rigappliance.fetch.listing import HubFile, parse_commit, parse_listing

BLOB, SHA256 = "ab" * 20, "cd" * 32
# As hf 2.4.0 printed it.
LISTING = f"""[
  {{"path": "extra", "tree_id": "{BLOB}"}},
  {{"path": "config.json", "size": 428, "blob_id": "{BLOB}"}},
  {{
    "path": "extra/model-00001-of-00003.safetensors",
    "size": 669848,
    "blob_id": "{BLOB}",
    "lfs": {{"size": 669848, "sha256": "{SHA256}", "pointer_size": 131}}
  }}
]"""


def test_files_have_the_checksum_of_their_kind_and_directories_are_no_files() -> None:
    assert parse_listing(LISTING) == (
        HubFile("config.json", 428, "git-sha1", BLOB),
        HubFile("extra/model-00001-of-00003.safetensors", 669848, "sha256", SHA256),
    )
    assert parse_listing("") == ()


def test_the_commit() -> None:
    assert parse_commit(f'{{"id": "rig/tiny", "sha": "{BLOB}"}}\n') == BLOB


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"sha": null}', '{"sha": "main"}', "<html>", "[" * 100_000])
def test_no_commit_is_an_answer_that_makes_no_sense(text: str) -> None:
    with pytest.raises(RequestFailedError, match="the model hub's answer makes no sense"):
        parse_commit(text)


@pytest.mark.parametrize(
    "entry",
    [
        "config.json",
        {"path": "config.json"},
        {"path": "config.json", "size": "428", "blob_id": BLOB},
        {"path": "config.json", "size": -1, "blob_id": BLOB},
        {"path": "config.json", "size": 428, "blob_id": BLOB[1:]},
        {"path": "config.json", "size": 428, "blob_id": SHA256},
        {"path": "m.safetensors", "size": 1, "blob_id": BLOB, "lfs": {"size": 1, "sha256": BLOB}},
        *(
            {"path": path, "size": 1, "blob_id": BLOB}
            for path in (
                "",
                ".",
                "..",
                "../x",
                "a/../../x",
                "/etc/passwd",
                "a//b",
                "a/./b",
                "a\nb",
                "\x1b[2J",
                ".cache/huggingface/trees/x.json",
                ".rigappliance-verified.json",
                ".rigappliance-fetch.lock",
            )
        ),
    ],
)
def test_what_would_lead_astray_is_refused(entry: Any) -> None:
    with pytest.raises(RequestFailedError, match="the model hub's answer makes no sense"):
        parse_listing(json.dumps([entry]))


@pytest.mark.parametrize("path", ["a b", "ä", "..a", "a/.cache/huggingface/x", "-x", "[x]*"])
def test_odd_names_are_names(path: str) -> None:
    assert parse_listing(json.dumps([{"path": path, "size": 0, "blob_id": BLOB}]))[0].path == path
