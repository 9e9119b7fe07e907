"""From the last words of hf 2.4.0, recorded, to exit codes and remedies."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from rigappliance.errors import ExitCode
from rigappliance.fetch.failures import Wanted, failure, last_words
from tests.unit.place import ROOT

WANTED = Wanted("rig/tiny", "v9", Path("/models/tiny"), Path("/home/rig/token"))
HINT = "Hint: set HF_DEBUG=1 as environment variable for full traceback.\n"
MORE = "For more information check: https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/401\n"
CONNECT = """\
Traceback (most recent call last):
  File "/opt/engine/lib/python3.11/site-packages/httpx2/_transports/default.py", line 101, in map_httpcore_exceptions
    yield
httpcore2.ConnectError: [Errno 13] Permission denied

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/opt/engine/lib/python3.11/site-packages/httpx2/_transports/default.py", line 112, in map_httpcore_exceptions
    raise mapped_exc(message) from exc
httpx2.ConnectError: [Errno 13] Permission denied
"""
OFFLINE = """\
'[Errno 111] Connection refused' thrown while requesting GET http://127.0.0.1:9/api/models/rig/tiny/tree/c0ff
Retrying in 8s [Retry 5/5].
'[Errno 111] Connection refused' thrown while requesting GET http://127.0.0.1:9/api/models/rig/tiny/tree/c0ff
Error: Local entry not found. [Errno 111] Connection refused
"""
CONSISTENCY = """\
Traceback (most recent call last):
  File "/opt/engine/lib/python3.11/site-packages/huggingface_hub/file_download.py", line 482, in http_get
    raise OSError(
OSError: Consistency check failed: file should be of size 9 but has size 7 (model.safetensors).
This is usually due to network issues while downloading the file. Please retry with `force_download=True`.
"""
FORBIDDEN = "Error: Local entry not found. 403 Forbidden: None.\nCannot access content at: http://127.0.0.1:1/x.\n"


@pytest.mark.parametrize(
    ("stderr", "code", "found", "remedy"),
    [
        ("Error: Model 'rig/tiny' not found.\n", ExitCode.CONFIG, "shows no repository rig/tiny", "/home/rig/token"),
        ("Error: Revision 'v9' not found on 'rig/tiny'.\n", ExitCode.CONFIG, "has no revision v9", "model.revision"),
        ("Error: Revision not found in model 'rig/tiny'.\n", ExitCode.CONFIG, "has no revision v9", "model.revision"),
        ("Error: Access denied. Model 'rig/tiny' requires approval.\n", ExitCode.PREFLIGHT, "hand out", "accept"),
        (FORBIDDEN, ExitCode.PREFLIGHT, "403 Forbidden", "LoadCredential=hf-token:FILE"),
        (
            f"Error: Client error '401 Unauthorized' for url 'http://h/x?expand=sha'\n{MORE}",
            ExitCode.PREFLIGHT,
            "",
            "token",
        ),
        ("run\nOSError: [Errno 28] No space left on device\n", ExitCode.PREFLIGHT, "is full", "free some space"),
        ("Lock\nOSError: [Errno 30] Read-only file system: '/m/x.lock'\n", ExitCode.PREFLIGHT, "/m/x.lock", "owner"),
        ("PermissionError: [Errno 13] Permission denied: '/m'\n", ExitCode.PREFLIGHT, "may not write", "owner"),
        ("ModuleNotFoundError: No module named 'httpx2'\n", ExitCode.ENGINE_MISSING, "httpx2", "install"),
        (CONNECT, ExitCode.REQUEST_FAILED, "Permission denied", "network"),
        (OFFLINE, ExitCode.REQUEST_FAILED, "rig/tiny: [Errno 111] Connection refused", "network"),
        (CONSISTENCY, ExitCode.REQUEST_FAILED, "has size 7 (model.safetensors). This is", "network"),
        (
            "Error: Server error '503 Service Unavailable' for url 'http://h'\n",
            ExitCode.REQUEST_FAILED,
            "503",
            "network",
        ),
        ("Error: 429 Too Many Requests for url: http://h/x?expand=sha.\n", ExitCode.REQUEST_FAILED, "429", "network"),
        ("Error: Client error '404 Not Found' for url 'http://h/x'\n", ExitCode.REQUEST_FAILED, "404", "network"),
        ("", ExitCode.REQUEST_FAILED, "hf ended with 1 and no word", "network"),
    ],
)
def test_each_failure_has_its_code_and_remedy(stderr: str, code: ExitCode, found: str, remedy: str) -> None:
    error = failure(1, stderr + HINT if "Error: " in stderr else stderr, WANTED)
    assert error.exit_code == code
    assert found in error.found
    assert remedy in error.remedy
    for clause in (error.found, error.expected, error.remedy):
        assert clause
        assert "\n" not in clause
        assert not clause.endswith(".")
        assert "?expand" not in clause
        assert "HF_DEBUG" not in clause


def test_a_kill_is_named() -> None:
    error = failure(-9, "", WANTED)
    assert (error.exit_code, error.found) == (
        ExitCode.REQUEST_FAILED,
        "the model hub could not be asked for rig/tiny: it was killed by SIGKILL",
    )


def test_a_server_writes_nothing_on_a_terminal() -> None:
    assert last_words("Error: \x1b[2Jgone\r\x9b\n") == "?[2Jgone ?"


def test_the_unit_tries_again_what_may_mend_itself_and_nothing_else() -> None:
    table = tomllib.loads((ROOT / "rigappliance/render/units/weights.toml").read_text())
    kept = next(entry["value"] for entry in table["Service"] if entry["key"] == "RestartPreventExitStatus")
    final = {int(code) for code in kept.split()}
    assert final.isdisjoint({ExitCode.REQUEST_FAILED, ExitCode.BUSY, ExitCode.INTERRUPTED})
    assert final >= {ExitCode.CONFIG, ExitCode.PREFLIGHT, ExitCode.ENGINE_MISSING}
