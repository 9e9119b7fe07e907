"""The kernel's log: only what came since, in its own words."""

from __future__ import annotations

from pathlib import Path

from rigappliance.launch.kernellog import KEPT, KernelLog, messages

OOM = "Memory cgroup out of memory: Killed process 332 (python3) total-vm:80104kB"


def test_only_what_came_after_its_making(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.write_text("6,1,10,-;before\n")
    log = KernelLog(path)
    assert log.lines() == ()
    with path.open("a") as file:
        file.write(f"3,2,20,-;{OOM}\n SUBSYSTEM=memory\n")
    assert log.lines() == (OOM,)
    with path.open("a") as file:
        file.write("6,3,30,-;after\n")
    assert log.lines() == (OOM, "after"), "asked twice, told all"
    log.close()
    assert log.lines() == (OOM, "after")
    log.close()


def test_where_it_may_not_be_read_nothing_is_said(tmp_path: Path) -> None:
    log = KernelLog(tmp_path / "none")
    assert log.lines() == ()
    log.close()


def test_a_flood_keeps_the_end(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.write_text("")
    log = KernelLog(path)
    path.write_text("".join(f"6,{number},1,-;line {number}\n" for number in range(3000)))
    lines = log.lines()
    assert len(lines) == KEPT
    assert lines[-1] == "line 2999"
    log.close()


def test_records_are_taken_apart() -> None:
    assert messages("6,1,1,-;a;b\n KEY=x;y\nnonsense\n;none\n4,2,2,c;tab\\x09here\n") == ["a;b", "tab\there"]
