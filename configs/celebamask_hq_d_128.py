"""CelebAMask-HQ-D at 128 px, full system, 500 steps; scores at 128 px."""

from configs import celebamask_hq_d, small


def get_config():
    c = small.at_128(celebamask_hq_d.get_config())
    c.eval.label_size = 0
    return c
