"""When a fork would not be sound."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rigappliance.enginestart import sound


def test_nothing_speaks_against_a_quiet_process() -> None:
    script = "from rigappliance.enginestart import sound; print([*sound.before_fork(), *sound.after_fork()])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_running_thread_is_named() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait, name="pump")
    thread.start()
    try:
        assert any("pump" in reason for reason in sound.before_fork())
        # Another test's library may have threads of its own.
        assert any("outlive a fork" in reason for reason in sound.after_fork())
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["python"], []),
        (["python", "cuda00001800007"], []),
        (["python", "jemalloc_bg_thd", "cuda00001800007"], []),
        (["python", "cuda-EvtHandlr"], ["cuda-EvtHandlr, python"]),
        (["python", "python", "cuda00001800007"], ["python, python"]),
    ],
)
def test_of_the_threads_that_stay_nvmls_and_jemallocs_are_harmless(
    tmp_path: Path, names: list[str], told: list[str]
) -> None:
    for number, name in enumerate(names):
        task = tmp_path / "task" / str(number)
        task.mkdir(parents=True)
        (task / "comm").write_text(name + "\n")
    said = "1 threads of libraries outlive a fork, names of all: "
    assert list(sound.after_fork(tmp_path)) == [said + each for each in told]


class Driver:
    def __init__(self, status: int) -> None:
        self.status = status

    def cuDeviceGetCount(self, _: object) -> int:  # noqa: N802 the driver's name for it
        return self.status


@pytest.mark.parametrize(("status", "initialised"), [(3, False), (0, True), (100, True)])
def test_the_driver_says_whether_it_was_initialised(
    monkeypatch: pytest.MonkeyPatch, status: int, initialised: bool
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda path: Driver(status))
    monkeypatch.setattr(sound, "mapped", lambda name: "/lib/libcuda.so.1")
    assert ("CUDA is initialised" in list(sound.before_fork())) is initialised


def test_a_library_that_is_no_driver_is_not_trusted() -> None:
    assert sound.cuda_is_initialised("libc.so.6")


class Nvml:
    """Opened as often as ``opened`` says; NVML answers 1, not initialised, when it is not open."""

    def __init__(self, opened: int) -> None:
        self.opened = opened

    def nvmlShutdown(self) -> int:  # noqa: N802 the library's name for it
        self.opened -= 1
        return 0 if self.opened >= 0 else 1


def test_nvml_is_closed_as_often_as_it_was_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml(3)
    monkeypatch.setattr(ctypes, "CDLL", lambda path: nvml if path == "/lib/libnvidia-ml.so.1" else None)
    monkeypatch.setattr(sound, "mapped", lambda name: "/lib/libnvidia-ml.so.1" if "ml" in name else None)
    sound.close_nvml()
    assert nvml.opened == -1


def test_no_nvml_is_nothing_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", None)
    sound.close_nvml()


def test_an_open_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "open_files", lambda: iter(["/dev/null", "/dev/nvidia0", "/dev/nvidiactl"]))
    assert "devices are open: /dev/nvidia0, /dev/nvidiactl" in list(sound.before_fork())


def test_a_mapped_library_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "maps").write_text(
        "7f00-7f01 r-xp 00000000 08:01 12 /opt/libcuda.so/other.so\n"
        "7f01-7f02 r-xp 00000000 08:01 13 /usr/lib/libcuda.so.595.10\n"
        "7f02-7f03 rw-p 00000000 00:00 0\n"
    )
    assert sound.mapped("libcuda.so", tmp_path) == "/usr/lib/libcuda.so.595.10"
    assert sound.mapped("libnvidia-ml.so", tmp_path) is None
