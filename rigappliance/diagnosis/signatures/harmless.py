"""Lines that have a cause's words and are none: guesses, advice, and what only costs a convenience."""

from __future__ import annotations

from rigappliance.diagnosis.signature import consequence, harmless

HARMLESS = (
    # It says that a worker died, and then guesses at several causes.
    consequence("ray-guesses", "There are some potential root causes", "Ray"),
    harmless("inotify-watches", "inotify", "libfuse, watchers", r"inotify_\w+.*No space left on device"),
    harmless("nccl-ras", "Call to bind failed", "NCCL", r"client_support|RAS|ras"),
    harmless("hub-retry", "Error retrieving ", "transformers_utils/repo_utils"),
    harmless("fd-advice", "This can cause fd limit errors like", "utils/system_utils"),
    harmless("extension-import", "Failed to import from vllm.", "platforms", r"^(?!.*libnuma)"),
    harmless(
        "loader-goes-on",
        "rigappliance loader:",
        "loader/pace, plugin, ranks, reader",
        r"nothing moved for|falls back to the stock loader|reads for itself|the common read ended early",
    ),
    harmless("request-echo", "Received request ", "entrypoints/logger"),
    harmless("input-dump", "Dumping input data", "logging_utils/dump_input"),
    harmless("scheduler-dump", "Dumping scheduler ", "logging_utils/dump_input"),
)
