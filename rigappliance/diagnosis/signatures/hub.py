"""The model hub, where model.path is a name and not a directory."""

from __future__ import annotations

from rigappliance.diagnosis.result import Confidence
from rigappliance.diagnosis.signature import Signature, hint

MISSING = "checkpoint-missing"

HUB = (
    Signature("hub-validate", MISSING, "HFValidationError", "huggingface_hub", r"Repo id must|HFValidationError: "),
    Signature("hub-not-found", MISSING, "RepositoryNotFoundError", "huggingface_hub"),
    Signature(
        "hub-no-name",
        MISSING,
        "is not a local folder and is not a valid model identifier",
        "transformers",
        confidence=Confidence.CERTAIN,
    ),
    Signature("hub-gated", "checkpoint-unreadable", "Cannot access gated repo", "huggingface_hub"),
    Signature("hub-gated-name", "checkpoint-unreadable", "You are trying to access a gated repo", "transformers"),
    Signature("hub-gated-error", "checkpoint-unreadable", "GatedRepoError", "huggingface_hub"),
    Signature("hub-entry", MISSING, "EntryNotFoundError", "huggingface_hub", r"(?<!Local)EntryNotFoundError: "),
    hint("hub-unauthorised", "checkpoint-unreadable", "401 Client Error", "huggingface_hub"),
    hint("hub-pool", MISSING, "HTTPSConnectionPool(host='huggingface.co'", "requests"),
    hint("hub-offline", MISSING, "LocalEntryNotFoundError", "huggingface_hub"),
    hint("hub-connection", MISSING, "We couldn't connect to 'https://huggingface.co'", "transformers"),
    hint("hub-offline-mode", MISSING, "OfflineModeIsEnabled", "huggingface_hub"),
)
