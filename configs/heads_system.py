r"""All three networks on rendered heads, from the RGB parser of `heads_256`: the last part.

    python -m faceparse_jax.main --config configs/heads_system.py --workdir runs/heads_system \
      --config.model.init=runs/heads_256
"""

from faceparse_jax.configs import heads_256, recipes


def get_config():
    c = recipes.full_system(heads_256.get_config())
    c.seed = 2  # other heads than before
    c.optim.translator_rate = 1e-3
    c.train.ema = 0.99
    c.train.steps = 1000
    c.eval.every = 250
    c.checkpoint.best = "rgb"  # photographs with depth are rare
    return c
