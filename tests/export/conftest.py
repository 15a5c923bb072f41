"""Exports that several tests look at."""

from small_bundle import expected, small_bundle, small_network, small_task, windows

__all__ = ["expected", "small_bundle", "small_network", "small_task", "windows"]
