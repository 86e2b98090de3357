"""Experiments as configuration files."""
