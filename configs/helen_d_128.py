"""Helen-D at 128 px, full system, 500 steps; scores at the original size of each photograph."""

from configs import helen_d, small


def get_config():
    return small.at_128(helen_d.get_config())
