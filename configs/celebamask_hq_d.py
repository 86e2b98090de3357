"""CelebAMask-HQ-D, full system, reference recipe: 512 px, crops of 448, 80,000 steps."""

from configs import base


def get_config():
    return base.get_config()
