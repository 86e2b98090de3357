"""What a run has been shown: counted on the device, added up on the host, kept in checkpoints."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from faceparse_jax.labels import IGNORE


def tally_batch(
    label: Int[Array, "b h w"], has_depth: Bool[Array, " b"], num_classes: int
) -> dict[str, Int[Array, "..."]]:
    """Counts of one batch as the losses see it, after augmentation.

    Returns:
        ``rows_without_label``, rows of which no pixel counts; ``batches_without_depth``, 1 or
        0; ``pixels``, [num_classes] pixels by class.
    """
    labelled = jnp.any(label != IGNORE, axis=(1, 2))
    return {
        "rows_without_label": jnp.sum(~labelled),
        "batches_without_depth": (~jnp.any(has_depth)).astype(jnp.int32),
        # Sums of comparisons: a histogram is a scatter, slow on a TPU.
        "pixels": jnp.stack([jnp.sum(label == k) for k in range(num_classes)]),
    }


class Tally:
    """Sums of `tally_batch` since the run began.

    Args:
        classes: names of the classes.
        before: the `record` of a checkpoint; None at the beginning.
    """

    def __init__(self, classes: tuple[str, ...], before: Mapping[str, Any] | None = None):
        self._classes = classes
        self._pending: list[Mapping[str, jax.Array]] = []
        self._totals: dict[str, Any] = {
            "rows_without_label": 0,
            "batches_without_depth": 0,
            "pixels": [0] * len(classes),
            **(before or {}),
        }

    def add(self, counts: Mapping[str, jax.Array]) -> None:
        """Remembers the counts of a step; waits for nothing."""
        self._pending.append(counts)

    def record(self) -> dict[str, Any]:
        """The sums as plain integers."""
        pending, self._pending = jax.device_get(self._pending), []
        for counts in pending:
            for name in ("rows_without_label", "batches_without_depth"):
                self._totals[name] += int(counts[name])
            pixels = zip(self._totals["pixels"], counts["pixels"].tolist(), strict=True)
            self._totals["pixels"] = [a + b for a, b in pixels]
        return dict(self._totals)

    def scalars(self) -> dict[str, int]:
        """What the log shows."""
        totals = self.record()
        return {
            "seen/rows_without_label": totals["rows_without_label"],
            "seen/batches_without_depth": totals["batches_without_depth"],
            "seen/classes_never": totals["pixels"].count(0),
        }

    def summary(self) -> str:
        """One line of what was missing; empty where nothing was."""
        totals = self.record()
        never = [c for c, n in zip(self._classes, totals["pixels"], strict=True) if not n]
        parts = [
            f"{totals[name]:,} {name.replace('_', ' ')}"
            for name in ("rows_without_label", "batches_without_depth")
            if totals[name]
        ]
        parts += [f"classes never seen: {', '.join(never)}"] if never else []
        return "training data: " + "; ".join(parts) if parts else ""
