"""How long a start takes: reading the checkpoint, and the silent phase after it.

**Reading.** Every rank walks every file through a mapping and copies its slice.
Ranks that share a tensor walk in step, because the slower ones find in the page
cache what the faster ones read; so the disk is read once, and not once a rank.
It is not read in one sweep, though.  A slice along the matrix's rows lies in one
piece, so eight ranks read eight places of one tensor at the same time; a slice
along its columns is strewn over all rows, and eight ranks together read the
tensor from its start to its end.  GPTQ and AWQ keep a matrix inputs first, so the
output and down projections are the ones in pieces; other checkpoints keep it
outputs first, and all the other matrices are.  Stages of a pipeline are at
different layers and read different places throughout.

A hard disk then seeks for every read-ahead of 128 KiB, which makes 20 MB/s of
161: that, and not a second pass over the disk, is how 77 GB take half an hour.
A larger read-ahead (``/sys/block/…/queue/read_ahead_kb``) makes it faster.  What
the host swaps out to the same disk meanwhile is not counted.

**Silent.** Each rank compiles for itself, warms kernels up, runs the largest
batch once and captures its graphs; on two cores eight ranks do so in turns.
"""

from __future__ import annotations

from math import sqrt

from rigappliance.plan.activations import capture_sizes
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.links import copy_bandwidth
from rigappliance.plan.times import prefill
from rigappliance.plan.times_inputs import Machine
from rigappliance.plan.times_model import Model
from rigappliance.plan.times_split import Split

# Where a disk's size is not known: a common one. It only decides how far the head travels.
DISK_BYTES = 2 * 10**12
# Layers of the model that times.capture_cpu was measured with.
CAPTURE_LAYERS = 28


def load_s(model: Model, machine: Machine, split: Split, known: Coefficients) -> float:
    """Seconds from the first byte of the checkpoint until its last is on a card.

    A rank faults in, copies and sends one after another; the ranks overlap with
    each other, so the longest of the three hides most of the other two.
    """
    disk = disk_s(model, machine, split, known)
    cores = min(machine.cores, split.ranks)
    copying = model.tensor_bytes / (known.number("times.copy_bandwidth") * machine.core_speed * cores)
    sending = model.tensor_bytes / split.ranks / copy_bandwidth(machine.link, split.ranks, known)
    longest = max(disk, copying, sending)
    return longest + (disk + copying + sending - longest) / split.ranks


def disk_s(model: Model, machine: Machine, split: Split, known: Coefficients) -> float:
    """Seconds that the disk needs for one pass by all ranks."""
    kind = "times.disk_sequential_hdd" if machine.disk_rotates else "times.disk_sequential_flash"
    bandwidth = machine.disk_bandwidth or known.number(kind)
    sweep = model.tensor_bytes / bandwidth
    apart = model.tensor_bytes * share_apart(model, split)
    if not machine.disk_rotates or not apart:
        return sweep
    ahead = machine.read_ahead_bytes or known.size_bytes("times.read_ahead")
    seek = seek_s(distance_bytes(model, split), machine.disk_bytes or DISK_BYTES, known)
    return sweep + apart / ahead * (seek + known.number("times.rotation"))


def share_apart(model: Model, split: Split) -> float:
    """Share of the checkpoint that ranks read in several places at the same time."""
    if split.pipeline_parallel > 1:
        return 1.0
    if split.tensor_parallel == 1 or not model.tensor_bytes:
        return 0.0
    in_pieces = model.inputs_split if model.inputs_first else model.outputs_split
    body = model.body_bytes * in_pieces / (model.inputs_split + model.outputs_split)
    # Embedding and head are shared out by vocabulary, which is their first dimension.
    return min(1.0, (body + model.tensor_bytes - model.body_bytes) / model.tensor_bytes)


def distance_bytes(model: Model, split: Split) -> float:
    """How far apart on the disk two such places are."""
    if split.pipeline_parallel > 1:
        return model.tensor_bytes / split.pipeline_parallel
    largest = model.hidden_size * model.intermediate_size / (model.inputs_split + model.outputs_split)
    return model.body_bytes / model.layers * largest / split.tensor_parallel


def seek_s(distance: float, disk_bytes: int, known: Coefficients) -> float:
    """Seconds for the head to travel: at least a track's, for a third of the disk the average's, a root between."""
    track, average = known.number("times.seek_track"), known.number("times.seek_average")
    return track + (average - track) * sqrt(min(1.0, 3 * distance / disk_bytes))


def silent_s(
    model: Model, machine: Machine, split: Split, arguments: EngineArguments, known: Coefficients, *, cached: bool
) -> float:
    """Seconds from the last weight until the server listens; ``cached``: compiled by an earlier start."""
    each = 0.0
    if not arguments.enforce_eager and arguments.optimization_level > 0:
        each = known.number("times.cached_cpu" if cached else "times.compile_cpu")
        graphs = len(capture_sizes(arguments))
        each += graphs * known.number("times.capture_cpu") * model.layers / CAPTURE_LAYERS
    at_work = each * split.ranks / min(machine.cores, split.ranks) / machine.core_speed
    tokens = arguments.max_num_batched_tokens
    return at_work + tokens / prefill(model, machine, split, tokens, tokens, known).tokens_s
