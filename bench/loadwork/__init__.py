"""What bench/load.py is made of: a checkpoint, ranks that load it, and the group that limits their memory."""
