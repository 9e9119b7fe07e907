"""The probe is compiled, linked and loaded for real, or says why not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rigappliance.facts.toolchain import find, first_error, python_include, read_toolchain

PYTHON = Path(sys.executable)
BARE = {"PATH": os.defpath + ":/usr/local/bin"}


def program(place: Path, script: str) -> str:
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)
    return str(place)


def test_the_variable_goes_before_the_path_and_may_have_options(tmp_path: Path) -> None:
    program(tmp_path / "gcc", "")
    program(tmp_path / "clang", "")
    path = {"PATH": str(tmp_path)}
    assert find({**path, "CC": "clang -O1"}, "CC", "gcc") == f"{tmp_path}/clang"
    assert find({**path, "CC": "/no/cc"}, "CC", "gcc") == "/no/cc"
    assert find(path, "CC", "gcc", "clang") == f"{tmp_path}/gcc"
    assert find({"PATH": "/nowhere"}, "CC", "gcc") is None


def test_a_compiler_that_makes_nothing_is_found_out_when_the_module_is_loaded(tmp_path: Path) -> None:
    compiler = program(tmp_path / "gcc", "exit 0")
    facts = read_toolchain(PYTHON, {**BARE, "CC": compiler, "CXX": compiler}, cuda=True)
    assert facts.c
    assert facts.c.problem
    assert "rigprobe" in facts.c.problem
    assert facts.cxx
    assert facts.cxx.problem


def test_a_compiler_that_cannot_be_run_says_so(tmp_path: Path) -> None:
    facts = read_toolchain(PYTHON, {**BARE, "CXX": str(tmp_path / "gone")}, cuda=False)
    assert facts.cxx
    assert facts.cxx.problem == f"{tmp_path}/gone: No such file or directory"
    assert facts.c is None
    assert facts.cuda_link is None


def test_an_interpreter_that_says_nothing_leaves_nothing_to_try(tmp_path: Path) -> None:
    python = Path(program(tmp_path / "python", "exit 0"))
    facts = read_toolchain(python, {**BARE, "CXX": "/bin/true"}, cuda=False)
    assert facts.cxx
    assert (facts.cxx.tried, facts.include) == (False, None)
    assert python_include(tmp_path / "gone", BARE)[1] == f"{tmp_path}/gone: No such file or directory"


def test_libnuma_is_loaded_by_the_engines_interpreter(tmp_path: Path) -> None:
    assert read_toolchain(Path(program(tmp_path / "python", "exit 0")), BARE, cuda=False).numa is None
    for answer, expected in (("loaded", True), ("missing", False)):
        python = Path(program(tmp_path / "python", f"echo {answer}"))
        assert read_toolchain(python, BARE, cuda=False).numa is expected
    # What is asked is right as well: this interpreter answers one of the two.
    assert read_toolchain(PYTHON, BARE, cuda=False).numa in (True, False)


def test_a_libcuda_that_lacks_the_functions_is_no_libcuda(tmp_path: Path) -> None:
    gcc = shutil.which("gcc", path=BARE["PATH"])
    assert gcc, "this test needs a C compiler"
    for name, source in (("good", "int cuInit(unsigned int f) { return f; }"), ("bad", "int other;")):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.c").write_text(source + "\n")
        command = [gcc, "-shared", "-fPIC", f"{tmp_path}/{name}.c", "-o", f"{tmp_path}/{name}/libcuda.so"]
        subprocess.run(command, check=True)
    for name, well in (("good", True), ("bad", False)):
        environment = {**BARE, "TRITON_LIBCUDA_PATH": str(tmp_path / name)}
        probe = read_toolchain(PYTHON, environment, cuda=True).cuda_link
        assert probe
        assert (probe.problem is None) is well, probe


def test_nothing_is_left_in_the_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    read_toolchain(PYTHON, BARE, cuda=True)
    assert list(tmp_path.iterdir()) == []


def test_the_probe_lies_where_the_engine_will_load_its_own(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    compiler = program(tmp_path / "g++", f'echo "$1" >> {seen}; exit 1')
    (tmp_path / "state").mkdir()
    read_toolchain(PYTHON, {**BARE, "CXX": compiler}, cuda=False, place=tmp_path / "state")
    facts = read_toolchain(PYTHON, {**BARE, "CXX": compiler}, cuda=True, place=tmp_path / "gone")
    assert facts.cxx
    assert not facts.cxx.tried
    assert seen.read_text().startswith(f"{tmp_path}/state/")
    assert list((tmp_path / "state").iterdir()) == []


def test_of_many_lines_the_one_that_says_why() -> None:
    text = "In file included from a.c:1:\na.c:2:3: warning: odd\na.c:4:5: fatal error: Python.h: No such file\nended.\n"
    assert first_error(text) == "a.c:4:5: fatal error: Python.h: No such file"
    assert first_error("only this\n") == "only this"
    assert first_error("") == ""
