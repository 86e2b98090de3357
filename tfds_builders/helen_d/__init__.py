"""Helen-D for TFDS."""
