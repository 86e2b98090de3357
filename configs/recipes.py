"""How the networks are trained, for the full size and for a small machine."""


def at_512(c):
    """The public BiSeNet recipe (zllrunning/face-parsing.PyTorch), for GPUs or TPUs, in place.

    Rotation is not part of that recipe.
    """
    c.data.size = 512
    c.augment.crop = 448
    c.augment.scales = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    c.augment.flip = 0.5
    c.augment.rotate = 10.0
    c.augment.jitter = 0.5
    c.model.backbone = 18
    c.optim.kind = "sgd"
    c.optim.rate = 1e-2
    c.optim.momentum = 0.9
    c.optim.weight_decay = 5e-4
    c.optim.head_factor = 10.0
    c.optim.schedule = "poly"
    c.optim.warmup_steps = 1000
    c.optim.warmup_rate = 1e-5
    c.train.steps = 80_000
    c.train.batch = 16
    return c


def full_system(c):
    """All three networks: both parsers, the translator, and mutual learning; in place.

    The weights are our choice, since the paper's are not known (docs/departures.md).
    """
    c.loss.rgb = 1.0
    c.loss.depth = 1.0
    c.loss.e2e = 1.0
    c.loss.mutual = 0.1
    c.loss.translation = 10.0
    c.loss.adversarial = 0.0
    return c


def at_128(c):
    """A recipe for 128 px and 500 steps, for a small set or a small machine; in place.

    From scratch and within few steps, AdamW with weaker scaling and colour jitter learns
    several times faster than the reference recipe (compared on validation data of
    CelebAMask-HQ).
    """
    c.data.size = 128
    c.data.cache = True
    c.augment.crop = 112
    c.augment.scales = (0.75, 1.0, 1.25, 1.5)
    c.augment.rotate = 0.0
    c.augment.jitter = 0.25
    c.optim.kind = "adamw"
    c.optim.rate = 1e-3
    c.optim.weight_decay = 0.05
    c.optim.head_factor = 1.0
    c.optim.schedule = "cosine"
    c.optim.warmup_steps = 50
    c.optim.warmup_rate = 1e-4
    c.train.steps = 500
    c.eval.every = 125
    c.log.every = 25
    c.log.pictures_every = 500
    c.checkpoint.every = 125
    return c
