"""The bench of packages without AVX: who died, of what, and what counts as tried. The emulator is not needed."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from bench.noavx import locked
from bench.noavx.emulator import REPORT, Death, Ended
from bench.noavx.inventory import kind_of
from bench.noavx.operations import OPERATIONS
from bench.noavx.processor import ERRATUM, G4400
from bench.noavx.report import Package, place
from bench.noavx.trial import Trial, read_steps

DEATH = Death("/venv/lib/python3.11/site-packages/vllm/_C_AVX2.abi3.so", 4096, "vxorps %ymm0,%ymm0,%ymm0 (c5fc57c0)")
# Their libraries are loaded, and no function of theirs answers without a card or a second machine.
LOADED_ALONE = {
    "nvidia-cuda-nvcc",
    "nvidia-cutlass-dsl-libs-base",
    "nvidia-cutlass-dsl-libs-cu12",
    "nvidia-nvshmem-cu13",
    "nvidia-nvtx",
    # Headers and nothing else, although the wheel is for one system.
    "nvidia-cuda-cccl",
    "nvidia-cuda-crt",
    # A program, which is started.
    "ninja",
}


def told(*steps: tuple[str, str, bool]) -> str:
    return "".join(json.dumps({"step": step, "error": error, "died": died}) + "\n" for step, error, died in steps)


def ended(output: str, code: int | None = 0, death: Death | None = None) -> Ended:
    return Ended(code, output, "last words", 1.0, death)


def package(here: Trial, emulated: Trial, erratum: Trial | None = None) -> Package:
    return Package("one", "1.0", 1, 0, here, emulated, erratum)


def test_the_step_that_was_begun_is_the_one_that_died() -> None:
    output = told(("load one.so", "", False), ("begin import one", "", False), ("import one", "", False))
    trial = read_steps(ended(output + told(("begin operation", "", False)), 132, DEATH))
    assert trial.passed == ["load one.so", "import one"]
    assert trial.dead == [("operation", DEATH)]
    assert not trial.failed


def test_a_library_that_dies_by_itself_does_not_end_the_trial() -> None:
    report = "SIGILL c5fc57c0000000000000000000000000 000000001000 /site-packages/a b.so"
    trial = read_steps(
        ended(told(("load one.so", report, True), ("begin import one", "", False), ("import one", "", False)))
    )
    [(step, death)] = trial.dead
    assert (step, death.library, death.offset) == ("load one.so", "/site-packages/a b.so", 4096)
    assert death.instruction.startswith("vxorps")
    assert trial.passed == ["import one"]


def test_another_end_is_no_illegal_instruction() -> None:
    output = told(("begin import one", "", False))
    for code, words in ((0, "exit code 0"), (1, "exit code 1"), (-11, "exit code -11"), (None, "took too long")):
        trial = read_steps(ended(output, code))
        assert not trial.dead
        [(step, error)] = trial.failed
        assert step == "import one"
        assert words in error


def test_a_guest_that_never_said_a_word_has_failed() -> None:
    assert read_steps(ended("", 2)).failed[0][0] == "start"


@pytest.mark.parametrize(
    ("here", "emulated", "verdict"),
    [
        (Trial(passed=["import a"]), Trial(passed=["import a", "operation"]), "passes"),
        (Trial(), Trial(passed=["load a.so"]), "loads"),
        (Trial(passed=["import a"]), Trial(dead=[("import a", DEATH)]), "dies"),
        (
            Trial(),
            Trial(passed=["import a", "operation"], dead=[("load a.so", DEATH)]),
            "dies only when loaded by hand",
        ),
        (Trial(), Trial(passed=["import a"], failed=[("operation", "wrong")]), "fails otherwise"),
        (Trial(failed=[("import a", "no card")]), Trial(failed=[("import a", "no card")]), "not tried"),
        (
            Trial(failed=[("import a", "no card")]),
            Trial(passed=["load a.so"], failed=[("import a", "no card")]),
            "loads",
        ),
    ],
)
def test_verdicts(here: Trial, emulated: Trial, verdict: str) -> None:
    assert package(here, emulated).verdict == verdict


def test_what_dies_with_the_erratum_alone_is_told_apart() -> None:
    erratum = Trial(dead=[("load a.so", DEATH), ("operation", DEATH)])
    one = package(Trial(), Trial(passed=["operation"], dead=[("load a.so", DEATH)]), erratum)
    assert [step for step, _ in one.with_erratum] == ["operation"]
    assert "erratum: operation: vllm/_C_AVX2.abi3.so" in one.line()


def test_a_result_that_was_stored_is_the_same_when_it_is_read() -> None:
    emulated = Trial(["import a"], [("load a.so", DEATH)], [("operation", "wrong")], 2.5)
    one = package(Trial(failed=[("run b", "no")]), emulated, Trial(dead=[("operation", DEATH)]))
    assert Package.from_dict(json.loads(json.dumps(one.as_dict()))) == one


def test_the_line_of_the_signal_handler() -> None:
    report = REPORT.search("noise\nSIGILL c4e2f3f5 00000000126d /tmp/a b.so\nqemu: uncaught target signal 4")
    assert report is not None
    assert report.groups() == ("c4e2f3f5", "00000000126d", "/tmp/a b.so")


def test_the_processor_lacks_what_a_g4400_lacks() -> None:
    flags = G4400.cpuinfo.split("flags\t\t: ")[1].split("\n")[0].split()
    for feature in ("avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "adx"):
        assert f",-{feature}," in f"{G4400.model},"
        assert feature not in flags
    assert {"sse4_2", "popcnt", "movbe", "aes"} <= set(flags)
    assert G4400.cpuinfo.count("processor\t:") == 2
    assert "-bmi" not in ERRATUM.model
    assert " bmi1 bmi2\n" in ERRATUM.cpuinfo


def elf(path: Path, kind: int, machine: int = 62, interpreter: bool = False) -> Path:
    header = bytearray(64)
    header[:4] = b"\x7fELF"
    struct.pack_into("<HH", header, 16, kind, machine)
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<HH", header, 54, 56, 2)
    segments = [struct.pack("<I52x", 1), struct.pack("<I52x", 3 if interpreter else 2)]
    path.write_bytes(bytes(header) + b"".join(segments))
    return path


def test_kinds_of_files(tmp_path: Path) -> None:
    assert kind_of(elf(tmp_path / "a.so", 3)) == "library"
    assert kind_of(elf(tmp_path / "a.so.1", 3, interpreter=True)) == "library"
    assert kind_of(elf(tmp_path / "ptxas", 3, interpreter=True)) == "program"
    assert kind_of(elf(tmp_path / "cicc", 2)) == "program"
    assert kind_of(elf(tmp_path / "a.o", 1)) is None
    assert kind_of(elf(tmp_path / "aarch64.so", 3, machine=183)) is None
    (tmp_path / "text.so").write_text("/* GNU ld script */" + " " * 64)
    assert kind_of(tmp_path / "text.so") is None
    assert kind_of(tmp_path / "absent.so") is None


def test_each_native_package_of_the_lock_has_an_operation() -> None:
    native = {one["name"] for one in locked.elsewhere({}) if one["native"]}
    assert native - set(OPERATIONS) == LOADED_ALONE & native
    assert native >= LOADED_ALONE


def test_another_build_of_a_locked_version_is_not_the_locked_one() -> None:
    versions = {locked.normalised(one["name"]): one["version"] for one in locked.packages()}
    assert locked.elsewhere(versions) == []
    versions["torch"] += "+cpu"
    [other] = locked.elsewhere(versions)
    assert (other["name"], other["native"]) == ("torch", True)


def test_places_of_libraries() -> None:
    assert place(DEATH.library) == "vllm/_C_AVX2.abi3.so"
    assert place("/usr/lib/libc.so.6") == "libc.so.6"
