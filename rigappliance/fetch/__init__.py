"""The checkpoint: brought from the Hugging Face Hub by the engine's own `hf`, verified file by file, remembered.

`hf` looks up and downloads; what lies on the disk is hashed here, against the checksums of the hub's own listing,
so that an interrupted verification goes on where it was and a repaired shard does not mean reading all others again.
"""
