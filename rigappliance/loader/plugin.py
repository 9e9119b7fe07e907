"""The load format in the engine's terms: the stock loader with another source of tensors."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch  # type: ignore[import-not-found]
from tqdm.auto import tqdm  # type: ignore[import-untyped]
from vllm.config import get_current_vllm_config_or_none, replace
from vllm.model_executor import model_loader
from vllm.model_executor.model_loader import weight_utils
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
from vllm.model_executor.model_loader.ep_weight_filter import should_skip_weight

from .errors import PREFIX, LoadError
from .header import Shard, read_shards
from .intercept import Intercept
from .load import weights
from .options import Options
from .ranks import Meet, StoreMeeting, alone

logger = logging.getLogger("vllm.rigappliance.loader")

FORMAT = "sequential"
# A process that loads once more must not find the board of the time before.
LOADS = itertools.count()


class SequentialLoader(DefaultModelLoader):  # type: ignore[misc]
    """Everything but where tensors come from is the stock loader's. ``meet`` decides who reads for whom."""

    def __init__(self, load_config: Any) -> None:
        self.options = Options.parse(load_config.model_loader_extra_config)
        # The stock loader knows its own formats and keys only.
        super().__init__(replace(load_config, load_format="auto", model_loader_extra_config={}))
        self.meet: Meet | None = None
        # Operations of the last load that were no copies and went to the mapping.
        self.touched = 0
        self._intercept: Intercept | None = None

    def load_weights(self, model: Any, model_config: Any) -> None:
        reason = self._why_stock(model_config)
        if reason:
            fall_back(reason)
            super().load_weights(model, model_config)
            return
        meet = self.meet
        self.meet = meet or meeting(model_config, self.options.stall_s)
        self._intercept = Intercept()
        try:
            with self._intercept:
                super().load_weights(model, model_config)
        except LoadError as error:
            logger.error("%s", error)
            raise
        finally:
            self.touched = self._intercept.other_operations
            self._intercept.holdings.close()
            self._intercept, self.meet = None, meet

    def _get_weights_iterator(self, source: Any) -> Iterator[tuple[str, Any]]:
        if self._intercept is None or self.meet is None:
            return self._stock(source)
        folder, files, safetensors, _ = self._prepare_weights(
            source.model_or_path, source.subfolder, source.revision, source.fall_back_to_pt,
            source.allow_patterns_overrides,
        )  # fmt: skip
        if not safetensors:
            fall_back(f"{folder} holds no safetensors files")
            return self._stock(source)
        if source.is_unused_weight is not None:
            files = weight_utils.filter_safetensors_files_by_weight_name(files, source.is_unused_weight)
        shards = read_shards([Path(file) for file in sorted(files, key=weight_utils._natural_sort_key)])
        reason = next((reason for shard in shards if (reason := shard.unsupported())), None)
        if reason:
            fall_back(reason)
            return self._stock(source)
        # As the stock loader does, which tells the seconds from here.
        self.counter_before_loading_weights: float = self.counter_before_loading_weights or time.perf_counter()
        found = weights(shards, self._intercept, self.meet, self.options, self._wants, self._bar)
        return ((source.prefix + name, tensor) for name, tensor in found)

    def _stock(self, source: Any) -> Iterator[tuple[str, Any]]:
        found: Iterator[tuple[str, Any]] = super()._get_weights_iterator(source)
        return found

    def _wants(self, name: str) -> bool:
        return not should_skip_weight(name, self.local_expert_ids)

    def _bar(self, shards: tuple[Shard, ...]) -> Any:
        """The stock loader's own, line by line: the supervisor reads shards from it."""
        return tqdm(
            shards,
            desc="Loading safetensors checkpoint shards",
            disable=not weight_utils.enable_tqdm(self.load_config.use_tqdm_on_load),
            bar_format=weight_utils._BAR_FORMAT,
        )

    def _why_stock(self, model_config: Any) -> str | None:
        strategy = self.load_config.safetensors_load_strategy
        if strategy not in (None, "lazy"):
            return f"safetensors_load_strategy {strategy} was asked for"
        if model_config.quantization == "torchao":
            return "torchao checkpoints are rebuilt from parts"
        multimodal = getattr(model_config, "multimodal_config", None)
        if multimodal is not None and multimodal.mm_encoder_only:
            return "only the encoder of a multimodal model is loaded"
        config = get_current_vllm_config_or_none()
        if config is None:
            return None
        parallel = config.parallel_config
        if parallel.nnodes > 1 or parallel.distributed_executor_backend in ("ray", "external_launcher"):
            return "the ranks may be on more than one host"
        if parallel.enable_eplb:
            return "EPLB gives a rank other experts than its own"
        if config.lora_config is not None:
            return "LoRA adapters are loaded with the model"
        return None


def meeting(model_config: Any, stall_s: float) -> Meet:
    """All ranks of the process group, for the model that all of them load; a draft model may be on one rank alone."""
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return alone
    config = get_current_vllm_config_or_none()
    if config is not None and config.model_config is not model_config:
        return alone
    store = distributed.distributed_c10d._get_default_store()
    return StoreMeeting(store, distributed.get_rank(), distributed.get_world_size(), stall_s, LOADS)


def fall_back(reason: str) -> None:
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        logger.warning("%s falls back to the stock loader: %s", PREFIX, reason)


def register_format() -> None:
    known = model_loader._LOAD_FORMAT_TO_MODEL_LOADER
    if FORMAT not in known:
        model_loader.register_model_loader(FORMAT)(SequentialLoader)
