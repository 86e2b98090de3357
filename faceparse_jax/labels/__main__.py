"""Prints the classes of every scheme: ids, names, sides, colours."""

from faceparse_jax.labels import SCHEMES, table

print("\n\n".join(table(scheme) for scheme in SCHEMES.values()))
