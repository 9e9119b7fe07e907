"""Is the checkpoint whole, and can it be laid out as declared?

The rules are those that the engine applies while it starts; here they take
milliseconds and say which key to change.
"""

from __future__ import annotations

from rigappliance.config import RigConfig
from rigappliance.facts.model import ModelFacts, ModelProblem
from rigappliance.preflight.finding import Finding, fail, ok, warn
from rigappliance.units import format_size

# The engine reads neither the index's total nor, for a local checkpoint, which shard it places a tensor in;
# published checkpoints with a wrong total exist. All other problems stop a start or spoil the weights.
HARMLESS = frozenset({"index-missing", "index-total-size", "tensor-not-in-index"})

REMEDIES = {
    "directory-missing": "set model.path to the checkpoint's directory, or download it there: `rigappliance fetch`",
    "not-a-directory": "set model.path to the directory that holds the checkpoint, not to a file",
    "directory-unreadable": "let the user that runs the engine read and search the directory",
    "config-missing": "download config.json (`rigappliance fetch`); the directory may hold another kind of model",
    "lfs-pointer": "run `git lfs pull` in the checkpoint's directory, or `rigappliance fetch`",
    "shard-missing": "download the shard: `rigappliance fetch`",
    "shard-truncated": "let the download finish, or download the shard again: `rigappliance fetch`",
    "shard-corrupt": "download the shard again: `rigappliance fetch`",
    "shard-unreadable": "let the user that runs the engine read the file; if it may, the disk is failing: see dmesg",
    "no-weights": "download the model as safetensors shards",
    "partial-download": "let the download finish, or remove the leftover and download the file again",
    "tokenizer-missing": "download tokenizer.json: `rigappliance fetch`",
    "index-missing": "download model.safetensors.index.json, so that a missing shard can be noticed",
}
# Head sizes of the engine's CPU attention (vllm/v1/attention/backends/cpu_attn.py, get_supported_head_sizes).
CPU_HEAD_DIMS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


def check_checkpoint(config: RigConfig, model: ModelFacts) -> list[Finding]:
    """All findings about ``model``; those about the layout are left out where config.json does not say enough."""
    findings = check_files(model)
    for check in (
        check_tensor_parallel,
        check_kv_heads,
        check_intermediate_size,
        check_pipeline_parallel,
        check_max_model_len,
        check_head_dim,
    ):
        finding = check(config, model)
        if finding:
            findings.append(finding)
    if not model.chat_template and not model.problems:
        findings.append(
            warn(
                "checkpoint.chat_template",
                "the checkpoint has no chat template",
                "a template in tokenizer_config.json or chat_template.jinja",
                "use the completions API alone, or set engine.options.chat-template to a template file",
            )
        )
    return findings


def check_files(model: ModelFacts) -> list[Finding]:
    """One finding a problem, or one that sums up a whole checkpoint."""
    findings = [problem_finding(problem) for problem in model.problems]
    if any(finding.severity == "fail" for finding in findings):
        return findings
    shards = "1 shard" if len(model.shards) == 1 else f"{len(model.shards)} shards"
    method = f", {model.quantisation.method}" if model.quantisation else ""
    found = f"{', '.join(model.architectures)}{method}: {shards}, {format_size(model.tensor_bytes)} of tensors"
    return [ok("checkpoint.files", found), *findings]


def problem_finding(problem: ModelProblem) -> Finding:
    # A parser's words alone would not say what it tried to parse.
    what = f"{problem.file} is no JSON object" if problem.kind.endswith("-not-json") else problem.file
    return Finding(
        "checkpoint.files",
        "warn" if problem.kind in HARMLESS else "fail",
        f"{what}: {problem.detail}",
        "a whole checkpoint: config.json, tokenizer and every safetensors shard at its full size",
        REMEDIES.get(problem.kind, f"download {problem.file} again: `rigappliance fetch`"),
    )


def check_tensor_parallel(config: RigConfig, model: ModelFacts) -> Finding | None:
    """Each rank computes whole attention heads."""
    ranks, heads = config.engine.tensor_parallel, model.heads
    if heads is None:
        return None
    if heads % ranks == 0:
        return ok("checkpoint.tensor_parallel", f"{heads} attention heads over {ranks} ranks")
    return fail(
        "checkpoint.tensor_parallel",
        f"engine.tensor_parallel {ranks} does not divide the model's {heads} attention heads",
        f"a divisor of {heads}",
        f"set engine.tensor_parallel to {largest_divisor(heads, ranks)}",
    )


def largest_divisor(number: int, at_most: int) -> int:
    return next(candidate for candidate in range(min(at_most, number), 0, -1) if number % candidate == 0)


def check_kv_heads(config: RigConfig, model: ModelFacts) -> Finding | None:
    """KV heads are shared out, or, where there are fewer than ranks, copied evenly."""
    ranks, heads = config.engine.tensor_parallel, model.kv_heads
    if heads is None:
        return None
    if heads % ranks == 0 or ranks % heads == 0:
        return ok("checkpoint.kv_heads", f"{heads} KV heads over {ranks} ranks")
    return fail(
        "checkpoint.kv_heads",
        f"engine.tensor_parallel {ranks} neither divides the model's {heads} KV heads nor is a multiple of them",
        f"a divisor or a multiple of {heads}",
        f"set engine.tensor_parallel to {largest_divisor(heads, ranks)}",
    )


def check_intermediate_size(config: RigConfig, model: ModelFacts) -> Finding | None:
    """Each rank computes a slice of the MLP, which must not cut through a group of GPTQ's scales."""
    ranks, size = config.engine.tensor_parallel, model.intermediate_size
    if size is None:
        return None
    quantisation = model.quantisation
    grouped = quantisation is not None and quantisation.method in ("gptq", "awq") and (quantisation.group_size or 0) > 0
    group = quantisation.group_size or 1 if quantisation and grouped else 1
    if ranks == 1 or (size % ranks == 0 and size // ranks % group == 0):
        return ok("checkpoint.intermediate_size", f"MLP of {size} over {ranks} ranks")
    return fail(
        "checkpoint.intermediate_size",
        f"the MLP's intermediate size {size} cannot be shared by {ranks} ranks"
        + (f" in groups of {group}" if group > 1 else ""),
        f"a multiple of {ranks * group}",
        "lower engine.tensor_parallel and raise engine.pipeline_parallel, or use a padded version of the checkpoint",
    )


def check_pipeline_parallel(config: RigConfig, model: ModelFacts) -> Finding | None:
    """Each stage needs a layer."""
    stages, layers = config.engine.pipeline_parallel, model.layers
    if layers is None:
        return None
    if stages <= layers:
        return ok("checkpoint.pipeline_parallel", f"{layers} layers in {stages} stages")
    return fail(
        "checkpoint.pipeline_parallel",
        f"engine.pipeline_parallel {stages} is more than the model's {layers} layers",
        f"at most {layers}",
        f"set engine.pipeline_parallel to {layers} or less",
    )


def check_max_model_len(config: RigConfig, model: ModelFacts) -> Finding | None:
    """Beyond the trained positions the engine refuses, unless an environment variable says otherwise."""
    length, positions = config.engine.max_model_len, model.max_positions
    if positions is None:
        return None
    if length <= positions:
        return ok("checkpoint.max_model_len", f"{length} tokens of the model's {positions}")
    found = f"engine.max_model_len {length} is more than the model's {positions} positions"
    remedy = f"set engine.max_model_len to {positions} or less"
    if config.engine.environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") in ("1", "true"):
        return warn(
            "checkpoint.max_model_len", f"{found}, and the engine is to accept it", f"at most {positions}", remedy
        )
    return fail("checkpoint.max_model_len", found, f"at most {positions}", remedy)


def check_head_dim(config: RigConfig, model: ModelFacts) -> Finding | None:
    """On the CPU the engine notices an unsupported head size at the first request only, and dies of it."""
    size = model.head_dim
    if size is None or config.engine.device != "cpu":
        return None
    if size >= 64 and size in CPU_HEAD_DIMS:
        return ok("checkpoint.head_dim", f"heads of {size}")
    known = ", ".join(str(dim) for dim in CPU_HEAD_DIMS if dim >= 64)
    found = f"the model's heads have size {size}"
    remedy = "serve another model, or set engine.device to cuda"
    if size in CPU_HEAD_DIMS:
        return warn("checkpoint.head_dim", f"{found}, which the engine lists and nobody has tried", known, remedy)
    return fail("checkpoint.head_dim", f"{found}, which the engine's CPU attention refuses", f"one of {known}", remedy)
