"""What an operator declares. The defaults are the ``rig`` profile: the machine that the product was built on.

Sections are models of their own; unknown keys are refused.  Reading files,
profiles and the environment is :mod:`rigappliance.configfile`'s concern.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from rigappliance.quantities import ByteSize, Duration, MemoryLimit
from rigappliance.units import parse_size

Count = Annotated[StrictInt, Field(ge=1)]
OptionValue = StrictBool | StrictInt | StrictFloat | StrictStr | list[StrictStr | StrictInt] | dict[str, object]


class ContradictionError(ValueError):
    """Two values that exclude each other; the same three clauses as a ``RigError``."""

    def __init__(self, found: str, expected: str, remedy: str) -> None:
        super().__init__(f"{found}; {expected}")
        self.found = found
        self.expected = expected
        self.remedy = remedy


def check_text(value: object) -> object:
    """Raises ``ValueError`` for text that no file system, no resolver and no command line takes."""
    if isinstance(value, str | Path):
        text = str(value) if isinstance(value, Path) else value
        if not text:
            raise ValueError("a string that is not empty")
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            encoded = b"\0"
        if b"\0" in encoded:
            raise ValueError("UTF-8 text without null characters")
    return value


# A path or a name: anything but nothing, and what the kernel would refuse.
PlainPath = Annotated[Path, BeforeValidator(check_text)]
PlainText = Annotated[str, BeforeValidator(check_text)]


class Section(BaseModel):
    """Common behaviour of all sections: frozen, and no key is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Section):
    """The checkpoint that is served."""

    path: PlainPath = Field(
        Path("/var/lib/rigappliance/models/Qwen2.5-72B-Instruct-GPTQ-Int8"),
        description="Directory of the checkpoint: config.json, tokenizer and safetensors shards.",
    )
    name: PlainText = Field(
        "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8",
        min_length=1,
        description="Name under which the API serves the model.",
    )
    trust_remote_code: StrictBool = Field(
        False,
        description="Run Python code that comes with the checkpoint. Qwen2.5 needs none.",
    )
    repository: PlainText = Field(
        "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8",
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="Where the weights unit downloads the checkpoint from: owner/name on the Hugging Face Hub.",
    )
    revision: PlainText = Field(
        "main",
        pattern=r"^[\w./-]+$",
        description="Branch, tag or commit of it; a commit makes every rig's checkpoint the same for ever.",
    )


class EngineConfig(Section):
    """The vLLM process: layout, memory and limits."""

    python: PlainPath = Field(
        Path("/opt/rigappliance/engine/bin/python"),
        description="Python interpreter of the environment in which vLLM is installed.",
    )
    entrypoint: Literal["serve", "module"] = Field(
        "serve",
        description=(
            "`serve` runs the `vllm serve` command beside the interpreter; `module` runs vLLM's API server "
            "module, which the CPU build needs because its distribution is not named vllm."
        ),
    )
    start: Literal["shared", "stock"] = Field(
        "shared",
        description=(
            "`shared` imports the engine once and forks core and workers from it, which saves a third to a half of its "
            "host memory and half of a start whose caches are filled; `stock` starts every process afresh, as vLLM "
            "does by itself."
        ),
    )
    device: Literal["cuda", "cpu"] = Field("cuda", description="What the engine computes on.")
    tensor_parallel: Count = Field(8, description="Ranks that share each layer (TP).")
    pipeline_parallel: Count = Field(1, description="Stages that share the layers (PP).")
    gpu_memory_utilization: Annotated[StrictFloat, Field(gt=0, le=1)] = Field(
        0.85, description="Share of each card's memory that the engine may plan with, above 0 and up to 1."
    )
    max_model_len: Count = Field(4096, description="Longest prompt plus answer, in tokens.")
    max_num_seqs: Count = Field(32, description="Requests in one batch at most.")
    max_num_batched_tokens: Count | None = Field(
        None, description="Tokens in one step at most; unset leaves it to the engine."
    )
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = Field("auto", description="Type of the activations.")
    quantization: StrictStr | None = Field(
        None, description="Quantisation method; unset lets the engine read it from the checkpoint."
    )
    kv_cache_dtype: StrictStr = Field("auto", description="Type of the KV cache.")
    kv_cache_memory: Annotated[ByteSize, Field(gt=0)] | None = Field(
        None, description="Size of the KV cache per rank; overrides the sizing by gpu_memory_utilization."
    )
    load_format: StrictStr = Field(
        "sequential",
        description=(
            "How the checkpoint is read. `sequential` is rigappliance's own: one pass over the shards for all ranks; "
            "`auto` and the others are vLLM's."
        ),
    )
    optimization_level: Annotated[StrictInt, Field(ge=0, le=3)] | None = Field(
        None, description="vLLM's -O level, 0 to 3; unset leaves the engine's default of 2."
    )
    enforce_eager: StrictBool = Field(False, description="Skip compilation and graph capture.")
    swap_space: ByteSize | None = Field(
        parse_size("1GiB"),
        description=(
            "CPU swap space per card of older engines. vLLM 0.18 removed it: accepted, not passed on, and said so."
        ),
    )
    options: dict[str, OptionValue] = Field(
        default_factory=dict,
        description="Any other option of the engine by its long name without dashes, for example seed = 1.",
    )
    environment: dict[str, StrictStr] = Field(
        default_factory=dict, description="Further environment variables of the engine."
    )
    offline: StrictBool = Field(True, description="Forbid the engine to ask a model hub for anything.")
    step_timeout: Duration = Field(
        1800.0,
        description="Longest time for one step of the model; a worker that is swapped out can need minutes.",
    )


class ServerConfig(Section):
    """The OpenAI-compatible endpoint."""

    host: PlainText = Field("127.0.0.1", min_length=1, description="Address that the API listens on.")
    port: Annotated[StrictInt, Field(ge=1, le=65535)] = Field(8000, description="TCP port of the API.")
    api_key_file: PlainPath | None = Field(
        None, description="File that holds the API key; needed where the API is reachable from other machines."
    )
    log_probes: StrictBool = Field(
        False,
        description="Log requests to /health, /metrics and /ping, which are mostly the supervisor's and a monitor's.",
    )


class MemoryConfig(Section):
    """Host memory."""

    max: MemoryLimit = Field("90%", description="MemoryMax of the service: a share of the RAM or a size.")
    swap: ByteSize = Field(parse_size("128GiB"), description="Size of the swap file; 0B for none.")
    swap_file: PlainPath = Field(
        Path("/var/lib/rigappliance.swap"), description="The swap file. `rigappliance swap on` makes and enables it."
    )
    swap_priority: Annotated[StrictInt, Field(ge=0, le=32767)] = Field(
        10, description="Its priority against other swap areas; the highest is used first."
    )
    swappiness: Annotated[StrictInt, Field(ge=0, le=200)] = Field(
        10,
        description=(
            "vm.swappiness. Low: on a hard disk a page of the checkpoint comes back in a sequential read, "
            "a swapped page with a seek."
        ),
    )
    page_cluster: Annotated[StrictInt, Field(ge=0, le=10)] = Field(
        4,
        description=(
            "vm.page-cluster: 2 to this power pages come back from swap in one read. "
            "A hard disk reads 64 KiB in hardly more time than 4."
        ),
    )


class HardwareConfig(Section):
    """What the machine should have; preflight compares it with what is there."""

    cards: Annotated[StrictInt, Field(ge=0)] = Field(8, description="Cards (GPUs) in the machine.")
    card_memory: ByteSize = Field(parse_size("12GB"), description="Memory of each card.")
    ram: ByteSize = Field(parse_size("16GB"), description="RAM of the machine.")
    card_margin: ByteSize = Field(
        parse_size("256MiB"),
        description="Memory of each card that a plan leaves free, for what differs from start to start.",
    )


class LaunchConfig(Section):
    """How the supervisor watches the engine."""

    stall_timeout: Duration = Field(
        1200.0,
        gt=0,
        description=(
            "During a start: the engine counts as hung when for this long no log line, read byte, CPU time, "
            "page fault or card memory moved."
        ),
    )
    probe_interval: Duration = Field(
        60.0, gt=0, description="While ready and idle: time between two one-token completions that prove it alive."
    )
    probe_timeout: Duration = Field(
        900.0,
        gt=0,
        description=(
            "While ready: the engine counts as hung when a probe has gone this long without an answer "
            "and no other request made progress either."
        ),
    )
    drain_timeout: Duration = Field(
        30.0, ge=0, description="On SIGTERM: time that running requests get to finish before the engine is stopped."
    )
    stop_timeout: Duration = Field(
        20.0, gt=0, description="Time that the engine gets to stop by itself before its processes are killed."
    )
    log_size: ByteSize = Field(
        parse_size("64MiB"),
        ge=parse_size("1MiB"),
        description="The engine's log is kept in files of this size, the last two of them.",
    )


class RigConfig(Section):
    """The whole declaration."""

    profile: Literal["rig", "demo"] = Field(
        "rig",
        description="Where unset values come from: `rig`, the 8-card mining rig, or `demo`, which runs on any CPU.",
    )
    state_dir: PlainPath = Field(
        Path("/var/lib/rigappliance"), description="Directory for state, history, logs and the engine's caches."
    )
    model: ModelConfig = Field(default_factory=lambda: ModelConfig(), description="The checkpoint that is served.")
    engine: EngineConfig = Field(default_factory=lambda: EngineConfig(), description="The vLLM process.")
    server: ServerConfig = Field(default_factory=lambda: ServerConfig(), description="The endpoint.")
    memory: MemoryConfig = Field(default_factory=lambda: MemoryConfig(), description="Host memory.")
    hardware: HardwareConfig = Field(
        default_factory=lambda: HardwareConfig(), description="What the machine should have."
    )
    launch: LaunchConfig = Field(
        default_factory=lambda: LaunchConfig(), description="How the supervisor watches the engine."
    )

    @property
    def ranks(self) -> int:
        """Worker processes of the engine: one a card."""
        return self.engine.tensor_parallel * self.engine.pipeline_parallel

    @model_validator(mode="after")
    def _layout_fits_cards(self) -> RigConfig:
        if self.engine.device == "cuda" and self.ranks > self.hardware.cards:
            raise ContradictionError(
                f"engine.tensor_parallel {self.engine.tensor_parallel} × engine.pipeline_parallel "
                f"{self.engine.pipeline_parallel} makes {self.ranks} ranks, "
                f"and hardware.cards is {self.hardware.cards}",
                f"at most {self.hardware.cards} ranks, one a card",
                "lower one of the first two, or set hardware.cards to the cards that the machine has",
            )
        return self
