"""A plain mean image a modality, as a template bank to compare distilled templates with.

    python examples/experiments/mean_templates.py DATALIST CACHE OUT

Each prepared training study, clipped to [0, 1], is laid centre on centre of the template grid.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from brainmvp_models.modality import Modality
from brainmvp_models.task import Preprocessing
from brainmvp_models.templates import TEMPLATE_SHAPE
from brainmvp_training.datalist import read_datalist
from brainmvp_training.prepared import prepare_studies
from brainmvp_training.published import write_templates
from brainmvp_training.windows import centre_shift


def main() -> None:
    datalist, cache, out = map(Path, sys.argv[1:4])
    studies = prepare_studies(read_datalist(datalist), Preprocessing(), cache)
    total = {m: np.zeros(TEMPLATE_SHAPE, np.float32) for m in studies[0].modalities}
    for study in studies:
        shift = centre_shift(study.shape, TEMPLATE_SHAPE)
        into, out_of = [], []
        for first, n, grid in zip(shift, study.shape, TEMPLATE_SHAPE, strict=True):
            low, high = max(first, 0), min(first + n, grid)
            into.append(slice(low, high))
            out_of.append(slice(low - first, high - first))
        for index, modality in enumerate(study.modalities):
            scan = np.clip(study.image[index].astype(np.float32), 0, 1)
            total[modality][tuple(into)] += scan[tuple(out_of)] / len(studies)
    modalities: list[Modality] = list(total)
    write_templates(out, np.stack([total[m] for m in modalities]), modalities)


if __name__ == "__main__":
    main()
