"""Where batches come from: prepared TFDS files, or arrays made from them.

Both modules have `open_split`, `split_ids`, `train_batches` and `eval_batches`. Nothing of
TensorFlow is imported unless its files are read.
"""

import importlib
from types import ModuleType

from faceparse_jax.errors import InputError, not_installed

_MODULES = {"tfds": "faceparse_jax.data.tfds_reader", "arrays": "faceparse_jax.data.arrays_reader"}


def module(kind: str) -> ModuleType:
    """The module that reads ``tfds`` or ``arrays``.

    Raises:
        InputError: another kind, or no TensorFlow for ``tfds``.
    """
    if kind not in _MODULES:
        raise InputError(
            "config.data.source",
            repr(kind),
            " or ".join(map(repr, _MODULES)),
            "set --config.data.source=tfds",
        )
    try:
        return importlib.import_module(_MODULES[kind])
    except ModuleNotFoundError as error:
        what = f"config.data.source {kind!r} (--config.data.source=arrays reads decoded files)"
        raise not_installed(what, error.name, "data") from error
