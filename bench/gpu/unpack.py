"""Join the parts of a bundle and make an engine's Python of them beside the machine's own packages.

    python3 bench/gpu/unpack.py PARTS TARGET

TARGET/engine/bin/python then has the carried packages first and the machine's own (torch among them) after. Needs
nothing but Python itself, since nothing else is there yet.
"""

from __future__ import annotations

import compileall
import hashlib
import io
import json
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path


def joined(parts: Path) -> bytes:
    """All parts, each as the manifest has it; exits with the first that is not."""
    pieces = []
    for number, digest in enumerate(json.loads((parts / "manifest.json").read_text())["parts"]):
        path = parts / f"part{number}"
        data = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(data).hexdigest() != digest:
            sys.exit(f"{path}: found {len(data)} bytes that are not those of the manifest; carry it again")
        pieces.append(data)
    return b"".join(pieces)


def main() -> int:
    parts, target = Path(sys.argv[1]), Path(sys.argv[2])
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target / "engine")], check=True)
    own = subprocess.run(
        [str(target / "engine/bin/python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    # Beside the interpreter, where the product looks for the engine's distribution.
    with tarfile.open(fileobj=io.BytesIO(joined(parts)), mode="r:xz") as archive:
        archive.extractall(own, filter="data")
    (Path(own) / "machine.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    # Not during the first start, whose seconds are measured.
    compileall.compile_dir(own, quiet=2, workers=0)
    print(target / "engine/bin/python")
    return 0


if __name__ == "__main__":
    sys.exit(main())
