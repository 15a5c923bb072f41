"""Coded terms: a bundle's own where it has them, ours where nobody has one."""

from __future__ import annotations

from collections.abc import Mapping

from highdicom.sr import CodedConcept

from brainmvp_models.task import Code, Label, Region, RegionOutputs, SegmentationOutputs
from brainmvp_server.inference.parts import Side

OWN_SCHEME = "99BRAINMVP"
"""Codes of schemes that begin with 99 are private (PS3.16, section 8)."""
_LONGEST_CODE, _LONGEST_MEANING = 16, 64

ABNORMAL = CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure")
ANATOMY = CodedConcept("91723000", "SCT", "Anatomical Structure")
BRAIN = CodedConcept("12738006", "SCT", "Brain")
VOLUME = CodedConcept("118565006", "SCT", "Volume")
MILLILITRE = CodedConcept("mL", "UCUM", "mL")
LONG_AXIS = CodedConcept("103339001", "SCT", "Long Axis")
SHORT_AXIS = CodedConcept("103340004", "SCT", "Short Axis")
DIAMETER_3D = CodedConcept("L0JK", "IBSI", "Maximum 3D diameter")
PRODUCT = CodedConcept("product", OWN_SCHEME, "Product of long and short axis")
DEPTH = CodedConcept("depth", OWN_SCHEME, "Distance to surface of brain")
VOLUME_CHANGE = CodedConcept("volume-change", OWN_SCHEME, "Change of volume")
PRODUCT_CHANGE = CodedConcept("product-change", OWN_SCHEME, "Change of product")
VOLUME_PERCENT = CodedConcept("volume-percent", OWN_SCHEME, "Change of volume in percent")
LOWEST_CHANGE = CodedConcept("change-low", OWN_SCHEME, "Lower end of the 95 % interval")
HIGHEST_CHANGE = CodedConcept("change-high", OWN_SCHEME, "Upper end of the 95 % interval")
BECAME = CodedConcept("became", OWN_SCHEME, "Change since the earlier study")
PERCENT = CodedConcept("%", "UCUM", "percent")
CENTROID = CodedConcept("128138", "DCM", "Center of Mass")
PATH = CodedConcept("121055", "DCM", "Path")
MILLIMETRE = CodedConcept("mm", "UCUM", "millimeter")
SQUARE_MILLIMETRE = CodedConcept("mm2", "UCUM", "square millimeter")
SIDES: Mapping[Side, CodedConcept] = {
    "left": CodedConcept("7771000", "SCT", "Left"),
    "right": CodedConcept("24028007", "SCT", "Right"),
    "both": CodedConcept("51440002", "SCT", "Right and left"),
}
"""Laterality, CID 244."""
NO_UNITS = CodedConcept("1", "UCUM", "no units")
FINDING = CodedConcept("121071", "DCM", "Finding")
ABSENT = CodedConcept("373572006", "SCT", "Clinical finding absent")
UNDETERMINED = CodedConcept("373068000", "SCT", "Undetermined")
COMMENT = CodedConcept("121106", "DCM", "Comment")
PROCEDURE = CodedConcept("363679005", "SCT", "Imaging procedure")
DEVICE = CodedConcept("121007", "DCM", "Device")
FAMILY = CodedConcept("123109", "DCM", "Artificial Intelligence")
SCORE = CodedConcept("score", OWN_SCHEME, "Class score")
CONFIDENCE = CodedConcept("confidence", OWN_SCHEME, "Mean probability of its voxels")


def code_of(name: str, title: str, code: Code | None) -> CodedConcept:
    """The bundle's code for something; without one, a private code of its name."""
    if code is not None:
        return CodedConcept(code.value, code.scheme, code.meaning[:_LONGEST_MEANING])
    return CodedConcept(name[:_LONGEST_CODE], OWN_SCHEME, (title or name)[:_LONGEST_MEANING])


def category_of(outputs: SegmentationOutputs) -> CodedConcept:
    """Overlapping regions are lesions, exclusive classes are parts of the brain."""
    return ABNORMAL if isinstance(outputs, RegionOutputs) else ANATOMY


def labels_of(outputs: SegmentationOutputs) -> tuple[Label, ...]:
    """The labels of the mask, without the background, by value."""
    labels = outputs.labels if isinstance(outputs, RegionOutputs) else outputs.classes[1:]
    return tuple(sorted(labels, key=lambda label: label.value))


def entries_of(outputs: SegmentationOutputs) -> tuple[Region | Label, ...]:
    """What is measured: regions, or classes without the background."""
    return outputs.regions if isinstance(outputs, RegionOutputs) else outputs.classes[1:]
