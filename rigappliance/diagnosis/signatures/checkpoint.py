"""The checkpoint and its tokenizer, in the words of vLLM, safetensors, torch and transformers."""

from __future__ import annotations

from rigappliance.diagnosis.result import Confidence
from rigappliance.diagnosis.signature import Signature, hint

MISSING = "checkpoint-missing"
UNREADABLE = "checkpoint-unreadable"
TRUNCATED = "checkpoint-truncated"
CORRUPT = "checkpoint-corrupt"
UNSUPPORTED = "checkpoint-unsupported"
TOKENIZER = "tokenizer-missing"
CERTAIN = Confidence.CERTAIN

# What our own loader says (rigappliance/loader/errors.py).
LOADER = (
    Signature(
        "loader-short", TRUNCATED, "rigappliance loader:", "loader/errors", r"the file ends at byte", confidence=CERTAIN
    ),
    Signature(
        "loader-header", CORRUPT, "rigappliance loader:", "loader/errors", r"header is damaged", confidence=CERTAIN
    ),
    Signature(
        "loader-changed",
        CORRUPT,
        "rigappliance loader:",
        "loader/errors",
        r"the file has changed since|ranks see different files",
        confidence=CERTAIN,
    ),
    Signature(
        "loader-missing", MISSING, "rigappliance loader:", "loader/errors", r"opened: No such file", confidence=CERTAIN
    ),
    Signature(
        "loader-denied", UNREADABLE, "rigappliance loader:", "loader/errors", r"opened: Permission", confidence=CERTAIN
    ),
)
CHECKPOINT = (
    *LOADER,
    Signature(
        "incomplete", TRUNCATED, "incomplete metadata, file not fully covered", "safetensors", confidence=CERTAIN
    ),
    Signature("incomplete-old", TRUNCATED, "MetadataIncompleteBuffer", "safetensors", confidence=CERTAIN),
    Signature(
        "header-short", TRUNCATED, "Error while deserializing header", "safetensors", r"header too small|HeaderTooSmall"
    ),
    Signature("header-length", CORRUPT, "Error while deserializing header", "safetensors", confidence=CERTAIN),
    Signature(
        "safetensor-error",
        CORRUPT,
        "SafetensorError",
        "safetensors",
        r"SafetensorError: (?!.*(?:No such file|Permission denied))",
    ),
    Signature("zip-archive", TRUNCATED, "PytorchStreamReader failed reading", "torch"),
    Signature("unpickle", CORRUPT, "_pickle.UnpicklingError", "torch"),
    Signature("config-json", CORRUPT, "is not a valid JSON file", "transformers"),
    Signature("lfs-pointer", CORRUPT, "git-lfs", "transformers", r"git-lfs.*(?:install|clone|pull)"),
    Signature("json-decode", CORRUPT, "json.decoder.JSONDecodeError", "Python"),
    Signature("gguf-magic", CORRUPT, "GGUF magic invalid", "gguf"),
    # Tokenizer before everything general about files.
    Signature("tokenizer-load", TOKENIZER, "Can't load tokenizer for", "transformers", confidence=CERTAIN),
    Signature(
        "tokenizer-class", TOKENIZER, "Tokenizer class", "transformers", r"does not exist or is not currently imported"
    ),
    Signature("tokenizer-backend", TOKENIZER, "Couldn't instantiate the backend tokenizer", "transformers"),
    Signature("tokenizer-vllm", TOKENIZER, "Failed to load the tokenizer", "tokenizers/hf"),
    Signature("tokenizer-merges", TOKENIZER, "data did not match any variant of untagged enum", "tokenizers"),
    Signature(
        "tokenizer-file",
        TOKENIZER,
        "tokenizer",
        "Python",
        r"(?:No such file or directory|not found|does not appear to have a file named).{0,80}tokenizer[\w.]*"
        r"|tokenizer[\w.]*\.(?:json|model).{0,40}(?:No such file|not found|Permission denied)",
    ),
    Signature("sentencepiece", TOKENIZER, "Internal: could not parse ModelProto", "sentencepiece"),
    Signature(
        "denied",
        UNREADABLE,
        "[Errno 13] Permission denied",
        "Python",
        r"\.safetensors|\.json|\.bin|\.gguf|/config|/tokenizer|/model|checkpoint|weights",
    ),
    Signature("denied-rust", UNREADABLE, "Permission denied (os error 13)", "safetensors", confidence=CERTAIN),
    Signature("denied-access", UNREADABLE, "PermissionError at", "huggingface_hub", r"Check (?:cache )?directory"),
    Signature(
        "no-weights", MISSING, "Cannot find any model weights with", "model_loader/default_loader", confidence=CERTAIN
    ),
    Signature(
        "index-missing",
        MISSING,
        "Weight files referenced in index but missing",
        "model_loader/weight_utils",
        confidence=CERTAIN,
    ),
    Signature("no-config", MISSING, "does not appear to have a file named", "transformers"),
    Signature(
        "config-detect",
        MISSING,
        "Could not detect config format for no config file found",
        "transformers_utils/config",
        confidence=CERTAIN,
    ),
    Signature(
        "config-recognise",
        MISSING,
        "Invalid repository ID or local directory specified",
        "transformers_utils/config",
        confidence=CERTAIN,
    ),
    Signature("no-config-format", MISSING, "No supported config format found", "transformers_utils/config"),
    Signature(
        "weights-missing-file",
        MISSING,
        "No such file or directory",
        "safetensors, Python",
        r"\.safetensors|pytorch_model|\.gguf|config\.json|os error 2",
    ),
    Signature(
        "uninitialised",
        MISSING,
        "Following weights were not initialized from checkpoint",
        "model_loader/default_loader",
    ),
    Signature(
        "architectures",
        UNSUPPORTED,
        "Model architectures [",
        "models/registry",
        r"not supported",
        confidence=CERTAIN,
    ),
    Signature("architecture-gone", UNSUPPORTED, "and is not supported anymore", "models/registry"),
    Signature("architecture-plugin", UNSUPPORTED, "is not supported in-tree anymore", "models/registry"),
    Signature(
        "architecture-none", UNSUPPORTED, "No model architectures are specified", "models/registry", confidence=CERTAIN
    ),
    Signature("architecture-transformers", UNSUPPORTED, "is not compatible with vLLM", "models/registry"),
    Signature("architecture-no-module", UNSUPPORTED, "Cannot find model module", "models/registry"),
    Signature("architecture-old-name", UNSUPPORTED, "has no vLLM implementation", "models/registry"),
    Signature(
        "model-type",
        UNSUPPORTED,
        "but Transformers does not recognize this architecture",
        "transformers",
        confidence=CERTAIN,
    ),
    Signature("model-type-none", UNSUPPORTED, "Unrecognized model in", "transformers"),
    Signature("model-class", UNSUPPORTED, "Unrecognized configuration class", "transformers"),
    Signature(
        "trust-remote-code",
        "option-rejected",
        "trust_remote_code=True",
        "transformers, vLLM",
        r"(?:set the option|requires? you to execute|Please (?:pass|set)|argument).*trust_remote_code=True",
    ),
    Signature("quantisation-unknown", UNSUPPORTED, "Unknown quantization method", "config/model", confidence=CERTAIN),
    Signature("quantisation-invalid", UNSUPPORTED, "Invalid quantization method", "quantization"),
    Signature("quantisation-keys", UNSUPPORTED, "in the model's quantization config", "quantization/base_config"),
    Signature("quantisation-config", UNSUPPORTED, "Cannot find the config file for", "model_loader/weight_utils"),
    Signature("quantisation-dtype", UNSUPPORTED, "is not supported for quantization method", "config/vllm"),
    Signature(
        "quantisation-mismatch",
        "option-rejected",
        "does not match the quantization method specified in the `quantization` argument",
        "config/model",
        confidence=CERTAIN,
    ),
    Signature("weight-shape", UNSUPPORTED, "Attempted to load weight (", "model_loader/weight_utils"),
    Signature("weight-no-module", UNSUPPORTED, "There is no module or parameter named", "models/utils"),
    Signature("weight-size", UNSUPPORTED, "size mismatch for", "torch", r"copying a param with shape"),
    Signature("weight-narrow", UNSUPPORTED, "exceeds dimension size", "torch", r"start \(\d+\) \+ length \(\d+\)"),
    Signature(
        "weight-key",
        UNSUPPORTED,
        "KeyError: ",
        "models",
        r"KeyError: '(?:model\.)?(?:layers|lm_head|embed_tokens|norm|encoder|decoder|language_model|visual|blocks)\b",
    ),
    Signature(
        "model-type-key",
        UNSUPPORTED,
        "KeyError: '",
        "transformers",
        r"KeyError: '(?:qwen|llama|mi[sx]tral|gemma|phi|deepseek|(?:chat)?glm|falcon|gpt|kimi|minimax|olmo)[\w.-]*'",
    ),
    Signature(
        "weight-narrow-shape",
        UNSUPPORTED,
        "must match the size of tensor",
        "torch",
        r"The size of tensor a \(\d+\) must match",
    ),
    Signature(
        "head-dim-cpu", UNSUPPORTED, "Unsupported CPU attention configuration", "CPU attention", confidence=CERTAIN
    ),
    hint("config-attribute", UNSUPPORTED, "Config' object has no attribute", "transformers"),
    hint("weight-assert", UNSUPPORTED, "assert param.size() == loaded_weight.size()", "models"),
    hint("weight-assert-shape", UNSUPPORTED, "assert loaded_weight.shape[", "models"),
)
