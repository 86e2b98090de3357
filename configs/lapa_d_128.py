"""LaPa-D at 128 px, full system, 500 steps; scores at the original size."""

from faceparse_jax.configs import base, recipes


def get_config():
    c = recipes.full_system(recipes.at_128(base.get_config()))
    c.data.name = "lapa_d"
    c.data.config = "official"
    c.eval.label_size = -1
    return c
