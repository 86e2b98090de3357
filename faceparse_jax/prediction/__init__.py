"""Photographs and depth maps to label maps, with the networks of one checkpoint."""
