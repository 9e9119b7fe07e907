"""The two checksums, against those of git and coreutils."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from rigappliance.fetch import digest
from rigappliance.fetch.digest import digest_of


@pytest.mark.parametrize("size_bytes", [0, 1, 4096, 10_001])
def test_as_others_compute_them(tmp_path: Path, size_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "BLOCK_BYTES", 4096)
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size_bytes))
    for algorithm, command in (("sha256", ["sha256sum", str(path)]), ("git-sha1", ["git", "hash-object", str(path)])):
        blocks: list[int] = []
        found, status = digest_of(path, "sha256" if algorithm == "sha256" else "git-sha1", blocks.append)
        assert found == subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
        assert sum(blocks) == status.st_size == size_bytes
        assert len(blocks) == -(-size_bytes // 4096)
