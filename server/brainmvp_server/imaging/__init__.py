"""Volumes, grids and files: what a study is before any model has seen it."""
