"""Results without a network: a mask drawn on a volume, as a model could have given it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np

from brainmvp_models.bundle import Bundle
from brainmvp_models.modality import Modality
from brainmvp_models.task import RegionOutputs
from brainmvp_server.imaging.dicom.files import scan
from brainmvp_server.imaging.dicom.pixels import read_stack
from brainmvp_server.imaging.dicom.series import sort_series
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.study import Study
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.engines import EngineInfo
from brainmvp_server.inference.measure import measure
from brainmvp_server.inference.postprocess import Segmentation
from brainmvp_server.inference.result import Result

_LPS = np.diag((-1.0, -1.0, 1.0, 1.0))


def volumes_of(files: Iterable[Path]) -> list[Volume]:
    """Every volume that the reader makes of some files."""
    study = sort_series(scan(files).instances)
    return [read_stack(stack, Modality.T1) for stack in study.stacks]


def drawn(volume: Volume, bundle: Bundle) -> Result:
    """A result of a bundle of regions: a few voxels of every label, on some of the slices.

    Of the parts it has the largest of each region: a report of all takes three times as long.
    """
    outputs = bundle.task.outputs
    assert isinstance(outputs, RegionOutputs)
    mask = np.zeros(volume.grid.shape, np.uint8, order="F")
    columns, rows, slices = mask.shape
    for number, label in enumerate(outputs.labels):
        k = (number + 1) * slices // (len(outputs.labels) + 1)
        mask[columns // 3 : columns // 2, rows // 4 + 2 * number, k] = label.value
        mask[-1, -1 - number, -1] = label.value
    members = tuple(np.isin(mask, region.labels) for region in outputs.regions)
    measured = measure(members, outputs, volume.grid)
    return Result(
        manifest=bundle.manifest,
        bundle_digest=bundle.digest,
        engine=EngineInfo("none", "CPU", "fp32"),
        study=Study((volume,)),
        filled=(),
        segmentation=Segmentation(mask, members, ()),
        structures=tuple(replace(one, parts=one.parts[:1]) for one in measured),
        scores=(),
        expected=(),
        warnings=(),
        coverage={},
        windows=1,
        seconds={},
    )


def mask_of(content: bytes, grid: Grid) -> np.ndarray:
    """The mask in a segmentation, on a grid by millimetres, by the segments' values."""
    segmentation = hd.seg.segread(io.BytesIO(content))
    volume = segmentation.get_volume(
        combine_segments=True, skip_overlap_checks=True, allow_missing_positions=True
    )
    values = [0] + [
        int(segment.SegmentDescription.rsplit(" ", 1)[1])
        for segment in segmentation.SegmentSequence
        if segment.SegmentNumber > 0
    ]
    voxels = np.array(values, np.uint8)[np.asarray(volume.array, int)]
    step = np.linalg.inv(_LPS @ grid.affine) @ volume.affine
    places = step[:3, :3] @ np.indices(voxels.shape).reshape(3, -1) + step[:3, 3:]
    assert np.abs(places - places.round()).max() < 1e-3
    mask = np.zeros(grid.shape, np.uint8)
    mask[tuple(places.round().astype(int))] = voxels.ravel()
    return mask
