"""Procedural 3-D heads with exact image, depth and label: the embedded dataset."""

from faceparse_jax.data.synthetic.render import render_head

__all__ = ["render_head"]
