"""The kinds of depth that prediction takes. This module needs no NumPy."""

KINDS = ("benchmark", "metric", "inverse", "auto")
"""``benchmark`` is depth in the benchmarks' form; ``metric`` is the distance from the camera in
any unit; ``inverse`` is larger where the surface is nearer: disparity, or what most networks for
depth from one picture give; ``auto`` chooses among the three by the map itself."""
