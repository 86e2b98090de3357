"""What a label is: the schemes, and how labels of one scheme become those of another.

`python -m faceparse_jax.labels` prints every scheme. Nothing here needs more than NumPy
and pydantic.
"""

from faceparse_jax.labels.schemes import (
    CELEBAMASK_HQ,
    CELEBAMASK_HQ_BISENET,
    HELEN,
    IGNORE,
    LAPA,
    MERGE_ORDERS,
    SCHEMES,
    Scheme,
    merge_order_scheme,
    merge_parts,
    scheme,
    table,
)
from faceparse_jax.labels.stored import KEY, as_data, from_data, is_own

__all__ = [
    "CELEBAMASK_HQ",
    "CELEBAMASK_HQ_BISENET",
    "HELEN",
    "IGNORE",
    "KEY",
    "LAPA",
    "MERGE_ORDERS",
    "SCHEMES",
    "Scheme",
    "as_data",
    "from_data",
    "is_own",
    "merge_order_scheme",
    "merge_parts",
    "scheme",
    "table",
]
