"""What each rank holds of a checkpoint, by name, under the sharding rules of the pinned engine."""

from rigappliance.plan.sharding.ranks import RankWeights, rank_weights, weights_of_ranks
from rigappliance.plan.sharding.stages import stage_layers

__all__ = ["RankWeights", "rank_weights", "stage_layers", "weights_of_ranks"]
