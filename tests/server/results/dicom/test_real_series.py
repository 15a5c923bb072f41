"""Objects made of real scanners' series: valid, and the mask voxel for voxel and mm for mm."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_server.inference.result import Result
from brainmvp_server.results.dicom.object_options import ObjectOptions
from brainmvp_server.results.dicom.objects import ObjectFile, object_files
from drawn_results import drawn, mask_of, volumes_of

SERIES = {
    "ge-jitter-t1": "orientations that differ in the 8th decimal",
    "philips-classic-t1": "scaled slice by slice",
    "philips-enhanced-with-raw": "an enhanced object, geometry per frame",
    "siemens-xa30-adc": "a derived map",
    "siemens-xa30-enhanced-t1": "pixel measures per frame, frames from the last to the first",
    "siemens-xa30-field-map": "two objects of one series",
    "siemens-xa30-trace": "a derived image",
}


@pytest.fixture(scope="module")
def bundle(bundles: Path) -> Bundle:
    return Bundle.open(bundles / "demo-glioma" / "1")


@pytest.fixture(scope="module", params=SERIES)
def results(
    request: pytest.FixtureRequest, real_data: Callable[[str], Path], bundle: Bundle
) -> list[Result]:
    files = sorted((real_data("dicom") / request.param).glob("*.dcm"))
    images = [p for p in files if "ImageType" in pydicom.dcmread(p, specific_tags=["ImageType"])]
    return [drawn(volume, bundle) for volume in volumes_of(images)]


def written(result: Result, options: ObjectOptions = ObjectOptions()) -> dict[str, bytes]:
    made = list(object_files(result, options))
    assert all(isinstance(one, ObjectFile) for one in made), made
    return {one.name: one.content for one in made if isinstance(one, ObjectFile)}


def segmentation_of(result: Result, options: ObjectOptions = ObjectOptions()) -> bytes:
    """The segmentation, which is written first, without the other objects."""
    first = next(iter(object_files(result, options)))
    assert isinstance(first, ObjectFile) and first.name == "segmentation.dcm", first
    return first.content


@pytest.mark.parametrize(("encoding", "frames"), [("binary", "sparse"), ("labelmap", "all")])
def test_the_segmentation_of_a_real_series_is_the_mask_at_its_place(
    results: list[Result], encoding: str, frames: str
) -> None:
    assert results
    for result in results:
        content = segmentation_of(result, ObjectOptions(encoding, frames))  # type: ignore[arg-type]
        np.testing.assert_array_equal(mask_of(content, result.study.native.grid), result.mask)


def test_no_object_of_a_real_series_breaks_a_rule_of_the_standard(
    results: list[Result], tmp_path: Path, program: Callable[[str], Path]
) -> None:
    for result in results:
        for name, content in written(result, ObjectOptions(overlay=True)).items():
            (tmp_path / name).write_bytes(content)
            said = subprocess.run(
                [program("dciodvfy"), tmp_path / name], capture_output=True, text=True, check=False
            )
            assert [x for x in said.stderr.splitlines() if x.startswith("Error")] == [], name


def test_every_frame_of_the_segmentation_refers_to_the_frame_at_its_place(
    results: list[Result],
) -> None:
    """A viewer lays a segment over the frame that is named, wherever that lies."""
    for result in results:
        source = result.study.native.source
        made = pydicom.dcmread(io.BytesIO(segmentation_of(result)))
        assert source is not None and made.StudyInstanceUID == source.study
        named = {(f.image.instance, f.number): k for k, f in enumerate(source.frames)}
        lps = np.diag((-1.0, -1.0, 1.0, 1.0)) @ result.study.native.grid.affine
        for frame in made.PerFrameFunctionalGroupsSequence:
            item = frame.DerivationImageSequence[0].SourceImageSequence[0]
            k = named[item.ReferencedSOPInstanceUID, item.get("ReferencedFrameNumber")]
            place = frame.PlanePositionSequence[0].ImagePositionPatient
            np.testing.assert_allclose(place, (lps @ (0, 0, k, 1))[:3], atol=1e-4)
            assert item.SpatialLocationsPreserved == "YES"
        references = made.SourceImageSequence
        assert {r.ReferencedSOPInstanceUID for r in references} == {
            image.instance for image in source.images
        }
        assert len(references) == len(source.images)
