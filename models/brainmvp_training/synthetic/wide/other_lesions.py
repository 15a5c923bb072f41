"""What is no tumour: lesions of white matter, scattered or around the ventricles, old infarcts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainmvp_training.synthetic.fields import Array, smooth_field
from brainmvp_training.synthetic.wide.tumours import (
    Part,
    bent_distance,
    box_around,
    draw_centre,
)


def add_white_matter_lesions(
    parts: NDArray[np.uint8], white: Array, ventricle: Array, rng: np.random.Generator
) -> None:
    """Spots of 1.5 to 6 mm in white matter, more of them near the ventricles.

    Args:
        white: share of white matter (X, Y, Z), 0 to 1.
        ventricle: distance to the lateral ventricles in mm.
    """
    near = np.exp(-ventricle / np.float32(rng.uniform(3, 15))) + np.float32(0.03)
    chances = (np.where((white > 0.6) & (parts == 0), near, 0)).ravel().astype(np.float64)
    if not chances.any():
        return
    count = int(np.clip(rng.lognormal(np.log(8), 0.9), 1, 50))
    chosen = rng.choice(len(chances), size=count, p=chances / chances.sum())
    for place in chosen:
        x, y, z = (int(i) for i in np.unravel_index(int(place), white.shape))
        radius = float(np.clip(rng.lognormal(np.log(2.5), 0.4), 1.5, 6))
        box = box_around((x, y, z), radius * 2, white.shape)
        spot = (bent_distance(box, (x, y, z), radius, rng) < radius) & (white[box] > 0.3)
        into = parts[box]
        into[spot & (into == 0)] = Part.SCAR


def add_infarct(parts: NDArray[np.uint8], nervous: Array, rng: np.random.Generator) -> None:
    """An old infarct: a hole that holds CSF, with a scar around it."""
    centre = draw_centre(nervous, rng)
    radius = float(rng.uniform(4, 14))
    box = box_around(centre, radius * 2, nervous.shape)
    distance = bent_distance(box, centre, radius, rng)
    into = parts[box]
    free = (into == 0) & (nervous[box] > 0.3)
    into[free & (distance < radius)] = Part.SCAR
    hole = radius * 0.75 * (1 + 0.2 * smooth_field(distance.shape, 4, rng))
    into[free & (distance < hole)] = Part.CAVITY
