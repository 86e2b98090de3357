"""One run: set up, stepped, watched, logged, saved."""
