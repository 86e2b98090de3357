"""Helen-D at 128 px, full system, 500 steps; scores at the original size."""

from faceparse_jax.configs import base, recipes


def get_config():
    c = recipes.full_system(recipes.at_128(base.get_config()))
    c.data.name = "helen_d"
    c.data.config = "smith"
    c.eval.label_size = -1
    return c
