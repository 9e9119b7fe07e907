"""Does the pinned engine know this kind of model and of quantisation?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rigappliance import ENGINE_VERSION
from rigappliance.config import RigConfig
from rigappliance.facts.model import ModelFacts
from rigappliance.preflight.finding import Finding, fail, ok, warn

DATA = Path(__file__).parent / "data" / f"models-{ENGINE_VERSION}.json"
# Endings that the engine replaces by each other where it lacks an architecture (vllm/config/model.py).
ENDINGS = (
    "ForCausalLM",
    "ForConditionalGeneration",
    "ChatModel",
    "LMHeadModel",
    "ForTextEncoding",
    "EmbeddingModel",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForAudioClassification",
    "ForImageClassification",
    "ForVideoClassification",
    "ClassificationModel",
    "ForRewardModeling",
    "RewardModel",
    "Model",
)
# Other names of methods under which checkpoints carry them (vllm/model_executor/layers/quantization/inc).
ALIASES = {"auto-round": "inc", "intel/auto-round": "inc"}


@dataclass(frozen=True)
class Served:
    """Names that the engine's source has; ``transformers`` are classes that it can serve through that library."""

    architectures: frozenset[str]
    transformers: frozenset[str]
    quantisations: frozenset[str]


@cache
def served() -> Served:
    """Made from the engine by tools/engine_models."""
    tree = json.loads(DATA.read_text(encoding="utf-8"))
    return Served(*(frozenset(tree[name]) for name in ("architectures", "transformers", "quantisations")))


def check_servable(config: RigConfig, model: ModelFacts) -> list[Finding]:
    """Architecture and quantisation; each left out where config.json does not say."""
    findings = [check_architecture(config, model), check_quantisation(model)]
    return [finding for finding in findings if finding]


def check_architecture(config: RigConfig, model: ModelFacts) -> Finding | None:
    if not model.architectures:
        return None
    names = ", ".join(model.architectures)
    if any(is_known(name) for name in model.architectures):
        return ok("checkpoint.architecture", names)
    expected = f"an architecture that vLLM {ENGINE_VERSION} serves"
    if any(name in served().transformers for name in model.architectures):
        return warn(
            "checkpoint.architecture",
            f"{names} is served through transformers alone, slowly if at all",
            expected,
            "expect a failure in the first minutes, or serve another model",
        )
    if config.model.trust_remote_code:
        return warn(
            "checkpoint.architecture",
            f"{names} is served by the code in the checkpoint alone, if at all",
            expected,
            "expect a failure in the first minutes, or serve another model",
        )
    return fail(
        "checkpoint.architecture",
        f"vLLM {ENGINE_VERSION} knows no architecture {names}",
        expected,
        "correct architectures in config.json, or serve another model",
    )


def is_known(name: str) -> bool:
    known = served().architectures
    if name in known:
        return True
    ending = next((ending for ending in ENDINGS if name.endswith(ending)), None)
    return ending is not None and any(name.removesuffix(ending) + other in known for other in ENDINGS)


def check_quantisation(model: ModelFacts) -> Finding | None:
    if model.quantisation is None:
        return None
    method = model.quantisation.method
    plain = method.lower().replace("_", "-")
    known = {name.replace("_", "-") for name in served().quantisations}
    if ALIASES.get(plain, plain) in known:
        return ok("checkpoint.quantisation", method)
    return fail(
        "checkpoint.quantisation",
        f"vLLM {ENGINE_VERSION} knows no quantisation method {method}",
        "one of gptq, awq, fp8, compressed-tensors and other methods of the engine",
        "correct quant_method in config.json, or serve a checkpoint of another quantisation",
    )
