"""What the engine says when something else has failed already."""

from __future__ import annotations

from rigappliance.diagnosis.signature import Role, Signature, consequence

# The name of an exception at the start of a line or behind a prefix, and what it says.
_EXCEPTION = r"(?:^|[\s\]])(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)(?:: \S|:?\s*$)|(?:^|[\s\]])Exception: "

CONSEQUENCES = (
    consequence("loader-rank-gone", "rigappliance loader:", "loader/errors", r"rank \d+ \(pid \d+\) is gone"),
    consequence("worker-died", "died unexpectedly", "v1/executor/multiproc_executor"),
    consequence("worker-start", "WorkerProc failed to start", "v1/executor/multiproc_executor"),
    consequence("worker-failed", "WorkerProc failed.", "v1/executor/multiproc_executor"),
    consequence("worker-hit", "WorkerProc hit an exception", "v1/executor/multiproc_executor"),
    consequence("worker-init", "WorkerProc initialization failed", "v1/executor/multiproc_executor"),
    consequence("executor-failed", "RuntimeError: Executor failed.", "v1/engine/core"),
    consequence("core-fatal", "EngineCore encountered a fatal error", "v1/engine/core"),
    consequence("core-start", "EngineCore failed to start", "v1/engine/core"),
    consequence("core-hit", "EngineCore hit an exception", "v1/engine/core (0.8)"),
    consequence("core-init", "Engine core initialization failed", "v1/engine/utils"),
    consequence("front-end", "Frontend process failed during engine core initialization", "v1/engine/utils"),
    consequence("engine-dead", "EngineDeadError", "v1/engine/exceptions"),
    consequence("core-gone", "Engine core proc ", "v1/engine/core_client", r"shutting down client"),
    consequence("output-handler", "AsyncLLM output_handler failed", "v1/engine/async_llm"),
    consequence("process-died", "died with exit code", "v1/utils"),
    consequence("v0-process", "Engine process failed to start", "engine (V0)"),
    consequence("v0-background", "Background loop has errored already", "engine (V0)"),
    consequence("v0-stopped", "Background loop is stopped", "engine (V0)"),
    consequence("v0-loop", "Engine loop has died", "engine (V0)"),
    consequence("v0-worker", "Worker VllmWorkerProcess pid", "engine (V0)", r"died, exit code"),
    consequence("nccl-remote-exit", "remote process exited or there was a network error", "NCCL"),
    consequence("gloo-closed", "Connection closed by peer", "Gloo"),
    consequence("gloo-reset", "Connection reset by peer", "Gloo, NCCL"),
    consequence("store-closed", "Connection was likely closed", "torch TCPStore"),
    consequence("nccl-aborted", "NCCL communicator was aborted", "torch NCCL"),
    consequence("broken-pipe", "BrokenPipeError", "Python"),
    consequence("end-of-file", "EOFError", "Python", r"(?:^|\s)EOFError\s*$"),
    # Any exception: what to read where no cause is known.
    Signature("error", "", "Error", "Python", _EXCEPTION, Role.NOTE),
    Signature("exception", "", "Exception", "Python", _EXCEPTION, Role.NOTE),
)
