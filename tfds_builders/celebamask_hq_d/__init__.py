"""CelebAMask-HQ-D for TFDS."""
