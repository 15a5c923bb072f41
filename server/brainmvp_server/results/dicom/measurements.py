"""What was measured of a structure or a part, as the content of a TID 1501 or 1411 group."""

from __future__ import annotations

from typing import Any

import highdicom as hd
import numpy as np

from brainmvp_server.inference.diameters import Ends, Point, Size
from brainmvp_server.inference.measure import Structure
from brainmvp_server.inference.parts import Part, Side
from brainmvp_server.results.dicom import codes


def measurements_of(measured: Structure | Part, frame_of_reference: str | None = None) -> list[Any]:
    """Volume, diameters and depth, in mL, mm and mm²; of a structure, how sure it is.

    Args:
        frame_of_reference: the two diameters of a slice then have their ends as coordinates; None
            in a group that refers to a segment, where TID 1411 allows no others.
    """
    found = [hd.sr.Measurement(codes.VOLUME, measured.volume_ml, codes.MILLILITRE)]
    size: Size | None = measured.size
    if size is not None:
        found += [
            _length(codes.LONG_AXIS, size.diameter_mm, size.diameter_ends_mm, frame_of_reference),
            _length(codes.SHORT_AXIS, size.across_mm, size.across_ends_mm, frame_of_reference),
            hd.sr.Measurement(codes.PRODUCT, size.product_mm2, codes.SQUARE_MILLIMETRE),
            hd.sr.Measurement(codes.DIAMETER_3D, size.diameter_3d_mm, codes.MILLIMETRE),
        ]
    if measured.to_surface_mm is not None:
        found.append(hd.sr.Measurement(codes.DEPTH, measured.to_surface_mm, codes.MILLIMETRE))
    if isinstance(measured, Structure) and measured.confidence is not None:
        confidence = round(measured.confidence, 4)
        found.append(hd.sr.Measurement(codes.CONFIDENCE, confidence, codes.NO_UNITS))
    return found


def site_of(side: Side | None) -> Any:
    """The brain, and the side of it where that is known."""
    laterality = None if side is None else codes.SIDES[side]
    return hd.sr.FindingSite(anatomic_location=codes.BRAIN, laterality=laterality)


def centroid_of(point: Point, frame_of_reference: str) -> Any:
    """The centroid as a point of a group."""
    return hd.sr.Scoord3DContentItem(
        name=codes.CENTROID,
        graphic_type=hd.sr.GraphicTypeValues3D.POINT,
        graphic_data=_lps((point,)),
        frame_of_reference_uid=frame_of_reference,
        relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
    )


def _length(name: Any, mm: float, ends: Ends, frame_of_reference: str | None) -> Any:
    if frame_of_reference is None:
        return hd.sr.Measurement(name, mm, codes.MILLIMETRE)
    line = hd.sr.CoordinatesForMeasurement3D(
        graphic_type=hd.sr.GraphicTypeValues3D.POLYLINE,
        graphic_data=_lps(ends),
        frame_of_reference_uid=frame_of_reference,
        purpose=codes.PATH,
    )
    return hd.sr.Measurement(name, mm, codes.MILLIMETRE, referenced_coordinates=[line])


def _lps(points: tuple[Point, ...]) -> np.ndarray:
    return np.array(points, np.float64) * (-1.0, -1.0, 1.0)
