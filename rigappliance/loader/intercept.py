"""Every operation on a tensor of the file passes here while weights are loaded."""

from __future__ import annotations

from typing import Any

import torch  # type: ignore[import-not-found]
from torch.utils._python_dispatch import (  # type: ignore[import-not-found]
    TorchDispatchMode,
    is_traceable_wrapper_subclass,
)

from .copying import Copier
from .held import Held, Holdings

COPY = torch.ops.aten.copy_.default
CLONE = torch.ops.aten.clone.default
TO_COPY = torch.ops.aten._to_copy.default


class Intercept(TorchDispatchMode):  # type: ignore[misc]
    """Copies are read from the file; views are none of its business; anything else waits for the tensor's bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.holdings = Holdings()
        self.copier = Copier()
        self.other_operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is COPY:
            held = self._file_of(args[1])
            if held is not None and self._takes(args[0]):
                self.copier.copy(args[0], args[1], held)
                return args[0]
        elif getattr(func, "is_view", False):
            return func(*args, **kwargs)
        elif func is CLONE or func is TO_COPY:
            held = self._file_of(args[0])
            if held is not None and not kwargs.keys() - {"dtype", "device", "memory_format", "non_blocking"}:
                return self._cloned(args[0], held, kwargs)
        for held in self._among(args, kwargs):
            self._touch(held, writes=func._schema.is_mutable)
        return func(*args, **kwargs)

    def _file_of(self, source: Any) -> Held | None:
        """Where to read ``source``: a loader may have worked on it in place, or see it negated or conjugated."""
        held = self.holdings.find(source)
        if held is None or held.written or source.is_neg() or source.is_conj():
            return None
        return held

    def _takes(self, target: Any) -> bool:
        """Memory that bytes can be put into: no shape without data, no tensor made of others, not the file's own."""
        if target.device.type == "meta" or is_traceable_wrapper_subclass(target):
            return False
        return self.holdings.find(target) is None

    def _cloned(self, source: Any, held: Held, kwargs: dict[str, Any]) -> Any:
        options = {key: value for key, value in kwargs.items() if key != "non_blocking" and value is not None}
        target = torch.empty_like(source, **options)
        if target.device.type != "meta":
            self.copier.copy(target, source, held)
        return target

    def _among(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Held]:
        found = []
        for value in (*args, *kwargs.values()):
            for each in value if isinstance(value, list | tuple) else (value,):
                held = self.holdings.find(each)
                if held is not None:
                    found.append(held)
        return found

    def _touch(self, held: Held, writes: bool) -> None:
        """The operation reads the mapping itself: have it all there, and the file still as long as it was."""
        self.other_operations += 1
        held.pace.wait(held.begin, held.end)
        held.file.check()
        held.touched = True
        # Also where it only reads of this one: what is not certain is taken from the mapping, which is always right.
        held.written = held.written or writes
