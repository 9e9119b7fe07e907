"""Profiles: values that stand in for what a configuration leaves unset.

``rig`` adds nothing, because the defaults of :mod:`rigappliance.config` are its
values.
"""

from __future__ import annotations

PROFILES: dict[str, dict[str, object]] = {
    "rig": {},
    # Small enough for two cores and 4 GB, quick enough to be watched. Its paths are below the working directory.
    "demo": {
        "state_dir": ".rigappliance/state",
        "model": {"path": ".rigappliance/checkpoint", "name": "tiny-qwen2"},
        "engine": {
            "python": ".engine/bin/python",
            "entrypoint": "module",
            "device": "cpu",
            "tensor_parallel": 1,
            "max_model_len": 1024,
            "max_num_seqs": 8,
            "dtype": "bfloat16",
            "kv_cache_memory": "256MiB",
        },
        "memory": {"max": "90%", "swap": "0B"},
        "hardware": {"cards": 0, "ram": "4GB"},
        "launch": {"stall_timeout": "3min", "probe_interval": "30s", "probe_timeout": "60s", "drain_timeout": "5s"},
    },
}
