"""What the engine computes before it can serve, kept from one start to the next, and carried to identical rigs.

The engine writes into ``cache/`` of the state directory, and finds its files there by keys of its own.  After a start
that got ready that content is sealed: a manifest names every file with its size and SHA-256, and who used it last.
Before a start only what a manifest vouches for is left where the engine looks.
"""
