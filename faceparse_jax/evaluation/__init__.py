"""Held-out data to one summed confusion matrix for each route, and from there to scores."""
