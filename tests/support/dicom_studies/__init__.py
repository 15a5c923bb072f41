"""DICOM studies made of real brain volumes, as Siemens, GE and Philips scanners write them.

::

    study = write_study(folder, vendor="ge", contrasts=("t1", "flair", "localizer"))
    study.series["t1"].files, study.series["t1"].image, study.uid

Contrasts other than T1 are the T1's intensities under another curve: what is tested is headers and
geometry. Every name, ID and date of the patient is planted, so that a test can look for it.
"""

from dicom_studies.anatomy import (
    PLANES,
    Plane,
    affine_for,
    colin27,
    contrast_image,
    mni152,
    small_grid,
)
from dicom_studies.headers import CONTRASTS, VENDORS, Header, header_of
from dicom_studies.write import (
    PLANTED,
    Series,
    Study,
    write_series,
    write_study,
)

__all__ = [
    "CONTRASTS",
    "PLANES",
    "PLANTED",
    "VENDORS",
    "Header",
    "Plane",
    "Series",
    "Study",
    "affine_for",
    "colin27",
    "contrast_image",
    "header_of",
    "mni152",
    "small_grid",
    "write_series",
    "write_study",
]
