"""How a lock is made: constraints read as Poetry reads them, and one target cut out of Poetry's answer for all."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from rigappliance.errors import ConfigError
from tools.locks.constraints import satisfies
from tools.locks.lockfile import Lock, parse, text_of
from tools.locks.narrow import narrowed
from tools.locks.target import wheel_rank


@pytest.mark.parametrize(
    ("constraint", "inside", "outside"),
    [
        ("*", ["0", "7.1rc1"], []),
        ("^1.2", ["1.2", "1.99"], ["1.1.9", "2.0"]),
        ("^0.3.1", ["0.3.1", "0.3.9"], ["0.3.0", "0.4.0"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4"]),
        ("~3.12", ["3.12", "3.12.9"], ["3.11.9", "3.13"]),
        ("~1.2.3", ["1.2.3", "1.2.9"], ["1.2.2", "1.3"]),
        ("~=1.2", ["1.2", "1.9"], ["2.0", "1.1"]),
        ("0.32.0", ["0.32.0", "0.32"], ["0.32.1"]),
        ("==13.1.1.3.*", ["13.1.1.3", "13.1.1.3.7"], ["13.1.1.4", "13.10.0.20"]),
        ("1.*", ["1.0", "1.9"], ["2.0"]),
        (">=5.29.6,<6.30 || >=6.33.5.dev0", ["5.30", "6.33.5", "7"], ["5.29.5", "6.31"]),
        (">= 3.8, < 4", ["3.8", "3.14"], ["3.7", "4.0"]),
        (">=3.7 <4 !=3.9.7", ["3.7", "3.9.6"], ["3.9.7", "4"]),
    ],
)
def test_a_constraint_is_read_as_poetry_reads_it(constraint: str, inside: list[str], outside: list[str]) -> None:
    assert [version for version in inside if not satisfies(version, constraint)] == []
    assert [version for version in outside if satisfies(version, constraint)] == []


def test_the_wheel_made_for_this_python_is_the_best() -> None:
    best_first = [
        "a-1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "a-1-cp312-cp312-manylinux2014_x86_64.whl",
        "a-1-cp312-abi3-manylinux_2_17_x86_64.whl",
        "a-1-cp39-abi3-manylinux_2_31_x86_64.whl",
        "a-1-py3-none-manylinux1_x86_64.whl",
        "a-1-py3-none-any.whl",
    ]
    ranks = [wheel_rank(file) for file in best_first]
    assert ranks == sorted({rank for rank in ranks if rank is not None})


@pytest.mark.parametrize(
    "file",
    [
        "a-1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "a-1-cp314-cp314t-manylinux_2_17_x86_64.whl",
        "a-1-cp39-abi3-manylinux_2_39_riscv64.whl",
        "a-1-cp312-cp312-musllinux_1_2_x86_64.whl",
        "a-1-cp312-cp312-win_amd64.whl",
        "a-1-py2-none-any.whl",
        "a-1.tar.gz",
        "a-1.zip",
    ],
)
def test_a_file_for_elsewhere_is_no_candidate(file: str) -> None:
    assert wheel_rank(file) is None


def project(**dependencies: Any) -> dict[str, Any]:
    return {"tool": {"poetry": {"dependencies": {"python": ">=3.11", **dependencies}}}}


def entry(name: str, version: str = "1", needs: str = "", extras: str = "", marker: str = "", files: str = "") -> str:
    wheel = f'{{file = "{name}-{version}-py3-none-any.whl", hash = "sha256:1"}}'
    return (
        f'[[package]]\nname = "{name}"\nversion = "{version}"\noptional = false\npython-versions = "*"\n'
        f'groups = ["main"]\n{marker}\nfiles = [{files or wheel}]\n'
        f"[package.dependencies]\n{needs}\n[package.extras]\n{extras}\n"
        '[package.source]\ntype = "legacy"\nurl = "https://wheels.example"\nreference = "simple"\n'
    )


def lock(*entries: str) -> Lock:
    end = '[metadata]\nlock-version = "2.1"\npython-versions = "*"\ncontent-hash = "x"\n'
    return parse("\n".join([*entries, end]))


def needs(of: Lock) -> dict[str, dict[str, list[str]]]:
    return {
        package.name: {name: [edge.constraint for edge in edges] for name, edges in package.dependencies.items()}
        for package in of.packages
    }


def test_what_comes_through_an_extra_becomes_a_plain_need() -> None:
    made = narrowed(
        lock(
            entry("web", needs='server = {version = ">=2", extras = ["standard"]}'),
            entry(
                "server",
                "2",
                needs='loop = {version = "^0.15", optional = true, markers = "extra == \'standard\'"}\n'
                'other = {version = "*", optional = true, markers = "extra == \'other\'"}',
                extras='standard = ["loop (^0.15)"]\nother = ["other"]',
            ),
            entry("loop", "0.15.3"),
            entry("other"),
        ),
        project(web="*"),
    )
    assert needs(made) == {"loop": {}, "server": {"loop": ["^0.15"]}, "web": {"server": [">=2"]}}


def test_an_extra_that_stands_for_another_is_followed() -> None:
    made = narrowed(
        lock(
            entry(
                "Common_Lib",
                needs='cv = {version = ">=4", optional = true, markers = "extra == \'opencv\'"}',
                extras='image = ["common_lib[opencv]"]\nopencv = ["cv (>=4)"]',
                files='{file = "common_lib-1-py3-none-any.whl", hash = "sha256:1"}',
            ),
            entry("cv", "4.1"),
        ),
        project(**{"common-lib": {"version": "1", "extras": ["image"]}}),
    )
    assert needs(made) == {"common-lib": {"cv": [">=4"]}, "cv": {}}


def test_what_does_not_hold_on_the_target_is_left_out() -> None:
    made = narrowed(
        lock(
            entry(
                "tool",
                needs='colour = {version = "*", markers = "sys_platform == \'win32\'"}\n'
                'backport = {version = "*", python = "<3.12"}\n'
                'core = [{version = "*", markers = "sys_platform != \'darwin\'"},'
                ' {version = ">=2", markers = "sys_platform == \'darwin\'"}]',
            ),
            entry("colour", marker="markers = \"sys_platform == 'win32'\""),
            entry("backport"),
            entry("core", "1.5", marker="markers = \"sys_platform != 'darwin'\""),
            entry("core", "2.9", marker="markers = \"sys_platform == 'darwin'\""),
        ),
        project(tool="*"),
    )
    assert needs(made) == {"core": {}, "tool": {"core": ["*"]}}
    assert [package.version for package in made.packages] == ["1.5", "1"]
    assert [package.marker for package in made.packages] == ["", ""]


def test_of_two_versions_that_overlap_the_one_that_every_need_allows_is_taken() -> None:
    # Both orders: the solver sorts by version, which says nothing about the needs.
    for versions in (["13.1.1.3", "13.10.0.20"], ["13.10.0.20", "13.1.1.3"]):
        made = narrowed(
            lock(
                entry("kit", needs='blas = "==13.1.1.3.*"'),
                entry("dnn", needs='blas = "*"'),
                *(entry("blas", version) for version in versions),
            ),
            project(kit="*", dnn="*"),
        )
        assert [package.version for package in made.packages if package.name == "blas"] == ["13.1.1.3"]


def test_one_wheel_is_left_and_sources_go() -> None:
    files = ", ".join(
        f'{{file = "{file}", hash = "sha256:{number}"}}'
        for number, file in enumerate(
            [
                "a-1-cp314-cp314t-manylinux_2_17_x86_64.whl",
                "a-1-cp312-none-any.whl",
                "a-1-cp39-abi3-manylinux_2_31_x86_64.whl",
                "a-1.tar.gz",
            ]
        )
    )
    made = narrowed(lock(entry("a", files=files)), project(a="*"))
    assert [(file.file, file.hash) for file in made.packages[0].files] == [
        ("a-1-cp39-abi3-manylinux_2_31_x86_64.whl", "sha256:2")
    ]
    assert "wheels.example" not in text_of(made, "")


def test_what_only_an_extra_of_the_project_asks_for_keeps_its_marker() -> None:
    solved = lock(entry("a"), entry("b", marker="markers = \"extra == 'dev'\""))
    made = narrowed(replace(solved, extras={"dev": ("b",)}), project(a="*", b={"version": "*", "optional": True}))
    assert [package.marker for package in made.packages] == ["", "extra == 'dev'"]


def test_several_needs_for_one_package_become_one() -> None:
    made = narrowed(
        lock(
            entry("a", needs='b = [{version = ">=1,<2 || >=3"}, {version = "!=3.1"}]'),
            entry("b", "3.2"),
        ),
        project(a="*"),
    )
    assert needs(made)["a"] == {"b": ["!=3.1,>=1,<2 || !=3.1,>=3"]}


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([entry("a", needs='b = ">=2"'), entry("b", "1")], "no locked version of b fits: there is 1"),
        ([entry("a", needs='b = ">=2"')], "no locked version of b fits: there is none at all"),
        ([entry("a", files='{file = "a-1.tar.gz", hash = "sha256:1"}')], "a 1 has no wheel for the target"),
        ([entry("a", needs='b = "*"'), entry("b", needs='a = "*"')], "packages need each other in a circle"),
    ],
)
def test_what_cannot_be_served_is_said(entries: list[str], found: str) -> None:
    with pytest.raises(ConfigError, match=found) as caught:
        narrowed(lock(*entries), project(a="*"))
    assert caught.value.expected
    assert caught.value.remedy


def test_equal_locks_are_equal_bytes() -> None:
    entries = [entry("b"), entry("a", needs='c = "1"\nb = "1"'), entry("c")]
    one, other = (narrowed(lock(*order), project(a="*")) for order in (entries, entries[::-1]))
    assert text_of(one, "made") == text_of(other, "made")
    assert text_of(replace(one, packages=one.packages[::-1]), "made") == text_of(one, "made")
    assert '[package.dependencies]\nb = "1"\nc = "1"\n' in text_of(one, "made")
    assert text_of(one, "made").startswith("# made\n\n[[package]]\n")
    tomllib.loads(text_of(one, "made"))
