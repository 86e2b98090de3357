"""CelebAMask-HQ-D at 512 px, full system; scores at 512 px."""

from faceparse_jax.configs import base, recipes


def get_config():
    c = recipes.full_system(recipes.at_512(base.get_config()))
    c.data.name = "celebamask_hq_d"
    c.data.config = "official"
    c.eval.label_size = 512
    return c
