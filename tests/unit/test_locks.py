"""Both Poetry locks are whole, current and for one target; and the rules that say so see each defect."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable

import pytest

from rigappliance import ENGINE_VERSION
from tools.locks import PROJECTS, ROOT
from tools.locks.lockfile import content_hash, parse, text_of
from tools.locks.rules import engine_findings, findings, torch_of_cpu_engine

SHA256 = "0" * 64
PROJECT = """
[tool.poetry]
name = "example"

[tool.poetry.dependencies]
python = ">=3.11"
Alpha_One = "^2.1"
beta = { version = ">=1,<3", optional = true }

[tool.poetry.extras]
dev = ["beta"]
"""
LOCK = f"""
[[package]]
name = "alpha-one"
version = "2.4.0"
description = ""
optional = false
python-versions = ">=3.9"
groups = ["main"]
files = [
    {{file = "alpha_one-2.4.0-cp312-cp312-manylinux_2_28_x86_64.whl", hash = "sha256:{SHA256}"}},
]

[package.dependencies]
gamma = ">=5,<6 || >=7"

[[package]]
name = "beta"
version = "1.0"
description = ""
optional = true
python-versions = "*"
groups = ["main"]
markers = "extra == \\"dev\\""
files = [
    {{file = "beta-1.0-cp39-abi3-manylinux2014_x86_64.whl", hash = "sha256:{SHA256}"}},
]

[[package]]
name = "gamma"
version = "7.1"
description = ""
optional = false
python-versions = ">= 3.8"
groups = ["main"]
files = [
    {{file = "gamma-7.1-py2.py3-none-any.whl", hash = "sha256:{SHA256}"}},
]

[extras]
dev = ["beta"]

[metadata]
lock-version = "2.1"
python-versions = ">=3.11"
content-hash = "{content_hash(tomllib.loads(PROJECT))}"
"""
# What Poetry 2.5.1 itself computed.
HASHED = """
[tool.poetry]
name = "one"
version = "1"
[tool.poetry.dependencies]
python = "~3.12"
beta = { version = "^1.2", optional = true }
[tool.poetry.extras]
more = ["beta"]
[tool.poetry.group.dev.dependencies]
gamma = "*"
"""
HASH_BY_POETRY = "3a6b5e588d66b49eaf44da802bab11bcc6e1e4e5f8c4ed21ca1c456cb099c4bc"


def texts(name: str) -> tuple[str, str]:
    """pyproject.toml and poetry.lock of a project of this repository."""
    pyproject, lock = (PROJECTS[name] / file for file in ("pyproject.toml", "poetry.lock"))
    return pyproject.read_text(encoding="utf-8"), lock.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROJECTS)
def test_a_committed_lock_keeps_all_rules(name: str) -> None:
    assert findings(*texts(name)) == []


@pytest.mark.parametrize("name", PROJECTS)
def test_a_committed_lock_is_as_the_tool_writes_it(name: str) -> None:
    text = texts(name)[1]
    comment = "\n".join(line[2:] for line in text.splitlines() if line.startswith("# "))
    assert text_of(parse(text), comment) == text


def test_the_engine_is_the_one_that_the_product_was_written_for() -> None:
    torch = torch_of_cpu_engine((ROOT / "engine/cpu/pyproject.toml").read_text(encoding="utf-8"))
    assert torch == "2.13.0"
    assert engine_findings(texts("engine")[1], ENGINE_VERSION, torch) == []


def test_another_engine_is_seen() -> None:
    lock = texts("engine")[1]
    assert engine_findings(lock, "0.33.0", "2.13.0") == ["vllm is 0.32.0, expected 0.33.0"]
    assert engine_findings(lock, ENGINE_VERSION, "2.14.0") == ["torch is 2.13.0, expected 2.14.0"]
    assert engine_findings(LOCK, ENGINE_VERSION, "2.13.0") == [
        f"vllm is missing, expected {ENGINE_VERSION}",
        "torch is missing, expected 2.13.0",
    ]


def test_the_engine_brings_the_cuda_libraries_that_torch_loads() -> None:
    # They come through extras of a package without content, which is how they get lost.
    locked = {package.name for package in parse(texts("engine")[1]).packages}
    assert {"nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-nccl-cu13", "nvidia-cuda-runtime", "triton"} <= locked


def test_an_example_without_defect_passes() -> None:
    assert findings(PROJECT, LOCK) == []


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


def without(package: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        less, count = re.subn(
            rf'\[\[package\]\]\nname = "{package}"\n.*?(?=\[\[package|\[extras)', "", text, flags=re.S
        )
        assert count == 1
        return less

    return change


def also(package: str, of: str = "gamma") -> Callable[[str], str]:
    def change(text: str) -> str:
        block = re.search(rf'\[\[package\]\]\nname = "{of}"\n.*?(?=\[\[package|\[extras)', text, re.S)
        assert block
        return text.replace("[extras]", block[0].replace(of, package) + "[extras]")

    return change


GAMMA = f'    {{file = "gamma-7.1-py2.py3-none-any.whl", hash = "sha256:{SHA256}"}},\n'


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (replaced(SHA256, SHA256[:-1]), f"has no SHA-256: sha256:{SHA256[:-1]}"),
        (replaced("sha256:", "md5:"), "has no SHA-256"),
        (replaced(GAMMA, GAMMA + GAMMA.replace("py2.py3", "py3")), "gamma has 2 files, expected one wheel"),
        (replaced(GAMMA, ""), "gamma has 0 files, expected one wheel"),
        (replaced("gamma-7.1-py2.py3-none-any.whl", "gamma-7.1.tar.gz"), "gamma-7.1.tar.gz is no wheel"),
        (replaced("gamma-7.1-py", "gamma-7.2-py"), "is not gamma 7.1"),
        (replaced("gamma-7.1-py", "gamut-7.1-py"), "is not gamma 7.1"),
        (replaced("cp312-cp312-m", "cp313-cp313-m"), "does not fit the target"),
        (replaced("cp312-cp312-m", "cp312-cp312t-m"), "does not fit the target"),
        (replaced("_2_28_x86_64", "_2_28_aarch64"), "does not fit the target"),
        (replaced("manylinux_2_28", "musllinux_1_2"), "does not fit the target"),
        (replaced("_2_28_x86_64", "_2_39_x86_64"), "does not fit the target"),
        (replaced('version = "2.4.0"', 'version = "3.0.0"'), "the project needs alpha-one ^2.1, locked is 3.0.0"),
        (replaced('version = "7.1"', 'version = "6.1"'), "alpha-one needs gamma >=5,<6 || >=7, locked is 6.1"),
        (replaced('">= 3.8"', '">=3.13"'), "gamma is for another Python: >=3.13"),
        (
            replaced('groups = ["main"]', 'groups = ["main"]\nmarkers = "sys_platform == \'win32\'"'),
            "alpha-one is for another environment: sys_platform == 'win32'",
        ),
        (replaced('">=5,<6 || >=7"', '{version = "*", markers = "extra == \'more\'"}'), "gamma is locked, but nothing"),
        (without("gamma"), "alpha-one needs gamma >=5,<6 || >=7, which is missing"),
        (without("beta"), "the project needs beta >=1,<3, which is missing"),
        (also("delta"), "delta is locked, but nothing needs it"),
        (also("gamma"), "gamma is there 2 times"),
        (replaced("[extras]", '[package.dependencies]\nalpha-one = "*"\n\n[extras]'), "need each other in a circle"),
        (replaced("[extras]", '[package.source]\ntype = "legacy"\n\n[extras]'), "names a source: [package.source]"),
        (replaced('description = ""', 'description = "see https://wheels.example"'), "names a source: description"),
        (replaced('description = ""', 'description = "from wheels.example.org"'), "names a source: description"),
        (replaced("[metadata]", "[metadata"), "cannot be read"),
        (replaced("content-hash", "digest"), "cannot be read: 'content-hash'"),
    ],
)
def test_a_defect_of_the_lock_is_seen(change: Callable[[str], str], expected: str) -> None:
    assert any(expected in finding for finding in findings(PROJECT, change(LOCK)))


def test_the_host_of_an_index_of_ones_own_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@wheels:8080/simple")
    lock = LOCK.replace('description = ""', 'description = "from wheels:8080"', 1)
    assert findings(PROJECT, lock) == ['line 5 names a source: description = "from wheels:8080"']


def test_an_edited_project_is_seen() -> None:
    edited = PROJECT.replace('"^2.1"', '"^2.2"')
    assert [finding.split(":")[0] for finding in findings(edited, LOCK)] == [
        "pyproject.toml was changed after it was locked"
    ]


def test_an_extra_less_is_seen() -> None:
    assert findings(PROJECT.replace('dev = ["beta"]', ""), LOCK) != []


def test_the_digest_of_a_project_is_poetrys() -> None:
    assert content_hash(tomllib.loads(HASHED)) == HASH_BY_POETRY


def test_the_digest_of_a_project_leaves_out_what_does_not_change_the_lock() -> None:
    assert content_hash(tomllib.loads(HASHED.replace('"one"', '"two"'))) == HASH_BY_POETRY
    assert content_hash(tomllib.loads(HASHED.replace('"*"', '"1"'))) != HASH_BY_POETRY
