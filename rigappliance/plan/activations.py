"""Memory beside the weights: the profile run's peak, and what the sampler keeps and takes.

Sources: v1/worker/gpu/model_runner.py (profile_run), the model classes' forward functions, v1/worker/gpu/sample.
"""

from __future__ import annotations

from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.chip import Chip
from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.sharding.parts import VOCABULARY_PADDING, padded
from rigappliance.plan.sharding.ranks import engine_dtype_bytes
from rigappliance.plan.tensors import CheckpointShape

# The sampler when requests ask for penalties, top-k or log probabilities, which the profile run leaves out: a float32
# copy of the logits, their float32 scores, and a buffer as large as one of them.
SAMPLER_BYTES = 3 * 4
# vllm/config/vllm.py, _set_cudagraph_sizes, below the data centre's Blackwell.
LARGEST_GRAPH = 512
# The least that the allocator takes from the card: c10/cuda/CUDACachingAllocator, kSmallBuffer.
SEGMENT_BYTES = 2 << 20


def activation_bytes(shape: CheckpointShape, arguments: EngineArguments, *, last_stage: bool) -> int:
    """The profile run's peak: a step of ``max_num_batched_tokens``, or the logits of ``max_num_seqs`` after it."""
    dtype_bytes = engine_dtype_bytes(arguments.dtype)
    tokens = arguments.max_num_batched_tokens
    step = tokens * step_width(shape, arguments) * dtype_bytes
    if not last_stage:
        # What goes to the next stage: hidden states and residual.
        return step + 2 * tokens * shape.hidden_size * dtype_bytes
    # The step's own result is kept while the logits are made.
    return max(step, tokens * shape.hidden_size * dtype_bytes + logits_bytes(shape, arguments))


def compiled(arguments: EngineArguments) -> bool:
    return not arguments.enforce_eager and arguments.optimization_level > 0


def step_width(shape: CheckpointShape, arguments: EngineArguments) -> int:
    """Values a token at the widest place of a layer; the residual is alive everywhere."""
    ranks, hidden = arguments.tensor_parallel, shape.hidden_size
    inner = intermediate(shape) // ranks
    if not compiled(arguments):
        # Python's frames hold on to what compiled code drops: the last layer's output, the residual, what goes into
        # the MLP, its three inner tensors, what comes out, and the sum of that over ranks.
        return 4 * hidden + 3 * inner + (hidden if ranks > 1 else 0)
    heads = shape.heads * shape.head_dim // ranks
    keys = 2 * max(1, shape.kv_heads // ranks) * shape.head_dim
    into_mlp, inside_mlp, out_of_mlp = hidden + 2 * inner, 3 * inner, inner + hidden
    attention = max(hidden + heads + keys, 2 * heads + keys)
    # The sum over ranks is a tensor of its own.
    reduced = hidden if ranks > 1 else 0
    return hidden + max(into_mlp, inside_mlp, out_of_mlp + reduced, attention)


def intermediate(shape: CheckpointShape) -> int:
    """The MLP's inner size; in a mixture of experts a token goes through several of them at once."""
    experts, each = shape.config.get("num_experts_per_tok"), shape.config.get("moe_intermediate_size")
    if isinstance(experts, int) and shape.architecture in ("MixtralForCausalLM", "Qwen3MoeForCausalLM"):
        return experts * (each if isinstance(each, int) else shape.intermediate_size)
    return shape.intermediate_size


def rows(arguments: EngineArguments) -> int:
    """Requests whose logits one step makes."""
    return min(arguments.max_num_seqs, arguments.max_num_batched_tokens)


def logits_bytes(shape: CheckpointShape, arguments: EngineArguments) -> int:
    """The rank's own logits, and under tensor parallelism those of all ranks, gathered and put in order."""
    vocabulary = padded(shape.vocab_size, VOCABULARY_PADDING)
    ranks = arguments.tensor_parallel
    values = vocabulary if ranks == 1 else vocabulary // ranks + 2 * vocabulary
    return rows(arguments) * values * engine_dtype_bytes(arguments.dtype)


def measured_kernels_bytes(shape: CheckpointShape, arguments: EngineArguments, embedding_bytes: int) -> int:
    """What a first start takes while its kernels are tuned (plan/tuning.py); a later one loads them and takes nothing.

    Random tensors of their arguments' sizes: of the kernel that reads the embedding a copy of this rank's part of it,
    beside the step's hidden states before and after.  It is within the profile run, so its peak is taken from the KV
    cache.
    """
    if not compiled(arguments) or not arguments.measures_kernels or not embedding_bytes:
        return 0
    return embedding_bytes + 2 * arguments.max_num_batched_tokens * shape.hidden_size * engine_dtype_bytes(
        arguments.dtype
    )


def sampling_bytes(shape: CheckpointShape, arguments: EngineArguments) -> int:
    """The most that sampling takes beyond the logits, when every request asks for it. Nobody budgets it."""
    return rows(arguments) * shape.vocab_size * SAMPLER_BYTES


def request_state_bytes(shape: CheckpointShape, arguments: EngineArguments) -> int:
    """What the sampler keeps of each request: a count of every token so far, and a bit for those of the prompt.

    It is there from the start (v1/worker/gpu/sample/penalties.py), whether anyone asks for penalties or not.
    """
    words = -(-shape.vocab_size // 32)
    return arguments.max_num_seqs * (shape.vocab_size + words) * 4


def capture_sizes(arguments: EngineArguments) -> tuple[int, ...]:
    """Tokens of the steps that are captured as graphs."""
    if arguments.capture_sizes is not None:
        return arguments.capture_sizes
    largest = min(2 * arguments.max_num_seqs, LARGEST_GRAPH)
    sizes = [1, 2, 4, *range(8, min(largest + 1, 256), 8), *range(256, largest + 1, 16)]
    if arguments.max_num_batched_tokens <= largest:
        sizes.append(arguments.max_num_batched_tokens)
    return tuple(sorted({size for size in sizes if size <= min(largest, arguments.max_num_batched_tokens)}))


def graph_count(arguments: EngineArguments) -> int:
    """Graphs that level 2 and above capture: one a size in pieces, and a whole one for sizes that decoding can have."""
    return len(pieced(arguments)) + len(whole(arguments))


def pieced(arguments: EngineArguments) -> tuple[int, ...]:
    """Sizes that are captured in pieces, one for each layer's attention and one between any two."""
    return capture_sizes(arguments) if compiled(arguments) else ()


def whole(arguments: EngineArguments) -> tuple[int, ...]:
    """Sizes that are captured in one piece."""
    if arguments.optimization_level < 2:
        return ()
    return tuple(size for size in pieced(arguments) if size <= arguments.max_num_seqs)


def graphs_bytes(
    arguments: EngineArguments, coefficients: Coefficients, layers: int, chip: Chip | None = None, marlin: bool = False
) -> int:
    """What the engine sets aside for graphs, as it estimates them: it captures those in pieces and two whole ones, and
    takes each further whole one for as large as the second (v1/worker/gpu/cudagraph_utils, profile_cudagraph_memory).

    A graph has a segment of the allocator to itself, and the buffer that Marlin sums in; each piece of it is kept by
    the driver; all of them share cuBLAS's workspace, and what NCCL has there. ``layers`` are those of the rank.
    """
    pieces, wholes = pieced(arguments), whole(arguments)
    if not pieces:
        return 0
    chip = chip or Chip()

    def sums(tokens: int) -> int:
        return chip.marlin_sum_bytes(tokens) if marlin else 0

    in_pieces = sum(
        max(SEGMENT_BYTES, sums(size)) + (layers + 1) * coefficients.size_bytes("vram.graph_piece") for size in pieces
    )
    each = max(coefficients.size_bytes("vram.whole_graph"), padded(sums(LARGEST_GRAPH), SEGMENT_BYTES))
    shared = 0 if marlin else chip.workspace_bytes
    if arguments.ranks > 1:
        shared += coefficients.size_bytes("vram.graphs")
    return shared + in_pieces + len(wholes) * each
