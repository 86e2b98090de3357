"""LaPa-D for TFDS."""
