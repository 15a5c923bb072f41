"""Brain masks beside the studies of a run: what breaks here sends another mask, or none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainmvp_clients.pacs.deidentify import Pseudonymizer
from brainmvp_clients.pacs.pseudonyms import Pseudonyms
from brainmvp_clients.score.bids import BidsSource
from brainmvp_clients.score.folders import FolderSource, study_files_in
from brainmvp_clients.score.protocols import Source
from brainmvp_clients.score.served_model import ResultSettings
from brainmvp_clients.score.study_files import Study, StudyFiles, UnusableStudy
from brainmvp_clients.score.worklist import WorklistSource
from dicom_studies import write_study

from .conftest import Score, predictions

PATTERN = "*_mask.nii"


def keys(source: Source) -> list[str]:
    return [study.key for study in source.studies()]


@pytest.fixture
def masked(cohort: Path) -> Path:
    """The cohort, a mask in each study's folder."""
    for folder in cohort.iterdir():
        (folder / "doe_mask.nii").write_bytes(f"brain of {folder.name}".encode())
    return cohort


def test_each_study_is_sent_with_its_own_mask_under_no_name_of_its_file(
    score: Score, scoring: Any, masked: Path
) -> None:
    code, _, err = score("--brain", PATTERN)
    assert code == 0, err
    sent = [request.parts() for request in predictions(scoring)]
    assert len(sent) == 5
    for parts in sent:
        number = parts["t1"][2].decode().split()[0]
        assert parts["brain"][2].decode().endswith(number), "another study's mask"
        assert "doe" not in (parts["brain"][0] or "")


def test_without_the_option_a_mask_beside_the_series_is_not_sent(
    score: Score, scoring: Any, masked: Path
) -> None:
    assert score()[0] == 0
    assert all(request.parts().keys() == {"t1", "flair"} for request in predictions(scoring))


def test_a_study_without_a_mask_or_with_two_is_refused_and_the_others_are_scored(
    score: Score, scoring: Any, masked: Path, tmp_path: Path
) -> None:
    (masked / "DOE^JANE_1" / "doe_mask.nii").unlink()
    (masked / "DOE^JANE_2" / "second_mask.nii").write_bytes(b"x")
    code, _, _ = score("--brain", PATTERN)
    assert code == 1 and len(predictions(scoring)) == 3
    text = (tmp_path / "out" / "results.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    reasons = sorted(row["reason"] for row in rows if row["state"] == "refused")
    assert [reason.split(" are")[0].lower() for reason in reasons] == ["2 files", "no files"]
    assert "--brain" in reasons[0] and "doe" not in "".join(reasons).lower()


def test_a_dry_run_says_which_file_is_the_mask(score: Score, masked: Path) -> None:
    code, out, _ = score("--brain", PATTERN, "--dry-run", "--json")
    assert code == 0
    entry = json.loads(out.splitlines()[0])
    assert entry["uses"][-1] == {"modality": "brain", "source": "doe_mask.nii", "reason": ""}
    assert entry["state"] == "would be scored" and not entry["problem"]


def test_another_pattern_is_another_run(score: Score, scoring: Any, masked: Path) -> None:
    assert score()[0] == 0
    assert score("--brain", PATTERN, "--resume")[0] == 0
    assert len(predictions(scoring)) == 10
    assert ResultSettings().digest != ResultSettings(brain=PATTERN).digest


@pytest.mark.parametrize("arguments", [("--prepare", "none"), ("--resample",)])
def test_a_mask_that_can_be_of_no_use_is_bad_usage(
    score: Score, scoring: Any, masked: Path, arguments: tuple[str, ...]
) -> None:
    code, _, err = score("--brain", PATTERN, *arguments)
    assert code == 2 and err.startswith("brainmvp: --brain: is of no use"), err
    assert not predictions(scoring)


@pytest.mark.parametrize(
    "source", [("--dicomweb", "http://127.0.0.1:1/dicom-web"), ("--worklist", "list.csv")]
)
def test_a_source_that_has_no_masks_to_be_named_refuses_a_pattern(
    score: Score, source: tuple[str, ...]
) -> None:
    code, _, err = score("--brain", PATTERN, source=source)
    assert code == 2 and "column 'brain'" in err


def test_a_mask_lies_beside_dicom_files_too(tmp_path: Path) -> None:
    written = write_study(tmp_path / "study", "siemens", ("t1",))
    mask = tmp_path / "study" / "doe_mask.nii"
    mask.write_bytes(b"mask")
    with pytest.raises(UnusableStudy, match="lie together"):
        study_files_in(tmp_path / "study")
    found = study_files_in(tmp_path / "study", PATTERN)
    assert found.dicom and found.brain == mask and set(found.files) == set(written.files)


def test_a_bids_session_has_its_mask_beneath_derivatives(tmp_path: Path) -> None:
    masks = []
    for subject in ("sub-01", "sub-02"):
        raw = tmp_path / subject / "ses-1" / "anat"
        derived = tmp_path / "derivatives" / "hd-bet" / subject / "ses-1" / "anat"
        for folder in (raw, derived):
            folder.mkdir(parents=True)
        (raw / f"{subject}_ses-1_T1w.nii.gz").write_bytes(b"t1")
        masks.append(derived / f"{subject}_ses-1_desc-brain_mask.nii.gz")
        masks[-1].write_bytes(b"mask")
    source = BidsSource(tmp_path, brain="*_desc-brain_mask.nii.gz")
    studies = list(source.studies())
    assert [study.name for study in studies] == ["sub-01/ses-1", "sub-02/ses-1"]
    for study, mask in zip(studies, masks, strict=True):
        found = source.fetch(study, tmp_path)
        assert found.volumes.keys() == {"t1"} and found.brain == mask
    masks[0].unlink()
    assert keys(source)[0] != studies[0].key, "a mask that has changed is another study"
    with pytest.raises(UnusableStudy, match="no files are named"):
        source.fetch(studies[0], tmp_path)


@pytest.fixture
def worklist(masked: Path) -> Callable[[str], Source]:
    def of(line: str) -> Source:
        path = masked / "list.csv"
        path.write_text(f"study,t1,folder,brain\n{line}\n")
        return WorklistSource(path)

    return of


def test_a_worklist_names_each_mask_or_none(
    worklist: Callable[[str], Source], masked: Path, tmp_path: Path
) -> None:
    t1, mask = (f"DOE^JANE_0/doe_{name}.nii" for name in ("jane_t1", "mask"))
    for line, brain in (
        (f"a,{t1},,{mask}", masked / mask),
        (f"a,,DOE^JANE_0,{mask}", masked / mask),
        (f"a,{t1},,", None),
    ):
        source = worklist(line)
        found = source.fetch(next(source.studies()), tmp_path)
        assert found.brain == brain and found.volumes["t1"] == masked / t1
    source = worklist(f"a,{t1},,nowhere.nii")
    with pytest.raises(UnusableStudy, match="the file of brain is not there"):
        source.fetch(next(source.studies()), tmp_path)


def test_a_mask_that_is_replaced_makes_its_study_another_one(
    worklist: Callable[[str], Source], masked: Path
) -> None:
    source = worklist("a,DOE^JANE_0/doe_jane_t1.nii,,DOE^JANE_0/doe_mask.nii")
    before = [keys(FolderSource(masked, brain=PATTERN))[0], *keys(source)]
    (masked / "DOE^JANE_0" / "doe_mask.nii").write_bytes(b"drawn anew, and larger than before")
    after = [keys(FolderSource(masked, brain=PATTERN))[0], *keys(source)]
    assert all(one != other for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("dicom", [True, False])
def test_a_mask_loses_the_texts_of_its_header_like_any_file_of_a_pseudonymized_study(
    tmp_path: Path, dicom: bool
) -> None:
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4))
    image.header["descrip"] = b"DOE^JANE"
    t1, mask = tmp_path / "doe_t1.nii", tmp_path / "doe_mask.nii"
    for path in (t1, mask):
        nib.save(image, path)
    if dicom:
        written = write_study(tmp_path / "study", "siemens", ("t1",))
        study_files = StudyFiles(files=written.files, dicom=True, brain=mask)
    else:
        study_files = StudyFiles(volumes={"t1": t1}, brain=mask)
    into = tmp_path / "out"
    into.mkdir()
    pseudonymizer = Pseudonymizer(Pseudonyms.of("k" * 32))
    sent = pseudonymizer.pseudonymize(Study("key", "name"), study_files, into).brain
    assert sent is not None and b"DOE" not in sent.read_bytes() and "doe" not in sent.name
    np.testing.assert_array_equal(nib.load(sent).dataobj, image.dataobj)
