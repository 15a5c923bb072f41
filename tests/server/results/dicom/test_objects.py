"""What goes back to a PACS: valid objects, the mask voxel for voxel, replaced on a repeat."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.task import RegionOutputs, load_task
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.intake import chosen_for, take_in
from brainmvp_server.inference.brain_surface import Brain
from brainmvp_server.inference.measure import Structure, measure
from brainmvp_server.inference.parts import Part
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.result import ClassScore, Result
from brainmvp_server.results.dicom.object_options import ObjectOptions
from brainmvp_server.results.dicom.objects import MissingObject, ObjectFile, object_files
from dicom_studies import Study, contrast_image, header_of, write_series, write_study

LPS = np.diag((-1.0, -1.0, 1.0, 1.0))


def predicted(bundle: Bundle, files: tuple[Path, ...], folder: Path) -> Result:
    predictor = Predictor.load(bundle)
    try:
        heap = take_in([Unpacked(path, "") for path in files], folder)
        sources = chosen_for(heap, bundle.task.modalities, {})
        return predictor.predict(sources, fill="zeros")
    finally:
        predictor.close()


@pytest.fixture(scope="module")
def studies(
    coarse_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Study, Result]]:
    found = {}
    for kind, vendor in (("classic", "ge"), ("enhanced", "philips")):
        folder = tmp_path_factory.mktemp(kind)
        study = write_study(folder, vendor, ("t1", "flair"), enhanced=kind == "enhanced", part=True)
        found[kind] = study, with_two_parts(predicted(coarse_bundle, study.files, folder))
    return found


def with_two_parts(result: Result) -> Result:
    """The result with the largest parts alone: a report of dozens takes a second to write."""
    structures = tuple(replace(one, parts=one.parts[:2]) for one in result.structures)
    return replace(result, structures=structures)


@pytest.fixture(params=["classic", "enhanced"])
def result(request: pytest.FixtureRequest, studies: dict[str, tuple[Study, Result]]) -> Result:
    return studies[request.param][1]


def with_mask(result: Result, mask: np.ndarray) -> Result:
    """The result, had this been its mask."""
    assert result.segmentation is not None
    structures = result.structures
    if not mask.any():
        structures = tuple(replace(one, voxels=0, volume_ml=0.0, parts=()) for one in structures)
    segmentation = replace(result.segmentation, mask=np.asfortranarray(mask))
    return replace(result, segmentation=segmentation, structures=structures)


def sparse_mask(result: Result) -> np.ndarray:
    """A few voxels of every label, on a few slices."""
    mask = np.zeros(result.mask.shape, np.uint8)
    mask[3:7, 5:6, 4:6], mask[8:9, 9:12, 5:9], mask[10:14, 2:4, 17:18] = 1, 2, 4
    return mask


def written(result: Result, options: ObjectOptions = ObjectOptions()) -> dict[str, bytes]:
    files = list(object_files(result, options))
    assert [one for one in files if isinstance(one, MissingObject)] == []
    return {one.name: one.content for one in files if isinstance(one, ObjectFile)}


def segmentation_of(result: Result, options: ObjectOptions = ObjectOptions()) -> bytes:
    """The segmentation, which is written first, without the other objects."""
    first = next(iter(object_files(result, options)))
    assert isinstance(first, ObjectFile) and first.name == "segmentation.dcm"
    return first.content


def read_back(content: bytes, result: Result) -> np.ndarray:
    """The mask of a segmentation on the native grid, by millimetres and by the segments' values."""
    segmentation = hd.seg.segread(io.BytesIO(content))
    volume = segmentation.get_volume(combine_segments=True, skip_overlap_checks=True)
    values = [0] + [
        int(segment.SegmentDescription.rsplit(" ", 1)[1])
        for segment in segmentation.SegmentSequence
        if segment.SegmentNumber > 0
    ]
    voxels = np.array(values, np.uint8)[np.asarray(volume.array, int)]
    step = np.linalg.inv(LPS @ result.study.native.grid.affine) @ volume.affine
    places = step[:3, :3] @ np.indices(voxels.shape).reshape(3, -1) + step[:3, 3:]
    assert np.abs(places - places.round()).max() < 1e-4
    mask = np.zeros(result.mask.shape, np.uint8)
    mask[tuple(places.round().astype(int))] = voxels.ravel()
    return mask


@pytest.mark.parametrize("encoding", ["binary", "labelmap"])
@pytest.mark.parametrize("frames", ["sparse", "all"])
def test_the_segmentation_is_the_mask_voxel_for_voxel(
    result: Result, encoding: str, frames: str
) -> None:
    options = ObjectOptions(encoding, frames)  # type: ignore[arg-type]
    for one in (result, with_mask(result, sparse_mask(result))):
        content = segmentation_of(one, options)
        np.testing.assert_array_equal(read_back(content, one), one.mask)


@pytest.mark.parametrize("plane", ["coronal", "oblique"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forth", "back"])
def test_it_lies_right_in_other_planes_and_slice_orders(
    coarse_bundle: Bundle, tmp_path: Path, plane: str, reverse: bool
) -> None:
    image = contrast_image("t1", plane, reverse=reverse, part=True)  # type: ignore[arg-type]
    files = write_series(tmp_path, [image], header_of("siemens", "t1"), "siemens").files
    one = predicted(coarse_bundle, files, tmp_path)
    one = with_mask(one, sparse_mask(one))
    np.testing.assert_array_equal(read_back(segmentation_of(one), one), one.mask)


@pytest.mark.parametrize(
    "options",
    [
        ObjectOptions(overlay=True),
        ObjectOptions("binary", "all"),
        ObjectOptions("labelmap"),
        ObjectOptions("labelmap", "all"),
    ],
    ids=["sparse", "all", "labelmap", "labelmap-all"],
)
def test_no_object_breaks_a_rule_of_the_standard(
    result: Result, options: ObjectOptions, tmp_path: Path, program: Callable[[str], Path]
) -> None:
    empty = with_mask(result, np.zeros_like(result.mask))
    for name, one in (("found", measured_again(result)), ("empty", empty)):
        for file, content in written(one, options).items():
            path = tmp_path / f"{name}-{file}"
            path.write_bytes(content)
            said = subprocess.run(
                [program("dciodvfy"), path], capture_output=True, text=True, check=False
            )
            assert [x for x in said.stderr.splitlines() if x.startswith("Error")] == [], path.name
            dumped = subprocess.run([program("dcmdump"), path], capture_output=True, check=False)
            assert dumped.returncode == 0 and not dumped.stderr, path.name
            if file == "report.dcm":
                read = subprocess.run([program("dsr2xml"), path], capture_output=True, check=False)
                assert read.returncode == 0 and not read.stderr, path.name
            if file.startswith("overlay"):
                drawn = subprocess.run(
                    [program("dcm2pnm"), path, tmp_path / "drawn"], capture_output=True, check=False
                )
                assert drawn.returncode == 0 and not drawn.stderr, path.name


def test_a_repeat_has_the_same_uids_and_another_study_has_others(
    studies: dict[str, tuple[Study, Result]],
) -> None:
    def uids(result: Result) -> list[tuple[str, str]]:
        objects = [pydicom.dcmread(io.BytesIO(c)) for c in written(result).values()]
        return [(str(o.SOPInstanceUID), str(o.SeriesInstanceUID)) for o in objects]

    _, result = studies["classic"]
    assert uids(result) == uids(with_mask(result, sparse_mask(result)))
    assert len({uid for pair in uids(result) for uid in pair}) == 4
    other = replace(result, bundle_digest="sha256:" + "0" * 64)
    assert not {uid for pair in uids(other) for uid in pair} & {
        uid for pair in uids(result) for uid in pair
    }


def test_objects_belong_to_the_patients_study_and_refer_to_the_series(
    studies: dict[str, tuple[Study, Result]],
) -> None:
    for study, result in studies.values():
        source = study.series["t1"]
        for content in written(result, ObjectOptions(overlay=True)).values():
            made = pydicom.dcmread(io.BytesIO(content))
            assert made.StudyInstanceUID == study.uid
            assert made.PatientID == study.patient
            assert made.SeriesInstanceUID != source.uid
            used = {str(element.value) for element in made.iterall() if element.VR == "UI"}
            originals = {str(pydicom.dcmread(p).SOPInstanceUID) for p in source.files}
            assert used & originals
        first = pydicom.dcmread(io.BytesIO(segmentation_of(result)))
        assert first.ReferencedSeriesSequence[0].SeriesInstanceUID == source.uid
        assert first.FrameOfReferenceUID == study.frame


def test_an_empty_mask_says_that_nothing_was_found(result: Result) -> None:
    empty = with_mask(result, np.zeros_like(result.mask))
    files = written(empty, ObjectOptions(overlay=True))
    made = pydicom.dcmread(io.BytesIO(files["segmentation.dcm"]))
    assert made.ContentDescription.startswith("No finding")
    assert made.NumberOfFrames == 3 * empty.mask.shape[2]
    np.testing.assert_array_equal(read_back(files["segmentation.dcm"], empty), empty.mask)
    assert str(pydicom.dcmread(io.BytesIO(files["report.dcm"]))).count("373572006") == 3
    assert [name for name in files if name.startswith("overlay")] == ["overlay-0001.dcm"]


def test_the_report_holds_volumes_model_and_what_was_real_and_filled(result: Result) -> None:
    report = pydicom.dcmread(io.BytesIO(written(result)["report.dcm"]))
    texts = {str(element.value) for element in report.iterall() if element.keyword == "TextValue"}
    assert {"real modalities: t1, flair", "filled modalities: t1c (zeros), t2 (zeros)"} <= texts
    assert {
        result.manifest.name,
        result.manifest.version,
        f"bundle: {result.bundle_digest}",
    } <= texts
    numbers = [e.value for e in report.iterall() if e.keyword == "ReferencedSegmentNumber"]
    assert numbers == [3]  # the enhancing tumour is one label; the other regions are unions


def test_the_report_reads_back_with_every_number_of_every_structure_and_part(
    result: Result,
) -> None:
    result = measured_again(result)
    content = hd.sr.srread(io.BytesIO(written(result)["report.dcm"])).content
    groups = {
        group.tracking_identifier: group
        for group in (
            *content.get_image_measurement_groups(),
            *content.get_volumetric_roi_measurement_groups(),
        )
    }
    measured: dict[str, Structure | Part] = {}
    for one in result.structures:
        measured |= {one.name: one} | {f"{one.name} part {p.number}": p for p in one.parts}
    assert set(groups) == set(measured) and len(measured) > len(result.structures)
    assert len({group.tracking_uid for group in groups.values()}) == len(groups)
    for name, one in measured.items():
        size, group = one.size, groups[name]
        assert size is not None and one.centroid_mm is not None
        expected = {
            "Volume": (one.volume_ml, "mL"),
            "Long Axis": (size.diameter_mm, "mm"),
            "Short Axis": (size.across_mm, "mm"),
            "Product of long and short axis": (size.product_mm2, "mm2"),
            "Maximum 3D diameter": (size.diameter_3d_mm, "mm"),
            "Distance to surface of brain": (one.to_surface_mm, "mm"),
        }
        read = {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}
        assert read == expected
        (site,) = group.finding_sites
        assert site.laterality.meaning.lower() == {"both": "right and left"}.get(
            str(one.side), one.side
        )
        if isinstance(one, Structure):
            continue
        (middle,) = (
            item
            for item in group[0].ContentSequence
            if item.ConceptNameCodeSequence[0].CodeMeaning == "Center of Mass"
        )
        np.testing.assert_allclose(middle.value * (-1, -1, 1), [one.centroid_mm], atol=1e-3)
        long_axis = next(m for m in group.get_measurements() if m.name.meaning == "Long Axis")
        (line,) = long_axis.referenced_coordinates
        np.testing.assert_allclose(line.value * (-1, -1, 1), size.diameter_ends_mm, atol=1e-3)


def measured_again(result: Result) -> Result:
    """A result of a few voxels of every label, in a brain that is half of the image."""
    mask = sparse_mask(result)
    grid, outputs = result.study.native.grid, result.manifest.task.outputs
    assert isinstance(outputs, RegionOutputs) and result.segmentation is not None
    inside = np.zeros(mask.shape, bool)
    inside[1:-1, 1:-1, 1:-1] = True
    brain = Brain(inside, grid, np.eye(4), np.array([1.0, 0.0, 0.0]))
    members = tuple(np.isin(mask, region.labels) for region in outputs.regions)
    structures = measure(members, outputs, grid, brain)
    segmentation = replace(result.segmentation, mask=np.asfortranarray(mask), outputs=members)
    return replace(result, segmentation=segmentation, structures=structures)


def test_a_parts_identifier_names_that_tissue_and_no_other(result: Result) -> None:
    def identifiers(one: Result) -> set[str]:
        report = pydicom.dcmread(io.BytesIO(written(one)["report.dcm"]))
        names = [str(e.value) for e in report.iterall() if e.VR == "UI"]
        parts = {str(s.parts) for s in one.structures}
        assert parts
        return set(names)

    here = measured_again(result)
    moved = replace(
        here,
        structures=tuple(
            replace(one, parts=tuple(replace(p, centroid_mm=(0.0, 0.0, 0.0)) for p in one.parts))
            for one in here.structures
        ),
    )
    count = sum(len(one.parts) for one in here.structures)
    assert identifiers(here) == identifiers(here)
    assert len(identifiers(here) - identifiers(moved)) >= count


def test_segments_carry_the_bundles_codes(
    result: Result,
) -> None:
    made = pydicom.dcmread(io.BytesIO(segmentation_of(result)))
    codes = [s.SegmentedPropertyTypeCodeSequence[0] for s in made.SegmentSequence]
    assert [(c.CodeValue, c.CodingSchemeDesignator) for c in codes] == [
        ("6574001", "SCT"),
        ("79654002", "SCT"),
        ("C113842", "NCIt"),
    ]


def test_a_classifier_reports_its_scores(
    result: Result, tmp_path: Path, program: Callable[[str], Path]
) -> None:
    manifest = result.manifest.model_copy(update={"task": load_task("brats18-grade")})
    scores = (
        ClassScore("LGG", "low grade", 0.25, 0.25),
        ClassScore("HGG", "high grade", 0.75, 0.75),
    )
    graded = replace(result, manifest=manifest, segmentation=None, structures=(), scores=scores)
    files = written(graded, ObjectOptions(overlay=True))
    assert list(files) == ["report.dcm"]
    report = pydicom.dcmread(io.BytesIO(files["report.dcm"]))
    values = [float(e.value) for e in report.iterall() if e.keyword == "NumericValue"]
    assert values == [0.25, 0.75]
    (tmp_path / "report.dcm").write_bytes(files["report.dcm"])
    said = subprocess.run(
        [program("dciodvfy"), tmp_path / "report.dcm"], capture_output=True, text=True, check=False
    )
    assert "Error" not in said.stderr
