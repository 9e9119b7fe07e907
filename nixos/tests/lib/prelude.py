# What the fault scripts share. Both backends put this file in front of each script; it knows nothing but `machine`.

import json
import re
import shlex
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

UNIT = "rigappliance.service"
CONFIG = "/etc/rigappliance/rig.json"
STATE = "/var/lib/rigappliance"
CHECKPOINT = "/var/lib/rigappliance/models/tiny"
PRISTINE = "/srv/checkpoint"
TOLD = "/etc/rigappliance-standin.json"
URL = "http://127.0.0.1:8000"

# A failed unit waits for its restart until the script has looked at it, and no start is refused for its number.
PATIENT = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=29min\n"

# What the script does to the machine is dated here, by the machine's own clock.
DATED = "/run/fault-began"

kept: dict[str, Any] = {}
wrong: list[str] = []


@contextmanager
def case(about: str) -> Iterator[None]:
    """What goes wrong within does not keep the script from its other cases; ``done`` tells."""
    print(f"CASE {about}")
    try:
        yield
    except Exception:
        wrong.append(f"{about}: {traceback.format_exc()}\n{journal()[-3000:]}")
        print(wrong[-1])
        clear()


def done() -> None:
    """The end of a script with cases."""
    clear()
    left = leftovers()
    assert not left, left
    assert not wrong, "\n".join(wrong)


def show(name: str, unit: str = UNIT) -> str:
    return machine.succeed(f"systemctl show --property={name} --value {unit}").strip()


def journal(unit: str = UNIT) -> str:
    """Of the present boot."""
    return machine.succeed(f"journalctl --boot --no-pager --output=cat --unit={unit}")


def tell(**keys: Any) -> None:
    """What the stand-in engine does, at its next start or at once."""
    # Renamed, so that it is never read half written.
    machine.succeed(f"printf %s {shlex.quote(json.dumps(keys))} >{TOLD}.new; mv {TOLD}.new {TOLD}")


def adjust(text: str, name: str = "zz-fault", unit: str = UNIT) -> None:
    """Change a unit by a drop-in until the next boot; with an empty text, as it was."""
    place = f"/run/systemd/system/{unit}.d"
    if text:
        machine.succeed(f"mkdir -p {place}; printf %s {shlex.quote(text)} >{place}/{name}.conf")
    else:
        machine.succeed(f"rm -f {place}/{name}.conf")
    machine.succeed("systemctl daemon-reload")


def forced() -> str:
    """Drop-in that starts whatever the checks say."""
    command = machine.succeed(f"systemctl cat {UNIT} | sed -n 's/^ExecStart=//p' | tail -n 1").strip()
    return f"[Service]\nExecStart=\nExecStart={command} --force\n"


def impatient() -> str:
    """Part of a drop-in: what stands still counts as hung within seconds."""
    values = {"STALL_TIMEOUT": "12s", "PROBE_INTERVAL": "1s", "PROBE_TIMEOUT": "8s"}
    return "".join(f"Environment=RIGAPPLIANCE_LAUNCH__{name}={value}\n" for name, value in values.items())


def keepsakes() -> dict[str, Any]:
    """What no fault may take away: the checkpoint, the history, the records of failures, the swap areas."""
    commands = (
        f"find {CHECKPOINT} -type f -exec sha256sum {{}} + 2>/dev/null | sort",
        f"cat {STATE}/history.jsonl 2>/dev/null",
        f"cat {STATE}/failures.jsonl 2>/dev/null",
        "tail -n +2 /proc/swaps | sort | cut -d ' ' -f 1",
        f"cat {STATE}/state.json 2>/dev/null",
    )
    # One command for all: each costs time where the processor is emulated.
    found = machine.succeed("; echo ----; ".join(f"{{ {command} || true; }}" for command in commands)).split("----\n")
    names = ("checkpoint", "history", "failures", "swap", "state")
    return {name: text.splitlines() for name, text in zip(names, found, strict=True)}


def lost(before: dict[str, Any], but: tuple[str, ...] = ()) -> list[str]:
    """What is no longer as it was; lines may come to the records, none may go."""
    now = keepsakes()
    gone = []
    for name in ("history", "failures"):
        if name not in but and now[name][: len(before[name])] != before[name]:
            gone.append(name)
    if "checkpoint" not in but and now["checkpoint"] != before["checkpoint"]:
        gone.append("checkpoint")
    # At boot, the swap may come after the start.
    if "swap" not in but and not set(before["swap"]) <= set(now["swap"]):
        gone.append("swap")
    if now["state"] and not isinstance(json.loads("\n".join(now["state"])), dict):
        gone.append("state")
    return gone


def leftovers() -> list[str]:
    """What an engine that is gone may not leave: processes, shared memory, sockets, temporary files."""
    found = machine.succeed(
        "pgrep --uid rigappliance --list-full || true; "
        "find /dev/shm /run/rigappliance -mindepth 1 2>/dev/null || true; "
        f"find {STATE}/tmp -mindepth 1 -maxdepth 1 -not -name 'torch*' 2>/dev/null || true"
    )
    return found.splitlines()


def clear() -> None:
    """The unit stopped and forgotten, and the records of failures gone, so that each fault is the first."""
    forgotten = f"rm -f {STATE}/failures.jsonl {STATE}/compact; journalctl --sync"
    machine.succeed(f"systemctl stop {UNIT}; systemctl reset-failed {UNIT} || true; {forgotten}")


def begin(**told: Any) -> None:
    """Start with a stand-in that does as told, without waiting for anything."""
    clear()
    tell(**{"pace": 0, **told})
    kept.update(keepsakes())
    inject(f"systemctl start --no-block {UNIT}")


def ready(**told: Any) -> None:
    """Start and wait until it serves."""
    begin(**told)
    wait_ready()


def wait_ready(timeout: int = 180) -> None:
    # A start that waits for other units is a job, and its unit inactive.
    busy = f"systemctl list-jobs --no-legend {UNIT}; systemctl show -P ActiveState {UNIT}"
    waiting = f"while ( {busy} ) | grep -qE 'activating|{UNIT}'; do sleep 0.3; done"
    machine.succeed(f"{waiting}; systemctl is-active {UNIT}", timeout=timeout)


def wait_phase(phase: str, timeout: int = 120) -> None:
    """Until a start has come to a phase, by the state file; not longer where the start is over."""
    said = shlex.quote(f'"phase": "{phase}"')
    over = f"systemctl show -P SubState {UNIT} | grep -qE '^(failed|auto-restart)' && exit 1"
    machine.succeed(f"until grep -qsF {said} {STATE}/state.json; do {over}; sleep 0.2; done", timeout=timeout)


def inject(command: str) -> None:
    """Do what the fault is, and date it."""
    machine.succeed(f"date +%s.%N >{DATED}; {command}")


def part(name: str) -> str:
    """Shell text for the process id of a part of the engine: Worker, EngineCore, api, supervisor, guard."""
    patterns = {
        "api": f"$(sed -n 's/.*\"engine_pid\": \\([0-9]*\\).*/\\1/p' {STATE}/state.json)",
        "supervisor": f"$(systemctl show -P MainPID {UNIT})",
        "guard": "$(pgrep --uid rigappliance --full launch/guard.py | head -n 1)",
    }
    return patterns.get(name, f"$(pgrep --uid rigappliance --full '^VLLM::{name}' | head -n 1)")


def wait_end(timeout: int = 180) -> str:
    """Wait until the unit failed or waits for its restart; which of both, and never longer than it takes."""
    loop = f"until systemctl show -P SubState {UNIT} | grep -E '^(failed|auto-restart)'; do sleep 0.2; done"
    return machine.succeed(loop, timeout=timeout).strip()


def why() -> dict[str, Any]:
    """What `rigappliance why` says now about the last failure."""
    told = machine.succeed(f"rigappliance why -c {CONFIG} --json")
    found = json.loads(told)
    assert isinstance(found, dict), told
    return found


def row(fault: str, cause: str, evidence: str, decision: str, **more: Any) -> None:
    """A line for the table of faults; the backend collects it."""
    found = {"fault": fault, "cause": cause, "evidence": evidence, "decision": decision, "seconds": None}
    print("FAULT " + json.dumps({**found, "lost": "", "leftovers": "", **more}))


def named(
    fault: str, cause: str, *, decision: str, evidence: str = "", but: tuple[str, ...] = (), timeout: int = 180
) -> dict[str, Any]:
    """Wait for the end, and hold all that was said and done about it against what is right.

    ``decision`` is "restarted" or "stopped"; ``evidence`` a pattern that some
    evidence has to match; ``but`` names what the fault itself was meant to spoil.
    """
    state = wait_end(timeout)
    found = why()
    report = f"{fault}: {json.dumps(found, indent=1)}\n{journal()[-4000:]}"
    assert found["cause"] == cause, report
    lines = [item["text"] for item in found["evidence"]]
    assert lines, report
    matching = [line for line in lines if re.search(evidence, line)]
    assert matching, f"no evidence matches {evidence!r}\n{report}"
    taken = "restarted" if state.startswith("auto-restart") else "stopped"
    assert taken == decision, f"{state}\n{report}"
    gone, left = lost(kept, but), leftovers()
    assert not gone, f"lost: {gone}\n{report}"
    assert not left, f"left: {left}\n{report}"
    began = float(machine.succeed(f"cat {DATED}"))
    row(fault, cause, matching[0], decision, seconds=round(float(found["ended"]) - began, 1))
    return found


def completes() -> bool:
    """Whether a completion comes back."""
    body = '{"model": "tiny", "prompt": "a", "max_tokens": 1}'
    ask = f"import urllib.request as u; u.urlopen(u.Request('{URL}/v1/completions', {body.encode()!r}, "
    ask += "{'Content-Type': 'application/json'}), timeout=20).read()"
    return machine.execute(f"python3 -c {shlex.quote(ask)}")[0] == 0


def refused(fault: str) -> None:
    """A start that the checks refuse at once and for good."""
    before = keepsakes()
    tell(pace=0)
    inject("true")
    machine.fail(f"systemctl start {UNIT}")
    seconds = since_fault()
    said = journal()[-3000:]
    assert show("ExecMainStatus") == "4", said
    assert show("SubState") == "failed", said
    words = refusal(said)
    assert not lost(before), lost(before)
    assert not leftovers(), leftovers()
    row(fault, "refused by the checks", words, "refused before the start", seconds=seconds)


def refusal(said: str) -> str:
    """What was found, of the last error that a verb printed."""
    found = re.findall(r"^rigappliance: (.+)\n  expected: ", said, re.MULTILINE)
    assert found, said
    return str(found[-1])


def stays_stopped(found: dict[str, Any]) -> None:
    """Starting again as things are is refused at once, with the cause's own exit code, and no engine is started."""
    trace = f"stat --format='%s %Y' {STATE}/engine.log"
    before = machine.succeed(trace)
    inject("true")
    machine.fail(f"systemctl restart {UNIT}")
    seconds = since_fault()
    said = journal()[-3000:]
    # Where the checks see it too, they may be the first to say so.
    assert int(show("ExecMainStatus")) in (4, found["exit_code"]), said
    assert machine.succeed(trace) == before, "the engine was started once more"
    assert not leftovers(), leftovers()
    assert seconds < 120, seconds


def starts_again() -> None:
    """What was mended starts without further ado, and nothing was lost on the way."""
    tell(pace=0)
    machine.succeed(f"systemctl start --no-block {UNIT}")
    wait_ready()
    assert completes(), journal()[-3000:]
    assert not lost(kept), lost(kept)


def since_fault() -> float:
    """Seconds of the machine's clock since ``inject``."""
    began, now = machine.succeed(f"cat {DATED}; date +%s.%N").split()
    return round(float(now) - float(began), 1)
