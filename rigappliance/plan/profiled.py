"""What the profile run finds on one rank: its peak, which the KV cache has to make room for, and what escapes it."""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.plan.activations import (
    activation_bytes,
    measured_kernels_bytes,
    request_state_bytes,
    sampling_bytes,
)
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.chip import Chip
from rigappliance.plan.sharding.ranks import RankWeights
from rigappliance.plan.tensors import CheckpointShape, UnknownShapeError
from rigappliance.units import format_size


@dataclass(frozen=True)
class Profile:
    """Of one rank; all bytes are 0 for a model whose sizes are not known. ``first``: nothing is compiled yet."""

    shape: CheckpointShape
    arguments: EngineArguments
    weights: RankWeights
    chip: Chip
    last_stage: bool
    marlin: bool
    first: bool = True

    @property
    def step_bytes(self) -> int:
        """The peak of a step: its tensors, and the buffers of the kernels that make them."""
        try:
            step = activation_bytes(self.shape, self.arguments, last_stage=self.last_stage)
        except UnknownShapeError:
            return 0
        tokens = self.arguments.max_num_batched_tokens
        return step + (self.chip.marlin_sum_bytes(tokens) if self.marlin else self.chip.workspace_bytes)

    @property
    def first_start_bytes(self) -> int:
        """What compiling takes meanwhile as long as nothing is in the caches."""
        embedding_bytes = self.weights.bytes_under("model.embed_tokens") if self.first else 0
        try:
            return measured_kernels_bytes(self.shape, self.arguments, embedding_bytes)
        except UnknownShapeError:
            return 0

    @property
    def peak_bytes(self) -> int:
        return max(self.step_bytes, self.first_start_bytes)

    @property
    def note(self) -> str:
        step = f"a step of {self.arguments.max_num_batched_tokens} tokens"
        if self.peak_bytes > self.step_bytes:
            return (
                f"a first start measures kernels on a copy of the embedding; {step} has {format_size(self.step_bytes)}"
            )
        return step

    @property
    def request_state_bytes(self) -> int:
        try:
            return request_state_bytes(self.shape, self.arguments) if self.last_stage else 0
        except UnknownShapeError:
            return 0

    @property
    def sampling_bytes(self) -> int:
        """The profile run samples without what requests may ask for; this is more than its peak."""
        try:
            taken = sampling_bytes(self.shape, self.arguments) if self.last_stage else 0
        except UnknownShapeError:
            return 0
        return max(0, taken - self.step_bytes)

    @property
    def workspace_bytes(self) -> int:
        """Where Marlin makes the products, cuBLAS is called for the logits alone, after the peak."""
        return self.chip.workspace_bytes if self.marlin and self.last_stage else 0
