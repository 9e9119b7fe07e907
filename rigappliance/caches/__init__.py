"""What the engine computes before it can serve, kept from one start to the next, and carried to identical rigs.

The engine writes into ``cache/`` of the state directory.  After a start that got ready that content is sealed: a
manifest names every file with its size and SHA-256, and for what rig it was made.  Before a start only what a manifest
vouches for is left where the engine looks.
"""
