r"""All three networks at 256 px on rendered heads without end: the recipe of those that ship.

    python -m faceparse_jax.main --config configs/heads_system.py --workdir runs/heads_system

It is for a GPU, which renders the heads itself.
"""

from faceparse_jax.configs import heads, recipes


def get_config():
    c = recipes.full_system(heads.get_config())
    c.seed = 1  # other heads than those of `heads`
    c.data.size = 256
    c.data.heads = c.data.reuse = 0
    c.augment.crop = 224
    c.optim.translator_rate = 1e-3
    c.optim.warmup_steps = 200
    c.train.batch = 32
    c.train.steps = 8000
    c.eval.every = c.log.pictures_every = c.train.steps
    c.eval.batch = 32
    c.checkpoint.every = 500
    c.checkpoint.best = "rgb"  # photographs with depth are rare
    return c
