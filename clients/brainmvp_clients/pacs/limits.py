"""What our storage SCP takes where nobody asked for otherwise."""

from __future__ import annotations

MAX_IMAGE_MB = 512
"""MiB of one image as it is sent; an enhanced series is one image."""
