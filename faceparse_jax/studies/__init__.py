"""Several runs of one config side by side: planned, run, told."""
