"""A user's own photographs for TFDS; see README.md."""
