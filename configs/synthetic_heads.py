"""The embedded default: the full system on procedural heads, sized for two CPU cores."""

from faceparse_jax.configs import base


def get_config():
    c = base.get_config()
    c.data.name = "synthetic_heads"
    c.data.config = "demo"
    c.data.size = 96
    c.data.cache = True
    c.augment.crop = 96
    c.augment.scales = (0.9, 1.0, 1.25, 1.5)
    c.augment.rotate = 0.0
    c.augment.jitter = 0.25
    c.model.width = 0.5
    c.model.translator_features = 16
    c.optim.kind = "adamw"
    c.optim.rate = 1.5e-3
    c.optim.weight_decay = 0.05
    c.optim.head_factor = 1.0
    c.optim.schedule = "cosine"
    c.optim.warmup_steps = 40
    c.optim.warmup_rate = 1e-4
    c.optim.translator_rate = 1e-3
    c.train.steps = 450
    c.train.batch = 8
    c.eval.every = 225
    c.eval.label_size = 0
    c.log.every = 20
    c.log.pictures_every = 225
    c.checkpoint.every = 150
    return c
