"""A comparison as a TID 1500 measurement report that refers to both studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from brainmvp_models import __version__
from brainmvp_server.comparison.change import Change, Status
from brainmvp_server.comparison.compare import TIMES, Comparison
from brainmvp_server.comparison.lesions import Lesion, StructureChange
from brainmvp_server.comparison.visit import Maker, Visit
from brainmvp_server.imaging.dicom_source import DicomSource
from brainmvp_server.inference.parts import Part
from brainmvp_server.results.dicom import codes
from brainmvp_server.results.dicom.measurements import centroid_of, measurements_of, site_of
from brainmvp_server.results.dicom.provenance import MANUFACTURER, SERIAL
from brainmvp_server.results.dicom.reference import images_of, refer, referable
from brainmvp_server.results.dicom.structured_report import source_images

_NAME = "BrainMVP comparison"
_SERIES_NUMBER = 9109


def comparison_report(made: Comparison) -> Dataset:
    """A Comprehensive 3D SR of the later study, with the earlier one as other evidence.

    Each lesion has a group for each time it was there, with that time's measurements and images,
    and one for its change; they share a tracking UID. Each structure has one for its change.

    Raises:
        ValueError: a study did not come as DICOM.
        UnwritableObject: objects cannot refer to a study.
    """
    times = tuple(_Time.of(visit, n) for n, visit in enumerate((made.before, made.after)))
    writer = _Writer(made, times)
    groups = [group for one in made.structures for group in writer.structure(one)]
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=_observer()),
        procedure_reported=codes.PROCEDURE,
        imaging_measurements=groups,
        title=hd.sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
    )
    object_: Dataset = hd.sr.Comprehensive3DSR(
        # The first one's study is the report's own.
        evidence=[image for time in reversed(times) for image in time.images],
        content=report,
        series_instance_uid=writer.uid("series"),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=writer.uid("instance"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description="Change since the earlier study",
    )
    for time in times:
        refer(object_, time.source)
    return object_


@dataclass(frozen=True, eq=False)
class _Time:
    """One of the two studies: its series, and its objects as evidence."""

    name: str
    order: int
    source: DicomSource
    images: list[Dataset]

    @classmethod
    def of(cls, visit: Visit, index: int) -> _Time:
        source = visit.shown.source
        if source is None:
            raise ValueError("a study did not come as DICOM")
        return cls(TIMES[index], index + 1, referable(source), images_of(source))

    @property
    def context(self) -> Any:
        return hd.sr.TimePointContext(time_point=self.name, time_point_order=self.order)


@dataclass(frozen=True, eq=False)
class _Writer:
    """Writes the groups of one comparison."""

    made: Comparison
    times: tuple[_Time, ...]

    def uid(self, *names: str) -> str:
        """One that follows from the studies and their masks: a repeat replaces an object."""
        makers = [one.bundle if one else "given" for one in self._makers]
        studies = [time.source.study for time in self.times]
        return str(generate_uid(entropy_srcs=["brainmvp-change", *studies, *makers, *names]))

    def structure(self, one: StructureChange) -> list[Any]:
        """The change of a structure, and the groups of its lesions."""
        groups = [self._change(one, one.kind.name, one.volume, None)]
        for lesion in one.lesions:
            name = f"{one.kind.name} lesion {lesion.number}"
            for time, parts in zip(self.times, (lesion.before, lesion.after), strict=True):
                if parts:
                    groups.append(self._seen(one, name, time, lesion, parts))
            groups.append(self._change(one, name, lesion.volume, lesion))
        return groups

    def _seen(
        self, one: StructureChange, name: str, time: _Time, lesion: Lesion, parts: Sequence[Part]
    ) -> Any:
        """A lesion at one time, in that study's world."""
        frame = time.source.frame_of_reference
        earlier = time.order == 1
        if len(parts) == 1:
            measured = measurements_of(parts[0], frame)
        else:
            volume, product = lesion.volume, lesion.product
            sums = (volume.before, product.before) if earlier else (volume.after, product.after)
            measured = [
                hd.sr.Measurement(codes.VOLUME, round(sums[0], 3), codes.MILLILITRE),
                hd.sr.Measurement(codes.PRODUCT, round(sums[1], 3), codes.SQUARE_MILLIMETRE),
            ]
        group = hd.sr.MeasurementsAndQualitativeEvaluations(
            **self._shared(one, name, lesion),
            time_point_context=time.context,
            measurements=measured,
            source_images=source_images(time.images),
        )
        place = lesion.centroid_before_mm if earlier else lesion.centroid_mm
        assert place is not None
        group[0].ContentSequence.append(centroid_of(place, frame))
        return group

    def _change(
        self, one: StructureChange, name: str, volume: Change, lesion: Lesion | None
    ) -> Any:
        measured = [
            hd.sr.Measurement(concept, round(value, 3), codes.MILLILITRE)
            for concept, value in (
                (codes.VOLUME_CHANGE, volume.difference),
                (codes.LOWEST_CHANGE, volume.low),
                (codes.HIGHEST_CHANGE, volume.high),
            )
        ]
        if volume.percent is not None:
            percent = round(volume.percent, 1)
            measured.append(hd.sr.Measurement(codes.VOLUME_PERCENT, percent, codes.PERCENT))
        if lesion is not None:
            product = round(lesion.product.difference, 3)
            measured.append(
                hd.sr.Measurement(codes.PRODUCT_CHANGE, product, codes.SQUARE_MILLIMETRE)
            )
        return hd.sr.MeasurementsAndQualitativeEvaluations(
            **self._shared(one, name, lesion),
            measurements=measured,
            qualitative_evaluations=[
                hd.sr.QualitativeEvaluation(codes.BECAME, _became(volume.status))
            ],
            source_images=source_images([image for time in self.times for image in time.images]),
        )

    def _shared(self, one: StructureChange, name: str, lesion: Lesion | None) -> dict[str, Any]:
        place = "" if lesion is None else str(lesion.centroid_mm)
        return {
            "tracking_identifier": hd.sr.TrackingIdentifier(
                uid=self.uid("tracking", name, place), identifier=name
            ),
            "finding_type": codes.code_of(one.kind.name, one.kind.title, None),
            "finding_sites": [site_of(lesion.side if lesion else None)],
            "algorithm_id": hd.sr.AlgorithmIdentification(
                name=_NAME, version=__version__, parameters=self._parameters()
            ),
        }

    def _parameters(self) -> list[str]:
        limits = self.made.thresholds
        masks = [
            f"mask {time.name}: {one.name} {one.version}" if one else f"mask {time.name}: given"
            for time, one in zip(self.times, self._makers, strict=True)
        ]
        demo = [one for one in self._makers if one is not None and one.demo]
        return [
            *masks,
            f"change of volume from {limits.volume_percent:g} %",
            f"change of product from {limits.product_percent:g} %",
            *(["demonstration model: no clinical meaning"] if demo else []),
        ]

    @property
    def _makers(self) -> tuple[Maker | None, Maker | None]:
        return self.made.before.maker, self.made.after.maker


def _became(status: Status) -> Any:
    return hd.sr.CodedConcept(status.value.replace(" ", "-"), codes.OWN_SCHEME, status.value)


def _observer() -> Any:
    return hd.sr.ObserverContext(
        observer_type=codes.DEVICE,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=["brainmvp", "comparison", "device"]),
            name=_NAME,
            manufacturer_name=MANUFACTURER,
            model_name=f"{_NAME} {__version__}",
            serial_number=SERIAL,
        ),
    )
