"""Photographs of your own at 128 px, full system, 500 steps from the networks that ship.

Without depth maps set the weights of depth, e2e, mutual and translation to 0: the build of the
dataset prints such a command.
"""

from faceparse_jax.configs import base, recipes


def get_config():
    c = recipes.full_system(recipes.at_128(base.get_config()))
    c.data.name = "folder"
    c.data.config = "own"
    # The form of the networks that ship, and the rate that fits a start from them.
    c.augment.crop = 96
    c.model.width = 0.5
    c.model.translator_features = 16
    c.model.init = "heads"
    c.optim.rate = 1e-3
    c.eval.label_size = 0
    return c
