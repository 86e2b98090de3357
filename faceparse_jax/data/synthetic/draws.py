"""How the numbers of a head are drawn."""

from typing import Any

import numpy as np

Head = dict[str, Any]
"""Parameters of one head: name -> float32 scalar or small vector."""


def near(r: np.random.Generator, mean: float, spread: float) -> float:
    """A normal number, cut at 2.5 spreads to either side."""
    return mean + spread * np.clip(r.normal(), -2.5, 2.5)


def chance(r: np.random.Generator, p: float) -> float:
    """1 with probability `p`, else 0."""
    return float(r.random() < p)
