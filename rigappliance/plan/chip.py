"""What a card's chip decides of its memory: the context, the buffers of Marlin and of cuBLAS."""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.facts.gpu import CardFacts
from rigappliance.plan.cardtable import card_named
from rigappliance.plan.coefficients import Coefficients, shipped

# Threads that a multiprocessor keeps resident: CUDA C++ Programming Guide, table of technical specifications by compute
# capability.
RESIDENT_THREADS = {
    (6, 0): 2048, (6, 1): 2048, (7, 0): 2048, (7, 5): 1024, (8, 0): 2048, (8, 6): 1536, (8, 9): 1536, (9, 0): 2048,
    (10, 0): 2048, (12, 0): 1536,
}  # fmt: skip
USUAL_THREADS = 1536
# A card that the table lacks is taken for the RTX 3090 that vram.cuda_context was read on.
USUAL_MULTIPROCESSORS = 82
# torch, ATen/cuda/CUDABlas.cpp: eight buffers of 4 MiB on Hopper and data centre Blackwell, else two of them and eight
# of 16 KiB.
LARGE_WORKSPACE_BYTES, WORKSPACE_BYTES = 32 << 20, (8 << 20) + (128 << 10)
# vllm, csrc gptq_marlin: a float32 sum for each multiprocessor, 256 outputs by as many tokens as a block has, in
# sixteens up to 64.
MARLIN_OUTPUTS, MARLIN_TOKENS, MARLIN_STEP = 256, 64, 16


@dataclass(frozen=True)
class Chip:
    """``known`` is false where the card does not say what it is."""

    multiprocessors: int = USUAL_MULTIPROCESSORS
    capability: tuple[int, int] | None = None
    known: bool = False

    @property
    def threads(self) -> int:
        """Threads that are resident at once."""
        each = USUAL_THREADS if self.capability is None else RESIDENT_THREADS.get(self.capability, USUAL_THREADS)
        return self.multiprocessors * each

    def context_bytes(self, numbers: Coefficients) -> int:
        """CUDA's context: the driver keeps a stack for every resident thread, whatever is run.

        What a rig has measured itself goes before that, and no chip is taken for less than vram.cuda_context: what
        several ranks' libraries load before the engine's snapshot was read on no small one.
        """
        least_bytes = numbers.size_bytes("vram.cuda_context")
        if not self.known or numbers["vram.cuda_context"] != shipped()["vram.cuda_context"]:
            return least_bytes
        stacks = self.threads * numbers.number("vram.context_thread")
        return max(least_bytes, round(numbers.number("vram.context_base") + stacks))

    @property
    def workspace_bytes(self) -> int:
        """cuBLAS's, from torch's allocator at its first product."""
        return LARGE_WORKSPACE_BYTES if self.capability in ((9, 0), (10, 0)) else WORKSPACE_BYTES

    def marlin_sum_bytes(self, tokens: int) -> int:
        """The buffer in which Marlin adds up partial sums of a step of ``tokens``."""
        block = min(-(-tokens // MARLIN_STEP) * MARLIN_STEP, MARLIN_TOKENS)
        return self.multiprocessors * block * MARLIN_OUTPUTS * 4


def chip_of(card: CardFacts | int) -> Chip:
    """By the name of the card."""
    found = card_named(card.name, card.memory_total_bytes) if isinstance(card, CardFacts) and card.name else None
    return Chip(found.multiprocessors, found.capability, known=True) if found else Chip()
