"""Parts of bench.no_avx: the processor, its emulator, what is tried, and the operations that are tried on it."""
