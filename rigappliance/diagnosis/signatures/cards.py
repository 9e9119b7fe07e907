"""Cards, the driver and what they can do."""

from __future__ import annotations

from rigappliance.diagnosis.result import Confidence
from rigappliance.diagnosis.signature import Signature, hint

LOST = "card-lost"
OLD_DRIVER = "driver-too-old"
OLD_CARD = "card-too-old"
NO_DRIVER = "driver-missing"
FEW = "cards-missing"
CERTAIN = Confidence.CERTAIN

CARDS = (
    Signature("fell-off", LOST, "fallen off the bus", "driver", confidence=CERTAIN),
    Signature("gpu-is-lost", LOST, "GPU is lost", "NVML", confidence=CERTAIN),
    Signature("nvml-lost", LOST, "NVMLError_GpuIsLost", "NVML", confidence=CERTAIN),
    Signature("handle-lost", LOST, "Unable to determine the device handle", "nvidia-smi, NVML"),
    Signature("uncorrectable-ecc", LOST, "uncorrectable ECC error", "CUDA", confidence=CERTAIN),
    Signature("ecc-code", LOST, "CUDA_ERROR_ECC_UNCORRECTABLE", "CUDA", confidence=CERTAIN),
    Signature("device-lost", LOST, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA"),
    Signature("hardware-stack", LOST, "Hardware Error", "CUDA", r"CUDA.*(?:hardware stack error|Hardware Error)"),
    Signature("nvlink", LOST, "uncorrectable NVLink error", "CUDA", confidence=CERTAIN),
    Signature("devices-unavailable", "card-memory-taken", "CUDA-capable device(s) is/are busy or unavailable", "CUDA"),
    Signature("driver-insufficient", OLD_DRIVER, "driver version is insufficient for CUDA", "CUDA", confidence=CERTAIN),
    Signature("driver-old-torch", OLD_DRIVER, "NVIDIA driver on your system is too old", "torch", confidence=CERTAIN),
    Signature("ptx-toolchain", OLD_DRIVER, "unsupported toolchain", "CUDA", r"PTX .*unsupported toolchain"),
    Signature("compat-unsupported", OLD_DRIVER, "forward compatibility was attempted on non supported HW", "CUDA"),
    Signature("unsupported-ptx", OLD_DRIVER, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "CUDA"),
    Signature("container-cuda", OLD_DRIVER, "unsatisfied condition: cuda", "nvidia-container-cli", confidence=CERTAIN),
    Signature("system-mismatch", NO_DRIVER, "system has unsupported display driver / cuda driver combination", "CUDA"),
    Signature("nvml-mismatch", NO_DRIVER, "Driver/library version mismatch", "NVML", confidence=CERTAIN),
    Signature("smi-failed", NO_DRIVER, "NVIDIA-SMI has failed", "nvidia-smi", confidence=CERTAIN),
    Signature("no-driver", NO_DRIVER, "Found no NVIDIA driver on your system", "torch", confidence=CERTAIN),
    Signature("libcuda-load", NO_DRIVER, "libcuda.so.1: cannot open shared object file", "ld.so", confidence=CERTAIN),
    Signature("libnvml-load", NO_DRIVER, "NVML Shared Library Not Found", "NVML"),
    Signature("container-driver", NO_DRIVER, "nvidia-container-cli: initialization error", "nvidia-container-cli"),
    Signature("no-gpu-container", NO_DRIVER, "could not select device driver", "docker", r"capabilities: \[\[gpu"),
    Signature("fabric-manager", NO_DRIVER, "system not yet initialized", "CUDA"),
    Signature("cuda-unknown", NO_DRIVER, "CUDA unknown error", "torch", r"this may be due to an incorrectly set up"),
    Signature("no-kernel-image", OLD_CARD, "no kernel image is available for execution", "CUDA", confidence=CERTAIN),
    Signature(
        "old-quantisation",
        OLD_CARD,
        "is not supported for the current GPU. Minimum capability",
        "config/vllm",
        confidence=CERTAIN,
    ),
    Signature(
        "old-bfloat16",
        OLD_CARD,
        "Bfloat16 is only supported on GPUs with compute capability",
        "platforms/cuda",
        confidence=CERTAIN,
    ),
    Signature(
        "old-marlin",
        OLD_CARD,
        "kernel that can implement the",
        "kernels/linear",
        r"[Cc]ompute [Cc]apability|capability",
    ),
    Signature(
        "old-marlin-reason",
        OLD_CARD,
        "requires capability",
        "kernels/linear",
        r"requires capability [\d.]+, current compute capability is",
    ),
    Signature("old-ptxas", OLD_CARD, "Value 'sm_", "ptxas, Triton", r"is not defined for option 'gpu-name'"),
    Signature("old-feature", OLD_CARD, "requires .target sm_", "ptxas", r"requires \.target sm_\d+ or higher"),
    Signature("old-device-torch", OLD_CARD, "which is too old to be supported by", "Triton", r"CUDA capability|device"),
    Signature("card-shared-memory", OLD_CARD, "out of resource: shared memory", "Triton"),
    Signature(
        "old-flash", OLD_CARD, "FlashAttention only supports Ampere GPUs or newer", "flash-attn", confidence=CERTAIN
    ),
    Signature("other-capability", OLD_CARD, "is not compatible with the current PyTorch installation", "torch"),
    hint("unsupported-gpu", OLD_CARD, "not supported on this GPU", "any"),
    hint("no-linear-kernel", OLD_CARD, "Failed to find a kernel that can implement", "kernels/linear"),
    hint("no-attention-backend", OLD_CARD, "No valid attention backend found", "platforms/cuda"),
    Signature("world-size", FEW, "is larger than the number of available GPUs", "config/parallel", confidence=CERTAIN),
    Signature(
        "visible-devices",
        FEW,
        "must be less than or equal to the number of visible devices",
        "v1/worker/gpu_worker",
        confidence=CERTAIN,
    ),
    Signature("local-count", FEW, "to less than max local gpu count", "executor (V0)", confidence=CERTAIN),
    Signature("invalid-ordinal", FEW, "invalid device ordinal", "CUDA"),
    Signature("no-device", FEW, "no CUDA-capable device is detected", "CUDA"),
    Signature("no-gpus", FEW, "No CUDA GPUs are available", "torch"),
    Signature("device-index", FEW, "visible device ordinal", "platforms/interface", r"is out of range"),
    Signature("device-ids-range", FEW, "--device-ids index", "engine/arg_utils", r"is out of range"),
    Signature("ray-few", FEW, "number of required GPUs exceeds the total number", "ray_utils"),
    Signature("ray-few-placement", FEW, "Cannot provide a placement group", "ray_utils"),
    Signature("mps-few", FEW, "ranks on the same device", "NCCL", r"Duplicate GPU detected|ranks on the same device"),
    Signature("duplicate-gpu", FEW, "Duplicate GPU detected", "NCCL"),
    hint("device-type", NO_DRIVER, "Failed to infer device type", "config/device"),
    hint("no-platform", NO_DRIVER, "Device string must not be empty", "torch"),
    hint("cuda-init", NO_DRIVER, "cuInit", "CUDA", r"cuInit.*(?:fail|error|returned)"),
    hint("cuda-device-init", NO_DRIVER, "CUDA driver initialization failed", "torch"),
    hint("nvml-unknown", LOST, "NVMLError_Unknown", "NVML"),
)
