"""What is there already is used as it is, and said."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from rigappliance.config import RigConfig
from rigappliance.errors import BusyError, ConfigError, ExitCode, PreflightError
from rigappliance.swapfile import Machine, Output, declared_swap, programs
from rigappliance.swapfile.declared import PAGE_BYTES
from tests.unit.swapfile.host import MIB, Host, fingerprint, untouched


@pytest.fixture
def made(host: Host) -> Host:
    """A host that has its swap file, after a boot."""
    host.on()
    host.reboot()
    return host


def test_a_good_file_is_enabled_and_nothing_else(made: Host) -> None:
    with untouched(made.file):
        done = made.on()
    assert done == f"{made.file}: 8.0 MiB of swap active, priority 10"
    assert made.lines == []
    assert made.programs() == ["swapon -p 10 rig.swap"]


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o400, 0o4755])
def test_its_mode_is_corrected(made: Host, mode: int) -> None:
    made.file.chmod(mode)
    with untouched(made.file):
        made.on()
    assert made.file.stat().st_mode & 0o7777 == 0o600
    assert made.lines == [f"{made.file} had mode {mode:04o}; it has 0600 now, since it holds memory of every process"]


@pytest.mark.parametrize("declared", [4 * MIB, 16 * MIB])
def test_another_size_is_used_with_one_warning(made: Host, declared: int) -> None:
    with untouched(made.file):
        done = made.on(declared)
    assert "8.0 MiB of swap active" in done
    assert made.lines == [
        f"warning: {made.file} is 8MiB and memory.swap is {declared // MIB}MiB: used as it is; to change it, "
        "stop the engine, `rigappliance swap off --delete`, `rigappliance swap on`"
    ]


def test_one_that_is_active_is_left_alone(made: Host) -> None:
    made.on()
    made.log.write_text("")
    with untouched(made.file):
        done = made.on()
    assert done == f"{made.file} is active already: 8.0 MiB of swap"
    assert (made.lines, made.programs()) == ([], [])


def test_active_with_another_size_and_priority_is_said(made: Host) -> None:
    made.on(priority=3)
    made.log.write_text("")
    with untouched(made.file):
        made.on(16 * MIB)
    assert [line.split(" to change it")[0] for line in made.lines] == [
        f"warning: {made.file} is 8MiB and memory.swap is 16MiB: used as it is;",
        f"warning: {made.file} is active with priority 3, and memory.swap_priority is 10: "
        "`rigappliance swap off` and `rigappliance swap on` change it",
    ]
    assert made.programs() == []


def test_one_that_is_active_is_found_through_links(made: Host) -> None:
    made.on()
    made.log.write_text("")
    (made.root / "link").symlink_to(made.directory)
    made.file = made.root / "link/rig.swap"
    assert "is active already" in made.on()
    assert made.programs() == []


def test_one_that_a_service_enabled_in_its_own_mount_namespace(made: Host) -> None:
    """The kernel then names it from that mount on, for ever."""
    made.swaps.write_text(f"Filename Type Size Used Priority\n/rig.swap file {8192 - PAGE_BYTES // 1024} 0 10\n")
    assert "is active already" in made.on()
    assert made.programs() == []


@pytest.mark.parametrize(
    "line",
    [
        f"/rig.swap file {4096 - PAGE_BYTES // 1024} 0 10",
        f"/elsewhere/rig.swap file {8192 - PAGE_BYTES // 1024} 0 10",
        f"/rig.swap partition {8192 - PAGE_BYTES // 1024} 0 10",
    ],
)
def test_other_areas_are_not_taken_for_it(made: Host, line: str) -> None:
    made.swaps.write_text(f"Filename Type Size Used Priority\n{line}\n")
    made.on()
    assert made.programs() == ["swapon -p 10 rig.swap"]


def test_an_active_one_that_the_kernel_lists_under_no_name_is_no_failure(made: Host) -> None:
    made.install("swapon", '#!/bin/sh\necho "swapon: $3: swapon failed: Device or resource busy" >&2; exit 255\n')
    assert made.on() == f"{made.file} was active already"


def test_swapon_is_quoted(made: Host) -> None:
    made.install("swapon", '#!/bin/sh\necho "swapon: $3: swapon failed: Invalid argument" >&2; exit 255\n')
    with untouched(made.file), pytest.raises(PreflightError) as caught:
        made.on()
    assert caught.value.found == f"swapon: {made.file}: swapon failed: Invalid argument"
    assert "dmesg" in caught.value.remedy


def test_programs_speak_english_and_do_not_answer_systemd(made: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    made.install("swapon", '#!/bin/sh\necho "$LC_ALL${{NOTIFY_SOCKET-, no socket}}"; exit 1\n')
    with pytest.raises(PreflightError, match=r"^C, no socket"):
        made.on()


def test_a_program_that_fails_in_silence_is_named(made: Host) -> None:
    made.install("swapon", "#!/bin/sh\nexit 3\n")
    with pytest.raises(PreflightError, match=r"^swapon ended with status 3"):
        made.on()


@pytest.mark.parametrize("missing", ["mkswap", "swapon"])
def test_missing_programs_are_named_before_anything_is_written(
    host: Host, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(programs, "FURTHER_DIRECTORIES", ())
    only = host.root / "only"
    only.mkdir()
    for name in {"mkswap", "swapon"} - {missing}:
        (only / name).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(only))
    with pytest.raises(PreflightError, match=f"no program '{missing}'") as caught:
        host.on()
    assert caught.value.remedy == "install util-linux"
    assert list(host.directory.iterdir()) == []


def test_programs_are_found_beside_a_path_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert Path(programs.find_program("mkswap")).name == "mkswap"


# --- whether at all --------------------------------------------------------


def test_nothing_declared_is_nothing_done(host: Host) -> None:
    assert host.on(0) == "memory.swap is 0B: no swap file is declared, and nothing was done"
    assert list(host.directory.iterdir()) == []
    assert host.programs() == []


@pytest.mark.parametrize("work", ["on", "off"])
def test_only_root(host: Host, work: str) -> None:
    host.machine = Machine(host.root, os.geteuid() + 1)
    with pytest.raises(PreflightError, match=f"^this runs as user {os.geteuid()}\n") as caught:
        getattr(host, work)()
    assert caught.value.exit_code is ExitCode.PREFLIGHT
    assert list(host.directory.iterdir()) == []


@pytest.mark.parametrize("work", ["on", "off"])
def test_two_at_once(host: Host, work: str) -> None:
    fd = os.open(host.directory, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(BusyError, match=f"another `rigappliance swap` works on {host.file}") as caught:
        getattr(host, work)()
    assert caught.value.exit_code == 9
    assert list(host.directory.iterdir()) == []
    os.close(fd)
    getattr(host, work)()


def test_the_lock_is_free_after_a_refusal(host: Host) -> None:
    host.file.write_text("data")
    for _ in range(2):
        with pytest.raises(PreflightError, match="no swap area"):
            host.on()


def test_a_directory_that_is_missing_is_named(host: Host) -> None:
    host.directory.rmdir()
    with pytest.raises(PreflightError, match=f"^{host.directory}: No such file or directory"):
        host.on()


def test_a_directory_that_others_write_to_is_refused(host: Host) -> None:
    host.directory.chmod(0o777)
    with pytest.raises(PreflightError, match="others than root could replace"):
        host.on()
    assert list(host.directory.iterdir()) == []


def test_a_name_that_is_too_long_is_told(host: Host) -> None:
    host.file = host.directory / ("x" * 250)
    with pytest.raises(PreflightError, match="File name too long"):
        host.on()


# --- what is declared ------------------------------------------------------


def config(**memory: object) -> RigConfig:
    return RigConfig.model_validate({"memory": memory})


def test_the_rigs_own() -> None:
    declared = declared_swap(RigConfig())
    assert (str(declared.file), declared.size_bytes, declared.priority) == ("/var/lib/rigappliance.swap", 2**37, 10)


def test_a_size_is_cut_to_whole_pages() -> None:
    assert declared_swap(config(swap="2000001B")).size_bytes == 2000001 // PAGE_BYTES * PAGE_BYTES


@pytest.mark.parametrize("size", ["1B", "1000kB", "100TiB"])
def test_sizes_that_no_swap_file_has(size: str) -> None:
    with pytest.raises(ConfigError, match=r"^memory\.swap is"):
        declared_swap(config(swap=size))


@pytest.mark.parametrize("name", ["/", "/var/lib/.."])
def test_names_that_no_file_has(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^memory\.swap_file is"):
        declared_swap(config(swap_file=name))


def test_a_file_beside_is_no_business_of_ours(made: Host) -> None:
    other = made.directory / "rig.swap.old"
    other.write_text("data")
    before = fingerprint(other)
    made.on()
    made.off(delete=True)
    assert fingerprint(other) == before


def test_output_marks_warnings() -> None:
    lines: list[str] = []
    Output(lines.append, lines.append).warn("it is late")
    assert lines == ["warning: it is late"]
