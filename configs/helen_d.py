"""Helen-D at 512 px, full system; scores at the original size of each photograph."""

from faceparse_jax.configs import base, recipes


def get_config():
    c = recipes.full_system(recipes.at_512(base.get_config()))
    c.data.name = "helen_d"
    c.data.config = "smith"
    c.eval.label_size = -1
    return c
