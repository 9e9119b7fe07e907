"""What a run was measured on."""

from __future__ import annotations

import json
from pathlib import Path

from rigappliance.configfile import load_config
from rigappliance.facts.host import read_host_facts
from rigappliance.launch.history import Key
from rigappliance.measure.identity import changes, run_key, run_settings


def test_settings_tell_a_changed_variable_apart_and_never_its_value() -> None:
    host = read_host_facts(Path("/"))
    before, after = (
        run_settings(
            load_config(profile="demo", environ={"RIGAPPLIANCE_ENGINE__ENVIRONMENT": json.dumps({"HF_TOKEN": word})}),
            host,
        )
        for word in ("hf_first", "hf_second")
    )
    assert "hf_" not in json.dumps([before, after])
    assert [change.partition(":")[0] for change in changes(before, after)] == ["engine.environment.HF_TOKEN"]
    assert before["kernel"] == host.kernel
    assert before["engine.max_num_seqs"] == "8"


def test_the_key_is_that_of_starts_and_the_cards() -> None:
    start = Key("0.32.0", "f00d", "cpu TP 1", "Pentium, 16 GiB")
    assert run_key(start, load_config(profile="demo", environ={})) == {
        "engine": "0.32.0", "model": "f00d", "layout": "cpu TP 1", "host": "Pentium, 16 GiB", "cards": "none",
    }  # fmt: skip
