"""Which rows make up a batch: shares of hosts, epochs of arrays in memory, padding.

NumPy alone; `pipeline` brings the examples.
"""

import functools
from collections.abc import Iterator

import numpy as np

from faceparse_jax.errors import InputError

Batch = dict[str, np.ndarray]


def host_rows(batch_size: int, process_index: int, process_count: int) -> range:
    """The rows of a global batch that belong to one host: a contiguous block.

    Raises:
        InputError: the hosts cannot have equal shares.
    """
    if batch_size < 1 or batch_size % process_count:
        raise InputError(
            "batch size",
            f"{batch_size}",
            f"a positive multiple of the {process_count} hosts",
            f"set it to {max(1, batch_size // process_count) * process_count}",
        )
    local = batch_size // process_count
    return range(process_index * local, (process_index + 1) * local)


def shuffled(arrays: Batch, rows: range, batch_size: int, seed: int, step: int) -> Iterator[Batch]:
    """Endless batches of these rows from `step` on; each epoch has its own permutation.

    Args:
        arrays: the whole split, with ``index`` among the keys.
        rows: the host's rows of every global batch of `batch_size` rows.
    """
    count = len(arrays["index"])

    @functools.lru_cache(maxsize=2)
    def order(epoch):
        return np.random.default_rng((seed, epoch)).permutation(count)

    while True:
        places = (divmod(step * batch_size + row, count) for row in rows)
        chosen = np.array([order(epoch)[place] for epoch, place in places])
        yield {key: value[chosen] for key, value in arrays.items()}
        step += 1


def padded(
    parts: Iterator[Batch], batches: int, rows: int, size: int, label_size: int
) -> Iterator[Batch]:
    """Exactly `batches` batches of `rows` rows with a ``mask`` of those that are real.

    Args:
        parts: full batches, then perhaps a shorter one, then perhaps nothing: a host may
            have no row in the last global batch.
        rows: rows of the host.
        size: side of images and depth.
        label_size: side of labels.
    """
    zeros = {
        "image": np.zeros((rows, size, size, 3), np.uint8),
        "depth": np.zeros((rows, size, size, 1), np.uint8),
        "label": np.zeros((rows, label_size, label_size), np.uint8),
        "has_depth": np.zeros(rows, np.bool_),
        "index": np.zeros(rows, np.int32),
    }
    for _ in range(batches):
        part = next(parts, {key: value[:0] for key, value in zeros.items()})
        filled = len(part["index"])
        if filled < rows:
            part = {k: np.concatenate([part[k], zeros[k][filled:]]) for k in zeros}
        yield part | {"mask": np.arange(rows) < filled}
