"""Which heads there are, by key, and many of them at a time.

A key belongs to one kind of heads alone:

    below 500,000       those of the prepared sets, which count from 0
    500,000 to 699,999  the validation and test splits of rendered heads, the same for every run
    from 1,000,000 on   what `export` writes
    from 10**19 on      training heads, 10**19 keys for each seed of a run
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from faceparse_jax.data.batches import ahead
from faceparse_jax.data.synthetic.identity import sample_head
from faceparse_jax.data.synthetic.render import check_size, render, render_head
from faceparse_jax.runtime import forms

VERSION = "2.1.0"
"""Of the renderer: another version gives other pictures for a key."""

HELD_OUT = {"validation": range(500_000, 500_200), "test": range(600_000, 600_200)}
"""Keys of the splits that no run trains on."""

_EACH_SEED = 10**19
"""More than a run has rows: 2**31 batches of 2**31 rows."""

_TOGETHER = 16
"""Heads that an accelerator renders at once; more would take more of its memory."""


def training_key(seed: int, number: int) -> int:
    """The key of a training head, counted from 0 within a run's seed."""
    return (seed + 1) * _EACH_SEED + number


def rendered(keys: Sequence[int], size: int) -> dict[str, Shaped[np.ndarray, "b ..."]]:
    """Heads as a batch on the host, each as `render_head` gives it.

    A CPU renders one head after the other on each of its threads, which is faster there and
    leaves out the parts that a head lacks; benchmarks/heads.py measures both forms. Accelerators
    render many at once.

    Args:
        keys: at least one.
        size: side in pixels.

    Returns:
        ``image`` u8 [b s s 3], ``depth`` u8 [b s s 1], ``label`` u8 [b s s] and ``has_depth``
        bool [b].

    Raises:
        InputError: a size or a key that is not possible.
    """
    check_size(size)
    if forms.platform() == "cpu":
        heads = list(ahead(functools.partial(render_head, size=size), keys, len(keys)))
        batch = {name: np.stack([head[name] for head in heads]) for name in heads[0]}
        return batch | {
            "label": batch["label"][..., 0],
            "has_depth": batch["depth"].any((1, 2, 3)),
        }
    # Of few lengths, since each of them is compiled.
    rows = 1 << (len(keys) - 1).bit_length()
    repeated = [*keys, *[keys[-1]] * (rows - len(keys))]
    found = jax.device_get(rendered_on(jax.local_devices()[0], repeated, size))
    return {name: array[: len(keys)] for name, array in found.items()}


def rendered_on(
    device: jax.Device, keys: Sequence[int], size: int
) -> dict[str, Shaped[Array, "b ..."]]:
    """As `rendered`, by one device, on which the batch stays; returns before it is rendered."""
    heads = [sample_head(key) for key in keys]
    stacked = {name: np.stack([head[name] for head in heads]) for name in heads[0]}
    return _many(size)(jax.device_put(stacked, device))


@functools.cache
def _many(size: int):
    def many(heads):
        image, depth, label = jax.lax.map(
            functools.partial(render, size=size), heads, batch_size=_TOGETHER
        )
        depth = depth[..., None]
        has_depth = jnp.any(depth > 0, axis=(1, 2, 3))
        return {"image": image, "depth": depth, "label": label, "has_depth": has_depth}

    return jax.jit(many)
