"""What the engine was doing when an exception was raised, from the functions that the traceback names."""

from __future__ import annotations

LOADING, PROFILING, SERVING = "loading", "profiling", "serving"

_STAGES = {
    LOADING: ("load_model", "load_weights", "process_weights_after_loading", "init_device"),
    PROFILING: (
        "determine_available_memory",
        "determine_num_available_blocks",
        "determine_num_gpu_blocks",
        "profile_run",
        "profile_cudagraph_memory",
        "_initialize_kv_caches",
        "initialize_kv_caches",
        "initialize_kv_cache",
        "initialize_from_config",
        "initialize_cache",
        "compile_or_warm_up_model",
        "warming_up_model",
        "_warm_up_model",
        "capture_model",
    ),
    SERVING: (
        "run_busy_loop",
        "_process_engine_step",
        "run_engine_loop",
        "engine_step",
        "step",
        "execute_model",
        "forward",
        "_call_impl",
    ),
}
STAGE_OF_FUNCTION = {function: stage for stage, functions in _STAGES.items() for function in functions}


class Stage:
    """Feed it the lines of tracebacks; the outermost function that tells is the one that counts."""

    def __init__(self) -> None:
        self.stage = ""

    def new_traceback(self) -> None:
        self.stage = ""

    def frame(self, line: str) -> None:
        if not self.stage:
            self.stage = STAGE_OF_FUNCTION.get(line.rpartition(", in ")[2].strip(), "")
