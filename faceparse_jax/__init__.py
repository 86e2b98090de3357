"""Face parsing from RGB and depth with cross-domain mutual learning, in JAX/Flax."""

__version__ = "0.1.0"
