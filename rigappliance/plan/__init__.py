"""What fits and what it will be like, before it is started: ledgers of memory, layouts and times."""
