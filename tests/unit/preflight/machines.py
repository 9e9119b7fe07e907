"""Machines from the recordings: laid out as a tree of files, a fake NVML, a checkpoint and a tool chain."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import sysconfig
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rigappliance import preflight
from rigappliance.config import RigConfig
from rigappliance.facts import clock, gpu, host, sharedmemory, swapareas
from rigappliance.facts.toolchain import Probe, ToolchainFacts
from tests.unit.facts.fake_nvml import FakeNvml, rig_card, structured

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings/machines"
GB = 1000**3
Tree = dict[str, Any]


def names() -> list[str]:
    return sorted(path.stem for path in RECORDINGS.glob("*.json"))


def read(name: str) -> Tree:
    """A machine with all that it leaves to its base: objects are merged, ``null`` takes a value away."""
    tree: Tree = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
    return merge(read(tree["base"]), tree) if "base" in tree else tree


def merge(base: Tree, over: Tree) -> Tree:
    merged = {**base}
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict) and key != "expected":
            merged[key] = merge(base[key], value)
        else:
            merged[key] = value
    return merged


class Bench:
    """One machine, laid out below ``place`` and put in the way of everything that asks for facts."""

    def __init__(self, name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tree = read(name)
        self.place = place
        self.root = place / "root"
        self.monkeypatch = monkeypatch
        self.listener: socket.socket | None = None
        self.lay_out_files()
        self.lay_out_engine()
        self.lay_out_checkpoint(self.tree.get("checkpoint", {}))
        self.put_cards(self.tree.get("cards"))
        self.put_values()
        self.config = self.make_config()
        self.put_toolchain(self.tree.get("toolchain"))

    def lay_out_files(self) -> None:
        for name, text in self.tree["files"].items():
            if text is None:
                continue
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text if isinstance(text, str) else "\n".join(text) + "\n", encoding="utf-8")
        for name in self.tree.get("directories", []):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def lay_out_engine(self) -> None:
        packages = self.place / "engine/lib/python3.12/site-packages"
        for name in self.tree["engine"]:
            (packages / f"{name}.dist-info").mkdir(parents=True)
        for name in ("python", "vllm"):
            self.program(f"engine/bin/{name}", f'exec {sys.executable} "$@"')

    def program(self, name: str, script: str) -> Path:
        file = self.place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        file.chmod(0o755)
        return file

    def lay_out_checkpoint(self, tree: Tree) -> None:
        """Shards that have their whole size and no content: holes, behind a header that is true."""
        directory = self.place / "model"
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps(tree["config"]), encoding="utf-8")
        (directory / "tokenizer.json").write_text(tree.get("tokenizer", '{"model": {}}'), encoding="utf-8")
        (directory / "tokenizer_config.json").write_text('{"chat_template": "x"}', encoding="utf-8")
        count, each = tree["shards"], tree["shard_bytes"]
        weight_map = {}
        for index in range(1, count + 1):
            name = f"model-{index:05d}-of-{count:05d}.safetensors"
            tensor = f"model.layers.{index}.mlp.down_proj.qweight"
            weight_map[tensor] = name
            entries = {}
            done = 0
            for named, shape in (tree.get("tensors", {}) if index == 1 else {}).items():
                size = 2 * prod(shape)
                entries[named] = {"dtype": "F16", "shape": shape, "data_offsets": [done, done + size]}
                weight_map[named] = name
                done += size
            entries[tensor] = {"dtype": "U8", "shape": [each - done], "data_offsets": [done, each]}
            header = json.dumps(entries).encode()
            with (directory / name).open("wb") as file:
                file.write(struct.pack("<Q", len(header)) + header)
                missing = tree.get("cut_bytes", 0) if index == count else 0
                file.truncate(8 + len(header) + each - missing)
        index_file = {"metadata": {"total_size": count * each}, "weight_map": weight_map}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index_file), encoding="utf-8")

    def put_cards(self, tree: Tree | None) -> None:
        gpu.polling_session.cache_clear()
        if tree is None:
            self.monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([], "LibraryNotFound"))
            return
        # Over the answers of a card of the rig's, unless it was recorded.
        usual = (lambda _: {}) if tree.get("recorded") else rig_card
        cards: list[Tree | None] = [
            {**usual(index), **structured(tree.get("all", {})), **structured(tree.get(str(index), {}))}
            for index in range(tree["count"])
        ]
        for index in tree.get("lost", []):
            cards[index] = None
        fake = FakeNvml(cards)
        fake.driver, fake.cuda = tree.get("driver", fake.driver), tree.get("cuda", fake.cuda)
        fake.peer_status = tree.get("peers", fake.peer_status)
        self.monkeypatch.setitem(sys.modules, "pynvml", fake)

    def put_values(self) -> None:
        """What no file of a tree can hold: free space, the time, the map of a swap file."""
        space = self.tree["space"]

        def space_of(path: Path) -> tuple[int, int] | tuple[None, None]:
            total, free = space.get(str(path.relative_to(self.root)), space["."])
            return total, free

        for module in (host, sharedmemory):
            self.monkeypatch.setattr(module, "space_of", space_of)
        self.monkeypatch.setattr(clock, "time", SimpleNamespace(time=lambda: float(self.tree["now"])))
        self.monkeypatch.setattr(swapareas, "count_extents", lambda _: self.tree.get("extents"))

    def make_config(self) -> RigConfig:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        if self.tree.get("port_taken"):
            self.listener = socket.create_server(("127.0.0.1", 0))
            port = self.listener.getsockname()[1]
        state = self.place / "state"
        state.mkdir()
        own: Tree = {
            "state_dir": str(state),
            "model": {"path": str(self.place / "model")},
            "engine": {"python": str(self.place / "engine/bin/python")},
            "server": {"port": port},
        }
        return RigConfig.model_validate(merge(self.tree.get("config", {}), own))

    def put_toolchain(self, defect: str | None) -> None:
        """Facts of a sound one, or a real one with one thing wrong in it, for which a compiler is needed here."""
        if defect is None:
            well = Probe("/usr/bin/gcc")
            sound = ToolchainFacts("/usr/include/python3.12", c=well, cxx=well, cuda_link=well)
            if self.config.engine.device == "cpu":
                sound = ToolchainFacts("/usr/include/python3.12", cxx=well)
            self.monkeypatch.setattr(preflight, "probe_toolchain", lambda *_: sound)
            return
        programs = self.place / "bin"
        programs.mkdir()
        for variable in ("CC", "CXX", "LIBRARY_PATH", "LD_LIBRARY_PATH", "TRITON_LIBCUDA_PATH", "CPATH"):
            self.monkeypatch.delenv(variable, raising=False)
        self.monkeypatch.setenv("PATH", str(programs))
        real = {name: shutil.which(name, path=os.defpath + ":/usr/local/bin") for name in ("gcc", "g++", "as", "ld")}
        assert all(real.values()), "these tests need a C and a C++ compiler"
        if defect == "no compiler":
            return
        for name, where in real.items():
            # Without libcuda, whatever this machine has; with it, a stub.
            refuse = 'case " $* " in *" -lcuda "*) echo "ld: cannot find -lcuda" >&2; exit 1;; esac; '
            self.program(f"bin/{name}", (refuse if defect == "no libcuda" else "") + f'exec {where} "$@"')
        if defect == "no headers":
            nothing = self.place / "include"
            self.program(
                "engine/bin/python",
                f'case "$*" in *get_path*) echo {nothing};; *) exec {sys.executable} "$@";; esac',
            )
        stub = self.place / "cuda"
        stub.mkdir()
        (stub / "stub.c").write_text("int cuInit(unsigned int flags) { return (int)flags; }\n", encoding="utf-8")
        command = [str(real["gcc"]), "-shared", "-fPIC", f"{stub}/stub.c", "-o", f"{stub}/libcuda.so"]
        subprocess.run(command, check=True)
        self.monkeypatch.setenv("LIBRARY_PATH", str(stub))
        assert Path(sysconfig.get_path("include"), "Python.h").exists(), "these tests need the headers of their Python"

    def findings(self) -> list[preflight.Finding]:
        facts = preflight.read_facts(self.config, thorough=True, root=self.root)
        return preflight.run_checks(self.config, facts)

    def close(self) -> None:
        if self.listener:
            self.listener.close()
        gpu.polling_session.cache_clear()
