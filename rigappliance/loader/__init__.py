"""Load format `sequential`: one pass over the checkpoint for all ranks of the host.

This package runs inside the engine's processes: it imports the standard library, torch and vllm, and nothing else of
rigappliance. It finds its own parts by relative imports, because `provide` puts it under another name where the
engine's interpreter looks. The engine calls :func:`register` through the entry point group `vllm.general_plugins`.
"""

from __future__ import annotations


def register() -> None:
    """Make `--load-format sequential` known to the engine. May be called several times in a process."""
    # Not at the top: the control plane imports this package too, and it has neither torch nor vllm.
    from .plugin import register_format

    register_format()
