r"""The RGB parser of `heads` at 256 px: the second part of the recipe of the shipped networks.

    python -m faceparse_jax.main --config configs/heads_256.py --workdir runs/heads_256 \
      --config.model.init=runs/heads
"""

from faceparse_jax.configs import heads


def get_config():
    c = heads.get_config()
    c.seed = 1  # other heads than before
    c.data.size = 256
    c.augment.crop = 224
    c.data.heads = 5000
    c.data.reuse = 0  # at this size a head costs as much as four
    c.optim.rate = 5e-4
    return c
