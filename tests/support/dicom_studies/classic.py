"""Classic MR Image Storage: one object a slice."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from dicom_studies.headers import Header

LPS = np.diag((-1.0, -1.0, 1.0, 1.0))


def classic_images(
    common: Dataset, images: Sequence[nib.Nifti1Image], header: Header, vendor: str
) -> list[Dataset]:
    """The slices of one volume, or of one a b-value, as a vendor writes them."""
    b_values = header.b_values or (None,) * len(images)
    slices = []
    for image, b_value in zip(images, b_values, strict=True):
        affine = LPS @ image.affine
        voxels = np.asarray(image.dataobj).astype(np.int16)
        for k in range(voxels.shape[2]):
            ds = copy.deepcopy(common)
            _sequence(ds, header)
            if b_value is not None:
                _diffusion(ds, b_value, vendor)
            geometry(ds, affine, k)
            ds.InstanceNumber = len(slices) + 1
            ds.AcquisitionNumber = 1
            pixels(ds, voxels[:, :, k].T)
            if vendor == "philips":  # Philips stores scaled values: here value = stored * 1 + 0
                ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "normalized"
            slices.append(ds)
    return slices


def _sequence(ds: Dataset, header: Header) -> None:
    ds.SOPClassUID = MRImageStorage
    ds.ImageType = list(header.image_type)
    ds.ScanningSequence = list(header.sequence)
    ds.SequenceVariant = list(header.variant)
    ds.ScanOptions = list(header.options) or ""
    ds.MRAcquisitionType = header.acquisition
    if header.sequence_name:
        ds.SequenceName = header.sequence_name
    ds.RepetitionTime, ds.EchoTime = header.tr, header.te
    if header.ti is not None:
        ds.InversionTime = header.ti
    ds.FlipAngle, ds.NumberOfAverages = header.flip, 1
    ds.EchoTrainLength, ds.EchoNumbers = 1, 1
    ds.MagneticFieldStrength, ds.ImagingFrequency, ds.ImagedNucleus = 3, 123.2, "1H"
    for keyword, value in header.tags.items():
        setattr(ds, keyword, value)


def _diffusion(ds: Dataset, b_value: float, vendor: str) -> None:
    if vendor == "siemens":
        ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", int(b_value))
    elif vendor == "ge":  # GE adds 1e9 to b-values of directions
        block = ds.private_block(0x0043, "GEMS_PARM_01", create=True)
        block.add_new(0x39, "IS", [int(b_value) + (1_000_000_000 if b_value else 0), 8, 0, 0])
    else:
        ds.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(
            0x03, "FL", float(b_value)
        )
        ds.DiffusionBValue = float(b_value)


def geometry(ds: Dataset, affine: np.ndarray, k: int) -> None:
    """Place slice ``k`` of a volume with an LPS affine of (column, row, slice) indices."""
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    ds.ImagePositionPatient = [f"{v:.10g}" for v in affine[:3, 3] + affine[:3, 2] * k]
    ds.ImageOrientationPatient = [f"{v:.10g}" for v in (affine[:3, :2] / steps[:2]).T.ravel()]
    ds.PixelSpacing = [float(steps[1]), float(steps[0])]
    ds.SliceThickness = float(steps[2])
    ds.SpacingBetweenSlices = float(steps[2])


def pixels(ds: Dataset, rows: np.ndarray) -> None:
    """Store int16 pixels (row, column)."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = rows.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = 1
    ds.WindowCenter, ds.WindowWidth = 500, 1000
    ds.PixelData = np.ascontiguousarray(rows).astype("<i2").tobytes()
