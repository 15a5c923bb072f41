"""The source as highdicom wants to see it, and references to it as it really is.

highdicom takes geometry and identity from source images, each class of them in its own way, and
fails where a scanner keeps an attribute elsewhere. So it is given images made here: one plain MR
image a slice, of the grid and the identity that the reader established. What it writes of those
images is then made to refer to the objects and frames that the volume was read from.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pydicom.valuerep import format_number_as_ds

from brainmvp_models.errors import UnwritableObject
from brainmvp_server.imaging.dicom.identity import ALWAYS, TRIAL
from brainmvp_server.imaging.dicom_source import DicomSource, SourceFrame
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.inference.result import Result

UTF_8 = "ISO_IR 192"
_LPS = np.diag((-1.0, -1.0, 1.0, 1.0))
_STAND_IN = "2.25."
"""Root of the instance UID that stands for a slice until the true one takes its place."""
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def source_of(result: Result) -> DicomSource:
    """The series whose grid the result lies on.

    Raises:
        ValueError: the study did not come as DICOM.
        UnwritableObject: objects cannot refer to it: a UID is missing, or no valid one.
    """
    source = result.study.native.source
    if source is None:
        raise ValueError("the study did not come as DICOM")
    return referable(source)


def referable(source: DicomSource) -> DicomSource:
    """The series, if objects can refer to it.

    Raises:
        UnwritableObject: a UID is missing, or no valid one.
    """
    if source.refused:
        raise UnwritableObject(
            f"series {source.label}: {'; '.join(source.refused)}",
            remedy="Mend the series and send it again; the mask can be had as NIfTI",
        )
    return source


def axes_of(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The directions along a row and along a column, unit vectors in L-P-S."""
    affine = _LPS @ grid.affine
    row, column = affine[:3, 0], affine[:3, 1]
    return row / np.linalg.norm(row), column / np.linalg.norm(column)


def slices_of(source: DicomSource, grid: Grid) -> list[Dataset]:
    """One image a slice, from the first to the last, with stand-ins for instance UIDs."""
    columns, rows, count = grid.shape
    along_row, along_column, between = grid.spacing
    affine = _LPS @ grid.affine
    orientation = _decimals(np.concatenate(axes_of(grid)))
    slices = []
    for k in range(count):
        one = Dataset()
        one.SOPClassUID = MRImageStorage
        one.SOPInstanceUID = f"{_STAND_IN}{k}"
        one.StudyInstanceUID = source.study
        one.SeriesInstanceUID = source.images[0].series
        one.FrameOfReferenceUID = source.frame_of_reference
        one.Rows, one.Columns = rows, columns
        one.ImageOrientationPatient = orientation
        one.ImagePositionPatient = _decimals((affine @ (0, 0, k, 1))[:3])
        one.PixelSpacing = _decimals(np.array((along_column, along_row)))
        (one.SliceThickness,) = (one.SpacingBetweenSlices,) = _decimals(np.array((between,)))
        slices.append(one)
    _identify(slices[0], source)
    return slices


def images_of(source: DicomSource) -> list[Dataset]:
    """One data set an object of the source, as evidence."""
    images = []
    for image in source.images:
        one = Dataset()
        one.SOPClassUID = MRImageStorage
        one.SOPInstanceUID = image.instance
        one.StudyInstanceUID = source.study
        one.SeriesInstanceUID = image.series
        images.append(one)
    _identify(images[0], source)
    return images


def refer(made: Dataset, source: DicomSource) -> None:
    """Make every reference to a stand-in one to the object or frame that it stands for."""
    classes = {image.instance: image.sop_class for image in source.images}
    frames = {f"{_STAND_IN}{k}": frame for k, frame in enumerate(source.frames)}
    if "ReferencedSeriesSequence" in made:
        made.SourceImageSequence = [reference(SourceFrame(i, None)) for i in source.images]
        made.ReferencedSeriesSequence = _by_series(source)
    for item in _items(made):
        instance = item.get("ReferencedSOPInstanceUID")
        if instance in frames:
            item.update(reference(frames[instance]))
            if source.tiled:
                item.SpatialLocationsPreserved = "NO"
        elif instance in classes:
            item.ReferencedSOPClassUID = classes[instance]


def reference(frame: SourceFrame) -> Dataset:
    """An item that refers to an object, or to a frame of it."""
    item = Dataset()
    item.ReferencedSOPClassUID = frame.image.sop_class
    item.ReferencedSOPInstanceUID = frame.image.instance
    if frame.number is not None:
        item.ReferencedFrameNumber = frame.number
    return item


def _by_series(source: DicomSource) -> list[Dataset]:
    items: dict[str, Dataset] = {}
    for image in source.images:
        if image.series not in items:
            item = items[image.series] = Dataset()
            item.SeriesInstanceUID = image.series
            item.ReferencedInstanceSequence = []
        items[image.series].ReferencedInstanceSequence.append(reference(SourceFrame(image, None)))
    return list(items.values())


def _identify(made: Dataset, source: DicomSource) -> None:
    """Give an image the source's patient, study and equipment, in UTF-8."""
    made.SpecificCharacterSet = UTF_8
    for keyword in (*ALWAYS, *(TRIAL if TRIAL[0] in source.attributes else ())):
        setattr(made, keyword, "")
    for keyword, values in source.attributes.items():
        setattr(made, keyword, values[0] if len(values) == 1 else list(values))
    if source.value("PatientIdentityRemoved") == "YES" and "DeidentificationMethod" not in made:
        made.DeidentificationMethod = "not stated by the source"
    if source.value("LossyImageCompression") != "01":
        for keyword in _LOSSY:
            made.pop(keyword, None)


def _decimals(values: NDArray[np.float64]) -> list[str]:
    """Numbers as decimal strings, at most 16 characters; without what is only rounding."""
    return [format_number_as_ds(float(value)) for value in np.round(values, 10) + 0.0]


def _items(dataset: Dataset) -> Iterator[Dataset]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from _items(item)
