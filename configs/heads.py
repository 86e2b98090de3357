"""An RGB parser at 128 px on heads that are rendered while it trains: it needs no data.

It is for two CPU cores, which need half an hour; `heads_system` is the whole for a GPU.
"""

from faceparse_jax.configs import base, recipes


def get_config():
    c = recipes.at_128(base.get_config())
    c.data.name = "synthetic_heads"
    c.data.config = "rendered"
    c.data.source = "rendered"
    c.data.cache = False
    c.data.heads = 4000
    c.data.reuse = 8
    # The heads themselves vary more than augmentation could make them vary.
    c.augment.scales = (0.9, 1.0, 1.1, 1.25)
    c.augment.rotate = 5.0
    c.augment.jitter = 0.2
    c.model.width = 0.5
    c.model.translator_features = 16
    c.loss.rgb = 1.0
    c.loss.depth = c.loss.e2e = c.loss.mutual = c.loss.translation = 0.0
    c.train.ema = 0.999
    c.train.steps = 3000
    c.eval.every = 500
    c.eval.label_size = 0
    c.log.every = 50
    c.log.pictures_every = 1000
    c.checkpoint.every = 250
    return c
