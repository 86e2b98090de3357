"""Every key of a run at its default: the benchmarks' recipe. The other files start from it.

docs/configuration.md lists the keys with their values and meaning.
"""

from faceparse_jax import config


def get_config():
    return config.default()
