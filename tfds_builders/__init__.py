"""TFDS builders of the benchmarks and of the synthetic heads."""
