"""What follows from a failure: refused, tried again, given up; with whole launches of the stand-in."""

from __future__ import annotations

import pytest

from rigappliance.errors import ExitCode
from tests.unit.launch.rig import Rig

NO_COMPILER = "torch._inductor.exc.InvalidCxxCompiler: No working C++ compiler found in cpp.cxx: (None, 'g++')"


def no_compiler() -> dict[str, object]:
    return {"do": "fail", "at": "compile", "text": NO_COMPILER}


def test_the_same_checkpoint_is_never_loaded_twice_for_a_known_cause(rig: Rig) -> None:
    rig.tell(no_compiler())
    assert rig.run("launch") == 40, rig.errors()
    first = rig.started_ids()
    assert "No working C++ compiler found" in rig.errors()
    for _ in range(2):
        code, elapsed_s = rig.elapsed_s("launch")
        assert (code, rig.started_ids()) == (40, first), "nothing was started"
        assert elapsed_s < 5
        assert "jit-no-compiler" in rig.errors()
        assert "nothing has changed since" in rig.errors()
        assert "install a C and C++ compiler" in rig.errors()
    assert len(rig.failures()) == 1

    # Something that mends it: a configuration that compiles nothing.
    rig.content["engine"]["enforce_eager"] = True
    rig.tell()
    rig.get_ready_and_stop()
    assert rig.failures()[-1].mended
    # As it was before, and known to be good since.
    del rig.content["engine"]["enforce_eager"]
    rig.get_ready_and_stop()


def test_what_does_not_matter_to_the_engine_does_not_open_the_gate(rig: Rig) -> None:
    rig.tell(no_compiler())
    assert rig.run("launch") == 40
    rig.content["launch"]["stall_timeout"] = "2h"
    first = rig.started_ids()
    assert rig.run("launch") == 40
    assert rig.started_ids() == first


def test_force_starts_anyway(rig: Rig) -> None:
    rig.tell(no_compiler())
    assert rig.run("launch") == 40
    rig.tell()
    rig.get_ready_and_stop("--force")
    assert "started by force although" in rig.errors()


@pytest.mark.parametrize(("phase", "codes"), [("weights", [82, 82, 82, 82, 13, 82]), ("compile", [82, 13, 82])])
def test_a_passing_cause_is_tried_again_so_often_and_no_more(rig: Rig, phase: str, codes: list[int]) -> None:
    """The start after giving up is one by hand, and begins anew."""
    rig.tell({"do": "kill", "who": "core", "at": "Starting to load" if phase == "weights" else phase})
    found = [rig.run("launch") for _ in codes]
    assert found == codes, rig.errors()
    attempts = [failure.attempt for failure in rig.failures()]
    assert attempts == [*range(1, len(codes)), 1]
    assert {failure.cause for failure in rig.failures()} == {"part-killed"}
    given_up = rig.failures()[-2]
    assert (given_up.exit_code, given_up.loaded) == (ExitCode.GIVEN_UP, phase == "compile")


def test_a_killed_supervisor_is_told_by_the_units_stop_command_and_once(rig: Rig) -> None:
    process = rig.start("launch")
    rig.wait_ready(process)
    assert rig.run("why", "--record", SERVICE_RESULT="success") == 0
    assert rig.failures() == [], "it runs, whatever anybody says"
    process.kill()
    process.wait()
    killed = {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
    assert rig.run("why", "--record", **killed) == 0
    assert "was killed while serving" in rig.errors("why")
    assert rig.run("why", "--record", **killed) == 0
    [failure] = rig.failures()
    assert (failure.cause, failure.ready, failure.told) == ("supervisor-killed", True, False)
    content = rig.why()
    assert (content["cause"], content["exit_code"], content["decision"]) == ("supervisor-killed", 87, "retry")
    state = rig.directory.peek()
    assert state is not None
    assert (state.outcome, state.cause) == ("killed", "supervisor-killed")
    rig.get_ready_and_stop()


def test_a_power_cut_is_known_by_the_boot(rig: Rig) -> None:
    process = rig.start("launch")
    rig.wait_ready(process)
    process.kill()
    process.wait()
    rig.edit_state(boot_id="11111111-2222-3333-4444-555555555555")
    rig.get_ready_and_stop()
    assert "the machine went down while serving" in rig.errors()
    [failure] = rig.failures()
    assert (failure.cause, failure.mended) == ("power-cut", True)


def test_a_start_that_ran_out_of_systemds_patience_is_a_hang(rig: Rig) -> None:
    rig.tell({"do": "hang", "at": "Starting to load"})
    process = rig.start("launch")
    assert rig.stop_in(process, "weights") == 130
    assert rig.run("why", "--record", SERVICE_RESULT="timeout", EXIT_CODE="exited", EXIT_STATUS="130") == 0
    [failure] = rig.failures()
    assert (failure.cause, failure.phase) == ("hung", "weights")


def test_a_start_that_preflight_refuses_is_told_until_one_is_not(rig: Rig) -> None:
    rig.content["engine"]["python"] = "/nowhere/bin/python"
    assert rig.run("launch") == 10
    refused = rig.why()
    assert (refused["cause"], refused["refused"]["exit_code"]) == (None, 10)
    assert "/nowhere/bin/python" in refused["refused"]["error"]
    assert rig.run("why") == 0
    assert "was refused before there was an engine (exit code 10)" in rig.output("why")
    rig.content["engine"]["python"] = str(rig.python)
    rig.get_ready_and_stop()
    assert rig.why() == {"cause": None}


def test_a_stop_on_request_is_no_failure(rig: Rig) -> None:
    rig.get_ready_and_stop()
    assert rig.run("why", "--record", SERVICE_RESULT="success") == 0
    assert rig.why() == {"cause": None}
    assert rig.run("why") == 0
    assert "no failure is recorded" in rig.output("why")
