"""Is the driver new enough for the CUDA that the engine was built with?"""

from __future__ import annotations

from rigappliance.facts.gpu import GpuFacts
from rigappliance.preflight.finding import Finding, fail, ok, warn

# Of the pinned engine's wheels (engine/poetry.lock), where the installed ones do not say.
PINNED_CUDA = 13
# CUDA's release → first driver branch that runs programs of all its minor versions
# (https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html, table 1, 2026-11-23).
LEAST_DRIVER = {11: 450, 12: 525, 13: 580}


def check_driver(gpu: GpuFacts, cuda: int | None) -> Finding:
    """``cuda`` is the release that the engine's wheels were built with, ``None`` where they do not say."""
    release = cuda or PINNED_CUDA
    least = LEAST_DRIVER.get(release)
    version = gpu.driver_version
    if least is None:
        return ok("cards.driver", f"driver {version or 'unknown'}; what CUDA {release} needs is not known")
    expected = f"driver {least} or newer, for the engine's CUDA {release}"
    branch = (version or "").partition(".")[0]
    if not branch.isdigit():
        return warn("cards.driver", "the driver does not tell its version", expected, "see `nvidia-smi`")
    if int(branch) < least:
        runs = f", which runs CUDA {gpu.cuda_version}" if gpu.cuda_version else ""
        remedy = f"install driver {least} or newer (see `apt-cache policy nvidia-driver`), and reboot"
        return fail("cards.driver", f"driver {version}{runs}", expected, remedy)
    return ok("cards.driver", f"driver {version} for CUDA {release}")
