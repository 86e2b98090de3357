"""LaPa-D, full system, reference recipe; scores at the original size of each photograph."""

from configs import base


def get_config():
    c = base.get_config()
    c.data.name = "lapa_d"
    c.data.config = "official"
    c.eval.label_size = -1
    return c
