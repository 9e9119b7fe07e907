# Fifty restarts in a row, each before the one before it was done: none refused, nothing lost, nothing left.

machine.start()
ready()
loop = f"for i in $(seq 49); do systemctl restart --no-block {UNIT}; sleep 0.$((RANDOM % 8 + 1)); done"
# The last one waits: between a stop and the start that follows it, nothing tells that more is to come.
inject(f"{loop}; systemctl restart {UNIT}")
wait_ready()
seconds = since_fault()
assert completes(), journal()[-3000:]
assert "repeated too quickly" not in journal(), journal()[-3000:]
assert not lost(kept), lost(kept)
found = why()
assert found["cause"] in (None, "stopped"), found
engines = machine.succeed("pgrep --uid rigappliance --full '^VLLM::EngineCore' | wc -l").strip()
assert engines == "1", engines
clear()
assert not leftovers(), leftovers()
row("50 restarts in a row", "none", "ready, and a completion came back", "none needed", seconds=seconds)
