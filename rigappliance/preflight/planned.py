"""Does the plan fit the cards? Nothing is loaded for forty minutes that the ledger says has no room."""

from __future__ import annotations

from rigappliance.config import RigConfig
from rigappliance.errors import RigError
from rigappliance.facts.gpu import GpuFacts
from rigappliance.preflight.cards import engine_cards
from rigappliance.preflight.finding import Finding, fail, ok, warn


def check_plan(config: RigConfig, gpu: GpuFacts) -> list[Finding]:
    """One finding, or none where the engine uses no cards or where other findings say why nothing can be planned."""
    cards = engine_cards(config, gpu)
    if config.engine.device != "cuda" or len(cards) < config.ranks:
        return []
    if any(card.memory_total_bytes is None for card in cards):
        return []
    # Not at the top: most verbs check nothing.
    from rigappliance.plan.arguments import engine_arguments
    from rigappliance.plan.fit import CardQuestion, Verdict
    from rigappliance.plan.numbers import numbers_for
    from rigappliance.plan.solver import ways
    from rigappliance.plan.tensors import read_shape

    try:
        shape = read_shape(config.model.path)
    except RigError:
        # The findings about the checkpoint say what is wrong with it.
        return []
    try:
        numbers = numbers_for(config.state_dir)
        partition = config.engine.environment.get("VLLM_PP_LAYER_PARTITION")
        question = CardQuestion(shape, cards, numbers, config.hardware.card_margin, partition)
        arguments = engine_arguments(config, cards[0] if cards else None)
        fit = question.fit(arguments)
        if fit.verdict is Verdict.FITS:
            tokens = fit.memory.kv_tokens if fit.memory else None
            return [ok("cards.plan", f"fits, with {tokens or 'an unknown number of'} tokens of KV cache")]
        found = ways(question.fit, arguments, None, [])
    except RigError as error:
        return [
            warn("cards.plan", f"not planned: {error.found}", error.expected or "a model that is known", error.remedy)
        ]
    except Exception as error:
        # A defect of the plan must not keep an engine from being started.
        return [warn("cards.plan", f"not planned, by a defect: {type(error).__name__}: {error}", "a plan", "report it")]
    remedy = (
        f"set {found[0].text} ({found[0].effect})" if found else "see `rigappliance plan`, which shows other layouts"
    )
    kind = fail if fit.verdict is Verdict.TOO_LARGE else warn
    exact = fit.memory is None or fit.memory.exact_weights
    if not exact:
        # An estimate does not forbid anything.
        kind = warn
    return [kind("cards.plan", fit.reason, "room for every line of the ledger, and a margin", remedy)]
