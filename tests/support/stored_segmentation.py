"""Whether a segmentation that came back to a PACS says what it should, where it should."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

import highdicom as hd
import nibabel as nib
import numpy as np
from pydicom import Dataset

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def check_voxels(content: bytes, mask: nib.Nifti1Image) -> None:
    """A SEG says what the NIfTI mask says, voxel for voxel, at the same millimetres."""
    labels = np.asarray(mask.dataobj)
    assert labels.any(), "an empty mask would prove nothing"
    volume = hd.seg.segread(BytesIO(content)).get_volume(
        combine_segments=True, allow_missing_positions=True
    )
    to_mask = np.linalg.inv(mask.affine) @ _LPS @ volume.affine
    seen = np.zeros_like(labels)
    indices = np.argwhere(volume.array > 0)
    places = indices @ to_mask[:3, :3].T + to_mask[:3, 3]
    assert np.abs(places - np.rint(places)).max(initial=0.0) < 1e-3
    # Segments are numbered in the order of the task's labels, whose values are BraTS's.
    values = np.array([0, 1, 2, 4], labels.dtype)
    seen[tuple(np.rint(places).astype(int).T)] = values[volume.array[tuple(indices.T)]]
    assert np.array_equal(seen, labels)


def check_lies_on(made: Dataset, images: Iterable[Dataset]) -> None:
    """Every frame of a SEG has the place, axes and pixels of the image of a series it refers to."""
    by_uid = {str(image.SOPInstanceUID): image for image in images}
    shared = made.SharedFunctionalGroupsSequence[0]
    for frame in made.PerFrameFunctionalGroupsSequence:
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        image = by_uid[str(source.ReferencedSOPInstanceUID)]
        assert (made.Rows, made.Columns) == (image.Rows, image.Columns)
        for here, there in (
            (
                frame.PlanePositionSequence[0].ImagePositionPatient,
                image.ImagePositionPatient,
            ),
            (
                shared.PlaneOrientationSequence[0].ImageOrientationPatient,
                image.ImageOrientationPatient,
            ),
            (shared.PixelMeasuresSequence[0].PixelSpacing, image.PixelSpacing),
        ):
            np.testing.assert_allclose([*map(float, here)], [*map(float, there)], atol=1e-3)
