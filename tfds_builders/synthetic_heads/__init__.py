"""Procedural heads; see README.md."""
