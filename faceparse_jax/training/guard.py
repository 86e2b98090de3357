"""What ends a run early: numbers that are not finite, and signals."""

import math
import signal
from collections.abc import Callable, Mapping

import jax
import numpy as np

from faceparse_jax.errors import NonFiniteError
from faceparse_jax.runtime import interrupts, records
from faceparse_jax.runtime.places import Place

NON_FINITE = "non_finite.json"
"""In the workdir: step, terms and examples where a run met a number that is not finite."""


class Watch:
    """Keeps the losses of the steps since the last look, on the device.

    Args:
        workdir: of the run.
        ids: rows of the training split to the examples' ids.
        lead: whether this process writes.
    """

    def __init__(self, workdir: Place, ids: Callable[[np.ndarray], list[str]], lead: bool):
        self._workdir, self._ids, self._lead = workdir, ids, lead
        self._steps: list[tuple[int, dict[str, jax.Array], np.ndarray]] = []

    def add(self, step: int, scalars: Mapping[str, jax.Array], index: np.ndarray) -> None:
        """Remembers a step's loss terms and the rows of its batch; waits for nothing."""
        terms = {k: v for k, v in scalars.items() if k.startswith("loss")}
        self._steps.append((step, terms, index))

    def look(self) -> None:
        """Checks the steps since the last look.

        Raises:
            NonFiniteError: a term was not finite; the first such step is in `NON_FINITE`.
        """
        steps, self._steps = self._steps, []
        for (step, _, index), terms in zip(
            steps, jax.device_get([terms for _, terms, _ in steps]), strict=True
        ):
            bad = {name: str(float(v)) for name, v in terms.items() if not math.isfinite(v)}
            if bad:
                self._tell(step, bad, index)

    def _tell(self, step: int, bad: Mapping[str, str], index: np.ndarray) -> None:
        ids = self._ids(index)
        if self._lead:
            record = {"step": step, "terms": dict(bad), "examples": ids}
            records.write(self._workdir / NON_FINITE, record)
        terms = ", ".join(f"{name} = {value}" for name, value in bad.items())
        raise NonFiniteError(
            f"{self._workdir}, step {step}",
            f"{terms} (batch of {', '.join(ids)})",
            "finite numbers; checkpoints before that step are kept",
            f"python -m faceparse_jax.main --mode replay --workdir {self._workdir}; then mend "
            "these examples, or lower config.optim.rate in another --workdir",
        )


def signal_at(step: int) -> int:
    """The signal that asks the run to stop at this step; 0 for none.

    Over several processes all of them get it at the same step, from JAX's preemption service.
    """
    if jax.process_count() == 1:
        return interrupts.came()
    from jax.experimental import multihost_utils

    if interrupts.came():
        signal.raise_signal(signal.SIGTERM)  # what the service catches, and nothing else
    stop = multihost_utils.reached_preemption_sync_point(step)
    return interrupts.came() or signal.SIGTERM if stop else 0
