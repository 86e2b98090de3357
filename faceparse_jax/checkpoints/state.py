"""The state of a run: plain data."""

from typing import Any

import flax.struct

from faceparse_jax.models.inference import Variables, inference_variables


@flax.struct.dataclass
class TrainState:
    """Everything that a run carries from step to step; dicts are keyed by network.

    `ema` is empty when off, else ``{'params', 'batch_stats'}`` of the running average.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any

    def variables(self) -> Variables:
        """What inference uses: the running average where there is one."""
        if self.ema:
            return inference_variables(self.ema["params"], self.ema["batch_stats"])
        return inference_variables(self.params, self.batch_stats)
