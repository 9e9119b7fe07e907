"""From what a failed `hf` printed to an error that says what to do.

`hf` ends with 1 whatever went wrong, so its last words decide.  What does not
mend itself gets an exit code that the weights unit does not retry; everything
else, a network above all, is worth another try.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

from rigappliance.errors import ConfigError, EngineMissingError, PreflightError, RequestFailedError, RigError

ERROR = re.compile(r"(Error|[A-Za-z_][\w.]*(Error|Exception|Timeout)): ")
NETWORK_REMEDY = "look at the network, and call again: every whole file is kept"


@dataclass(frozen=True)
class Wanted:
    """What the failed command was about, for its message."""

    repository: str
    revision: str
    directory: Path
    token_file: Path


def failure(returncode: int, stderr: str, wanted: Wanted) -> RigError:
    """The error for a command that ended with ``returncode``."""
    words = last_words(stderr)
    if returncode < 0 and not words:
        words = f"it was killed by {signal.Signals(-returncode).name}"
    name, revision = wanted.repository, wanted.revision
    if re.search(r"No space left on device|Disk quota exceeded", words):
        return PreflightError(
            f"the disk of {wanted.directory} is full: {words}",
            "room for the whole checkpoint",
            "free some space, and call again",
        )
    # The network too has errors of these names, but not of these types.
    if re.match(r"PermissionError: |OSError: .*Read-only file system", words):
        return PreflightError(
            f"hf may not write: {words}",
            "a checkpoint's directory that this user can write, with all files in it",
            "run as the user that owns it, or mend its owner and mode",
        )
    if re.search(r"ModuleNotFoundError|ImportError|No such command|No such option", words):
        return EngineMissingError(
            f"the engine's hf does not work: {words}",
            "the huggingface_hub that the engine was installed with",
            "install the engine's environment again",
        )
    if re.search(r"Revision .*not found", words):
        return ConfigError(
            f"{name} has no revision {revision}",
            "a branch, tag or commit of the repository",
            "correct model.revision",
        )
    token = (
        f"a token that may read it into {wanted.token_file} (mode 0600), or give the unit LoadCredential=hf-token:FILE"
    )
    if re.search(r"(Model|Repository) .*not found", words):
        return ConfigError(
            f"the model hub shows no repository {name}",
            "a repository, and a token where it is not public",
            f"correct model.repository, or put {token}",
        )
    if re.search(r"requires approval|\b403 Forbidden|\b401 |Invalid credentials", words):
        return PreflightError(
            f"the model hub does not hand out {name}: {words}",
            "a public repository, or a token that may read it",
            f"accept its terms on the hub and put {token}",
        )
    return RequestFailedError(
        f"the model hub could not be asked for {name}: {words or f'hf ended with {returncode} and no word'}",
        "answers until all is here",
        NETWORK_REMEDY,
    )


def last_words(stderr: str) -> str:
    """The error itself, on one line: after `hf`'s ``Error:``, or the end of a traceback."""
    lines = [line for line in stderr.splitlines() if not line.startswith(("Hint: ", "For more information"))]
    starts = [i for i, line in enumerate(lines) if ERROR.match(line)]
    text = " ".join(lines[starts[-1] :] if starts else lines[-1:])
    text = re.sub(r"^Error: (Local entry not found\. )?", "", text)
    # Addresses of files are signed behind the question mark.
    text = re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]*", r"\1", text)
    return plain(" ".join(text.split())).rstrip(".: ")


def plain(text: str) -> str:
    """Without what a terminal would act on: some of the text comes from a server."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
