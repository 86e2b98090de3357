"""The full system at 128 px on heads that are rendered while it trains: it needs no data."""

from faceparse_jax.configs import base, recipes


def get_config():
    c = recipes.full_system(recipes.at_128(base.get_config()))
    c.data.name = "synthetic_heads"
    c.data.config = "rendered"
    c.data.source = "rendered"
    c.data.cache = False
    c.data.heads = 2000
    c.data.reuse = 4
    c.augment.rotate = 15.0
    c.augment.jitter = 0.5
    c.model.width = 0.5
    c.model.translator_features = 16
    c.train.ema = 0.999
    c.train.steps = 4000
    c.eval.every = 500
    c.eval.label_size = 0
    c.log.every = 50
    c.log.pictures_every = 1000
    c.checkpoint.every = 500
    return c
