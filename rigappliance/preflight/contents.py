"""Are the files of the checkpoint what they are called? Judged by what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rigappliance.preflight.finding import Finding, fail, ok, warn
from rigappliance.units import format_size

if TYPE_CHECKING:
    from rigappliance.facts.hashes import HashFacts

FETCH = "run `rigappliance fetch`, which verifies every file and brings the damaged ones again"


def check_tokenizer(damage: str | None) -> list[Finding]:
    """tokenizer.json; nothing where it is well, which checkpoint.files says already."""
    if damage is None:
        return []
    return [fail("checkpoint.tokenizer", f"tokenizer.json: {damage}", "a tokenizer that can be read", FETCH)]


def check_hashes(hashes: HashFacts) -> Finding:
    """All that lies on the disk against the hub's checksums."""
    if not hashes.recorded:
        return warn(
            "checkpoint.hashes",
            "there are no checksums to compare with",
            "the record of a checkpoint that `rigappliance fetch` has brought or verified",
            "run `rigappliance fetch` once",
        )
    if hashes.wrong or hashes.unreadable:
        wrong = [f"{name}: its content is not the hub's" for name in hashes.wrong]
        return fail(
            "checkpoint.hashes",
            "; ".join([*wrong, *hashes.unreadable]),
            "every file as the hub has it",
            f"{FETCH}; if it happens again, the disk or the RAM is failing: see `smartctl -a` and run memtest86+",
        )
    return ok("checkpoint.hashes", f"{hashes.files} files, {format_size(hashes.read_bytes)}, are those of the hub")
