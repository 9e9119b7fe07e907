"""rigappliance: plan, start, watch and stop vLLM on hardware that is short of everything."""

__version__ = "0.1.0"

# The engine release that every rendered option and every phase marker was read from.
ENGINE_VERSION = "0.32.0"
