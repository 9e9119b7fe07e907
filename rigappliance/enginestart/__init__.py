"""The engine's own start, run by the engine's interpreter: its processes are forked from one that has imported all.

The stock engine *spawns*: API server, core and each worker are fresh interpreters that import torch, transformers and
vllm again, which costs seconds of two cores and half a gigabyte of private pages each.  Here the first process imports
once, forks a *template* while it is clean (one thread, no card touched), and becomes the API server; core and workers
are forked from the template and share its pages until they write to them.

    entry         what is executed instead of ``vllm serve`` or the API server module; falls back to them
    environment   variables that have to be set before the imports, and those that may change after
    imports       what is imported once, and whether the engine is the one that this was written for
    immortal      counts of references that nobody writes any more, so that pages stay shared
    holes         free places on shared pages, filled
    sound         why a fork would not be sound here
    template      the process that forks
    request       what it is asked
    reaper        what it becomes when the engine is ready
    popen         ``multiprocessing``'s way to it, in place of spawning
    tune          the readers' spinning, and memory given back when the engine is ready

Imports the standard library and the engine only, nothing else of the control plane.
"""
