"""What an operator measures on a rig: ``rigappliance bench``."""
