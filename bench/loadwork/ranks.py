"""N ranks of the engine's own model class, each a process, that load a checkpoint together when they are told to.

Run by the engine's interpreter: ``ranks.py CHECKPOINT RANKS``. One parent imports the engine and forks the ranks before
any thread of it computes, which saves N - 1 imports. Each builds the model that its rank would have, on the CPU and
with all its memory touched, and then obeys orders: a line of JSON on standard input, one on standard output.

What is not real: the process groups are sizes and ranks alone (as in tests/engine/meta_weights.py), the kernel is
Marlin's class without its repacking, and nothing is copied to a card.
"""

from __future__ import annotations

import ctypes
import gc
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# Before anything of the engine is imported.
os.environ.update(
    OMP_NUM_THREADS="1", VLLM_LOGGING_LEVEL="WARNING", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1",
    CUDA_VISIBLE_DEVICES="",
)  # fmt: skip

from rigappliance.loader import plugin, register
from rigappliance.loader.plugin import SequentialLoader
from rigappliance.loader.ranks import StoreMeeting
from tests.engine import meta_weights
from tests.engine.meta_weights import Group, choose_marlin

import torch  # type: ignore[import-not-found]  # isort: skip
from tqdm import tqdm  # type: ignore[import-untyped]
from vllm.config import ModelConfig, VllmConfig, set_current_vllm_config
from vllm.config.load import LoadConfig
from vllm.distributed import parallel_state
from vllm.model_executor.model_loader import get_model_loader, weight_utils
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.utils.torch_utils import set_default_torch_dtype

# What no checkpoint of the bench holds in every byte: a parameter that keeps it was not loaded.
BLANK = 0xA5
PIECE_BYTES = 16 << 20
LINGER_S = 120.0
PREFETCH = weight_utils._prefetch_all_checkpoints


class Rank:
    def __init__(self, checkpoint: str, rank: int, ranks: int) -> None:
        self.rank, self.ranks = rank, ranks
        self.store: Any = None
        tensor, alone = Group(ranks, rank), Group(1, 0)
        parallel_state._TP = parallel_state._EP = parallel_state._WORLD = tensor
        parallel_state._PP = parallel_state._DCP = parallel_state._PCP = parallel_state._DP = alone
        self.model_config = ModelConfig(
            model=checkpoint, tokenizer=checkpoint, skip_tokenizer_init=True, max_model_len=2048
        )
        self.config = VllmConfig(model_config=self.model_config)
        with set_default_torch_dtype(self.model_config.dtype), set_current_vllm_config(self.config):
            self.model = initialize_model(self.config)

    def buffers(self) -> list[tuple[str, memoryview]]:
        """Every parameter's memory, by name."""
        found = []
        for name, parameter in sorted(self.model.named_parameters()):
            flat = parameter.data.view(-1).view(torch.uint8)
            found.append((name, memoryview(flat.numpy())))
        return found

    def blank(self) -> None:
        for parameter in self.model.parameters():
            parameter.data.view(-1).view(torch.uint8).fill_(BLANK)

    def digests(self) -> dict[str, int]:
        return {name: zlib.crc32(buffer) for name, buffer in self.buffers()}

    def load(self, directory: str, options: dict[str, Any], meeting: str) -> None:
        self.model_config.model = directory
        # With process groups the ranks divide the shards between them; each would prefetch all of them here.
        weight_utils._prefetch_all_checkpoints = lambda files, **how: PREFETCH(files[self.rank :: self.ranks], **how)
        with set_current_vllm_config(self.config):
            loader = get_model_loader(LoadConfig(use_tqdm_on_load=False, **options))
            if isinstance(loader, SequentialLoader):
                store = torch.distributed.PrefixStore(meeting, self.store)
                loader.meet = StoreMeeting(store, self.rank, self.ranks, loader.options.stall_s)
            loader.load_weights(self.model, self.model_config)

    def load_own_file(self, directory: str) -> None:
        """What a re-sharder would make possible: this rank's bytes in one file, in the order of the parameters."""
        with Path(directory, "ranks", f"{self.rank}.bin").open("rb", buffering=0) as file:
            for _, buffer in self.buffers():
                for begin in range(0, len(buffer), PIECE_BYTES):
                    file.readinto(buffer[begin : begin + PIECE_BYTES])

    def write_own_file(self, directory: str) -> None:
        with Path(directory, "ranks", f"{self.rank}.bin").open("wb") as file:
            for _, buffer in self.buffers():
                file.write(buffer)

    def obey(self, order: dict[str, Any], channel: Any) -> dict[str, Any]:
        match order["do"]:
            case "load":
                return self.timed(order, channel)
            case "write":
                self.write_own_file(order["directory"])
        return {}

    def timed(self, order: dict[str, Any], channel: Any) -> dict[str, Any]:
        self.blank()
        enter(order["doors"])
        channel.send({"ready": True})
        channel.recv()
        time.sleep(self.rank * order["stagger_s"])
        threads = set(threading.enumerate())
        before, started, error = resource.getrusage(resource.RUSAGE_SELF), time.monotonic(), ""
        try:
            if order["options"] is None:
                self.load_own_file(order["directory"])
            else:
                self.load(order["directory"], order["options"], order["meeting"])
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
        ended, after = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        channel.send({"ended": True})
        channel.recv()
        # A prefetch may still be reading what nobody waits for any more.
        for thread in set(threading.enumerate()) - threads:
            thread.join(LINGER_S)
        enter(order["home"])
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return {
            "rank": self.rank, "error": error, "started_s": started, "ended_s": ended, "digests": self.digests(),
            "major_faults": after.ru_majflt - before.ru_majflt,
            "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        }  # fmt: skip


def enter(doors: list[str]) -> None:
    for door in doors:
        Path(door).write_text(str(os.getpid()))


def read_ahead_of_all(directory: str, doors: list[str]) -> None:
    """The outside reader: every shard from its first byte to its last, as fast as the disk gives them."""
    enter(doors)
    piece = bytearray(1 << 20)
    for path in sorted(Path(directory).glob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while file.readinto(piece):
                pass


def common_store(place: str, rank: int, ranks: int) -> Any:
    """As an engine's process group has it: rank 0 serves it by TCP."""
    file = torch.distributed.FileStore(place, ranks)
    if rank == 0:
        store = torch.distributed.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
        file.set("port", str(store.port))
        return store
    return torch.distributed.TCPStore("127.0.0.1", int(file.get("port")), None, False, wait_for_workers=False)


def be_rank(checkpoint: str, rank: int, ranks: int, channel: Any, place: str) -> None:
    torch.set_num_threads(1)
    me = Rank(checkpoint, rank, ranks)
    me.store = common_store(place, rank, ranks)
    me.blank()
    # Its monitor would be one more thread that a load leaves behind, and which is waited for.
    tqdm.monitor_interval = 0
    channel.send({"built": sum(len(buffer) for _, buffer in me.buffers())})
    while (order := channel.recv()) is not None:
        channel.send(me.obey(order, channel))


def main(checkpoint: str, ranks: int) -> None:
    context = multiprocessing.get_context("fork")
    pipes, processes = [], []
    place = tempfile.mkdtemp(prefix="rigbench-store-")
    gc.freeze()
    for rank in range(ranks):
        mine, theirs = context.Pipe()
        process = context.Process(
            target=be_rank, args=(checkpoint, rank, ranks, theirs, f"{place}/meeting"), daemon=True
        )
        process.start()
        theirs.close()
        pipes.append(mine)
        processes.append(process)

    def ask(message: Any) -> list[Any]:
        for pipe in pipes:
            pipe.send(message)
        return [pipe.recv() for pipe in pipes]

    say({"built": [pipe.recv()["built"] for pipe in pipes]})
    # All have opened it.
    shutil.rmtree(place)
    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        # Where the ranks of this one load find each other.
        order["meeting"] = f"meeting-{number}"
        answers = ask(order)
        if order["do"] == "load":
            say({"ready": True})
            sys.stdin.readline()
            outside = None
            if order.get("outside"):
                outside = context.Process(target=read_ahead_of_all, args=(order["directory"], order["doors"]))
                outside.start()
            ask("go")
            if outside is not None:
                outside.kill()
                outside.join()
            say({"ended": True})
            # The one who measures looks at the group before anybody leaves it.
            sys.stdin.readline()
            answers = ask("leave")
        say({"answers": answers})
    for pipe in pipes:
        pipe.send(None)
    for process in processes:
        process.join()


def refuse(reason: str) -> None:
    raise RuntimeError(f"the sequential format would measure the stock loader here: {reason}")


def say(message: dict[str, Any]) -> None:
    os.write(meta_weights.OUTPUT, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    choose_marlin()
    register()
    plugin.fall_back = refuse
    main(sys.argv[1], int(sys.argv[2]))
