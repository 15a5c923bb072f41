"""A TID 1500 measurement report: structures, their parts, class scores, what they rest on."""

from __future__ import annotations

from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage, generate_uid

from brainmvp_models.calibration import WHOLE
from brainmvp_models.determinable import NotDeterminable
from brainmvp_models.population import measured_on
from brainmvp_models.task import RegionOutputs, ScoreOutputs, SegmentationOutputs
from brainmvp_server.inference.measure import Structure
from brainmvp_server.inference.parts import Part
from brainmvp_server.inference.result import ClassScore, Result
from brainmvp_server.results.dicom import codes
from brainmvp_server.results.dicom.measurements import centroid_of, measurements_of, site_of
from brainmvp_server.results.dicom.provenance import (
    MANUFACTURER,
    SERIAL,
    Identity,
)
from brainmvp_server.results.dicom.reference import images_of, refer, source_of
from brainmvp_server.results.probabilities import ProbabilitiesGiven

_NUMBER = 1


def measurement_report(result: Result, segmentation: Dataset | None) -> Dataset:
    """The result's measurements as a Comprehensive 3D SR.

    A structure that is one segment of a binary segmentation refers to it; tools know no references
    to segments of label maps yet. Those, unions of segments, and class scores refer to the source
    images. What was not found is reported as absent, with its volume of 0 mL; what is not
    determinable as undetermined, with the reason as a comment and no measurement. Each part has a
    group of its own, which refers to the source images: it is no segment. Comments say what quality
    to expect of an output, and on whom it was measured; parameters of the algorithm, whether its
    probabilities are calibrated. A score has the network's own as a comment where it is.

    Raises:
        ValueError, UnwritableObject: see :func:`source_of`.
    """
    source = source_of(result)
    headers = images_of(source)
    algorithm = _algorithm(result)
    if segmentation is not None and segmentation.SOPClassUID != SegmentationStorage:
        segmentation = None
    outputs = result.outputs
    groups: list[Any] = []
    if isinstance(outputs, ScoreOutputs):
        groups += [_score(result, score, headers, algorithm) for score in result.scores]
    else:
        for one in result.structures:
            groups.append(_structure(result, one, outputs, segmentation, headers, algorithm))
            groups += [_part(result, one, part, outputs, headers, algorithm) for part in one.parts]
    groups += [_undetermined(result, one, headers, algorithm) for one in result.not_determinable]
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=_observer(result)),
        procedure_reported=codes.PROCEDURE,
        imaging_measurements=groups,
        title=hd.sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
    )
    identity = Identity.of(result, "report", _NUMBER)
    made: Dataset = hd.sr.Comprehensive3DSR(
        evidence=[*headers, *([segmentation] if segmentation is not None else [])],
        content=report,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=f"{result.manifest.name} measurements"[:64],
        **identity.arguments,
    )
    refer(made, source)
    return made


def _structure(
    result: Result,
    one: Structure,
    outputs: SegmentationOutputs,
    segmentation: Dataset | None,
    headers: list[Dataset],
    algorithm: Any,
) -> Any:
    entry = next(e for e in codes.entries_of(outputs) if e.name == one.name)
    shared = {
        "tracking_identifier": _tracking(result, one.name),
        "finding_type": codes.code_of(entry.name, entry.title, entry.code),
        "finding_category": codes.category_of(outputs),
        "finding_sites": [site_of(one.side)],
        "algorithm_id": algorithm,
        "measurements": measurements_of(one),
        "qualitative_evaluations": _absent(one),
    }
    number, comments = _segment_number(one, outputs), _expected(result, one.name)
    if segmentation is None or number is None:
        group = hd.sr.MeasurementsAndQualitativeEvaluations(
            source_images=source_images(headers), **shared
        )
        return _commented(group, comments)
    series = str(headers[0].SeriesInstanceUID)
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=str(segmentation.SOPClassUID),
            sop_instance_uid=str(segmentation.SOPInstanceUID),
            segment_number=number,
            source_series=hd.sr.SourceSeriesForSegmentation(series),
        ),
        **shared,
    )
    return _commented(group, comments)


def _part(
    result: Result,
    structure: Structure,
    part: Part,
    outputs: SegmentationOutputs,
    headers: list[Dataset],
    algorithm: Any,
) -> Any:
    entry = next(e for e in codes.entries_of(outputs) if e.name == structure.name)
    frame = source_of(result).frame_of_reference
    # Numbers go by size, so that another run's may name other tissue: its place tells them apart.
    place = f"{part.voxels} {part.centroid_mm}"
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(result, f"{structure.name} part {part.number}", place),
        finding_type=codes.code_of(entry.name, entry.title, entry.code),
        finding_category=codes.category_of(outputs),
        finding_sites=[site_of(part.side)],
        algorithm_id=algorithm,
        measurements=measurements_of(part, frame),
        source_images=source_images(headers),
    )
    group[0].ContentSequence.append(centroid_of(part.centroid_mm, frame))
    return group


def _segment_number(one: Structure, outputs: SegmentationOutputs) -> int | None:
    """The segment that is the structure; None where it is a union of several."""
    if isinstance(outputs, RegionOutputs) and one.value is None:
        return None
    values = [label.value for label in codes.labels_of(outputs)]
    return values.index(one.value) + 1 if one.value in values else None


def _absent(one: Structure) -> list[Any] | None:
    if one.voxels:
        return None
    return [hd.sr.QualitativeEvaluation(codes.FINDING, codes.ABSENT)]


def _undetermined(
    result: Result, one: NotDeterminable, headers: list[Dataset], algorithm: Any
) -> Any:
    """A group without measurements: what cannot be decided, and why."""
    outputs = result.manifest.task.outputs
    code = category = None
    if not isinstance(outputs, ScoreOutputs):
        code = next(e.code for e in codes.entries_of(outputs) if e.name == one.output)
        category = codes.category_of(outputs)
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(result, f"{one.output} not determinable"),
        finding_type=codes.code_of(one.output, one.title, code),
        finding_category=category,
        algorithm_id=algorithm,
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(codes.FINDING, codes.UNDETERMINED)],
        source_images=source_images(headers),
    )
    figures = () if result.scores and one.output == WHOLE else _expected(result, one.output)
    return _commented(group, (one.sentence, *figures))


def _expected(result: Result, output: str) -> tuple[str, ...]:
    """A sentence for each figure of an output's quality, with whom it was measured on."""
    return tuple(
        f"expected {quality.metric}: {quality.value:.3g}"
        + ("" if quality.low is None else f" ({quality.low:.3g} to {quality.high:.3g})")
        + f", measured on {measured_on(quality.studies, result.population)}"
        for quality in result.expected
        if quality.output == output
    )


def _commented(group: Any, comments: tuple[str, ...]) -> Any:
    """A group with comments as its last items."""
    for text in comments:
        item = hd.sr.TextContentItem(
            name=codes.COMMENT, value=text, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
        )
        group[0].ContentSequence.append(item)
    return group


def _score(result: Result, score: ClassScore, headers: list[Dataset], algorithm: Any) -> Any:
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(result, score.name),
        finding_type=codes.code_of(score.name, score.title, None),
        algorithm_id=algorithm,
        measurements=[hd.sr.Measurement(codes.SCORE, round(score.score, 6), codes.NO_UNITS)],
        source_images=source_images(headers),
    )
    own: tuple[str, ...] = ()
    if ProbabilitiesGiven.of(result.manifest.calibration).calibrated:
        own = (f"uncalibrated score: {score.uncalibrated:.4g}",)
    return _commented(group, (*own, *_expected(result, WHOLE)))


def source_images(headers: list[Dataset]) -> list[Any]:
    """References of a group to objects of the source."""
    return [
        hd.sr.SourceImageForMeasurementGroup(
            referenced_sop_class_uid=str(header.SOPClassUID),
            referenced_sop_instance_uid=str(header.SOPInstanceUID),
        )
        for header in headers
    ]


def _tracking(result: Result, name: str, *more: str) -> Any:
    sources = [source_of(result).study, result.bundle_digest, "tracking", name, *more]
    uid = generate_uid(entropy_srcs=["brainmvp", *sources])
    return hd.sr.TrackingIdentifier(uid=uid, identifier=name)


def _algorithm(result: Result) -> Any:
    """Name and version, and as parameters what was real, what was filled, and the bundle."""
    real = ", ".join(volume.modality.value for volume in result.study.volumes)
    filled = ", ".join(f"{one.modality.value} ({one.policy})" for one in result.filled)
    parameters = [
        f"real modalities: {real}",
        f"filled modalities: {filled or 'none'}",
        f"bundle: {result.bundle_digest}",
        f"intended use: {result.manifest.task.intended_use}",
    ]
    if result.expected:
        population = result.population
        whom = population.sentence if population else "not recorded"
        parameters.append(f"expected quality was measured on: {whom}")
    parameters.append(_probabilities(result))
    if result.manifest.demo:
        parameters.append("demonstration model: no clinical meaning")
    return hd.sr.AlgorithmIdentification(
        name=result.manifest.name, version=result.manifest.version, parameters=parameters
    )


def _probabilities(result: Result) -> str:
    """What scores and confidence are: the network's own, or calibrated, and on whom."""
    what = "scores" if isinstance(result.manifest.task.outputs, ScoreOutputs) else "confidence"
    said = ProbabilitiesGiven.of(result.manifest.calibration)
    whom = f": {said.population.sentence}" if said.population else ""
    return f"{what}: {said.sentence}{whom}"


def _observer(result: Result) -> Any:
    return hd.sr.ObserverContext(
        observer_type=codes.DEVICE,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=["brainmvp", result.bundle_digest, "device"]),
            name=result.manifest.name,
            manufacturer_name=MANUFACTURER,
            model_name=f"{result.manifest.name} {result.manifest.version}",
            serial_number=SERIAL,
        ),
    )
