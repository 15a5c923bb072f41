"""The BrainMVP networks: encoder, decoder, heads. Needs torch."""

from brainmvp_training.networks.build import (
    RELEASED,
    SIZES,
    TINY,
    ClassificationNetwork,
    NetworkSize,
    SegmentationNetwork,
)

__all__ = [
    "RELEASED",
    "SIZES",
    "TINY",
    "ClassificationNetwork",
    "NetworkSize",
    "SegmentationNetwork",
]
