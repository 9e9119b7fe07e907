# The checkpoint is spoilt: refused before the start where preflight sees it, named where the engine meets it.

SHARD = f"{CHECKPOINT}/model-00002-of-00003.safetensors"
MEND = f"cp --archive {PRISTINE}/. {CHECKPOINT}; chown --recursive rigappliance: {CHECKPOINT}"
# Time to spoil it between the checks and the engine's own look.
LATER = {"do": "wait", "at": "config", "for_s": 4}

SPOILT = (
    (
        "unreadable model directory",
        f"chmod 700 {CHECKPOINT}; chown root: {CHECKPOINT}",
        "checkpoint-unreadable",
        "denied|may not|Permission|read",
        f"chmod 755 {CHECKPOINT}; {MEND}",
    ),
    (
        "truncated shard",
        f"truncate --size=-1000 {SHARD}",
        "checkpoint-truncated",
        "IncompleteMetadata|fully covered",
        MEND,
    ),
    # The third byte of the header's JSON text, behind its length of eight bytes.
    (
        "flipped byte in a shard's header",
        f"printf '\\377' | dd of={SHARD} bs=1 seek=10 conv=notrunc status=none",
        "checkpoint-corrupt",
        "(?i)header",
        MEND,
    ),
    ("missing shard", f"rm {SHARD}", "checkpoint-missing", "model-00002|No such file|missing", MEND),
    (
        "wrong architecture in config.json",
        f"sed -i s/Qwen2ForCausalLM/NoSuchForCausalLM/ {CHECKPOINT}/config.json",
        "checkpoint-unsupported",
        # The recording names the one that it was made with.
        "Model architectures .* are not supported",
        MEND,
    ),
)

machine.start()
adjust(PATIENT)
for fault, spoil, cause, evidence, mend in SPOILT:
    with case(fault):
        clear()
        whole = keepsakes()["checkpoint"]
        machine.succeed(spoil)
        refused(fault)
        # What config.json says of itself is read at once: there is no later.
        judged = cause == "checkpoint-unsupported"
        if judged:
            adjust(PATIENT + forced())
            begin()
            # The start found it spoilt already; what must be there in the end is the whole one.
            kept["checkpoint"] = whole
        else:
            machine.succeed(mend)
            # After the checks, as a failing disk would.
            begin(faults=[LATER])
            wait_phase("config")
            inject(spoil)
        what = f"{fault}, {'without' if judged else 'after'} the checks"
        found = named(what, cause, decision="stopped", evidence=evidence, but=("checkpoint",))
        adjust(PATIENT)
        stays_stopped(found)
        machine.succeed(mend)
        starts_again()
    machine.succeed(mend)

done()
