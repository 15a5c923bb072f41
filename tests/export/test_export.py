"""The export: what a bundle holds, and that a failed export leaves nothing."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_export.export import ExportOptions, export_bundle
from brainmvp_models import __version__
from brainmvp_models.bundle import Bundle, digest_of
from brainmvp_models.errors import (
    InvalidBundle,
    InvalidCheckpoint,
    ParityFailed,
    TemplateMismatch,
)
from brainmvp_models.modality import Modality
from brainmvp_models.task import Task

TEMPLATE = (40, 48, 56)


@pytest.fixture
def options(tiny_checkpoint: Path, tmp_path: Path, small_task: Task) -> ExportOptions:
    """An export that would succeed."""
    return ExportOptions(tiny_checkpoint, tmp_path / "models", small_task, "small", "1")


@pytest.fixture(scope="session")
def template_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of the task's four templates and one that it has no use for."""
    folder = tmp_path_factory.mktemp("bank") / "bank"
    folder.mkdir()
    for value, name in enumerate(("FLAIR", "T1", "T2", "DWI"), start=1):
        image = nib.Nifti1Image(np.full(TEMPLATE, value, np.int16), np.eye(4))
        nib.save(image, folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="session")
def demo_bundle(
    tiny_checkpoint: Path,
    small_task: Task,
    template_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """A half-precision demonstration with templates of a folder and notes."""
    return export_bundle(
        ExportOptions(
            tiny_checkpoint,
            tmp_path_factory.mktemp("demo"),
            small_task,
            "demo",
            "2",
            templates=template_folder,
            precision="fp16",
            notes="## Quality\n\nMeasured on nothing.",
            demo=True,
        )
    )


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_bundle_holds_network_card_and_manifest_and_nothing_else(small_bundle: Bundle) -> None:
    files = {"model.onnx", "model.pt2", "card.md", "manifest.json"}
    assert _files(small_bundle.root) == files
    assert _files(small_bundle.root.parent.parent) == {"small"}


def test_manifest_vouches_for_every_file(demo_bundle: Bundle) -> None:
    entries = {entry.path: entry for entry in demo_bundle.manifest.files}
    assert set(entries) == _files(demo_bundle.root) - {"manifest.json"}
    for name, entry in entries.items():
        assert entry.digest == digest_of(demo_bundle.root / name)
        assert entry.bytes == (demo_bundle.root / name).stat().st_size


def test_manifest_says_where_the_bundle_comes_from(
    small_bundle: Bundle, tiny_checkpoint: Path, small_task: Task
) -> None:
    manifest = small_bundle.manifest
    assert (manifest.name, manifest.version) == ("small", "1")
    assert manifest.task == small_task
    assert manifest.provenance.checkpoint == digest_of(tiny_checkpoint)
    assert manifest.provenance.exporter == f"brainmvp {__version__}"
    assert manifest.provenance.command == "test"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\+00:00", manifest.provenance.created)
    assert manifest.templates is None
    assert not manifest.demo


def test_manifest_describes_the_network(small_bundle: Bundle) -> None:
    network = small_bundle.manifest.network
    assert (network.size, network.precision) == ("tiny", "fp32")
    assert (network.file, network.input, network.output) == ("model.onnx", "image", "logits")
    assert 0.7e6 < network.parameters < 1.5e6


def test_bundle_holds_no_folder_of_the_machine_that_made_it(
    demo_bundle: Bundle, tiny_checkpoint: Path, template_folder: Path
) -> None:
    for file in ("manifest.json", "card.md", "model.onnx"):
        content = (demo_bundle.root / file).read_bytes()
        for folder in (tiny_checkpoint.parent, template_folder.parent, demo_bundle.root.parents[1]):
            assert str(folder).encode() not in content


def test_templates_of_a_folder_are_those_of_the_tasks_channels(demo_bundle: Bundle) -> None:
    entry = demo_bundle.manifest.templates
    assert entry is not None
    assert entry.origin == "bank"
    bank = demo_bundle.templates()
    assert bank.modalities == (Modality.T1, Modality.T2, Modality.FLAIR)
    assert [int(volume.max()) for volume in bank.volumes.values()] == [2, 3, 1]
    assert {volume.shape for volume in bank.volumes.values()} == {TEMPLATE}


def test_half_precision_passes_parity_at_half_the_size(
    demo_bundle: Bundle, small_bundle: Bundle
) -> None:
    assert demo_bundle.manifest.network.precision == "fp16"
    reports = demo_bundle.manifest.parity
    assert [report.engine for report in reports] == ["openvino", "onnxruntime"]
    assert all(1e-5 < report.max_error < 5e-2 for report in reports)
    sizes = [bundle.network.stat().st_size for bundle in (demo_bundle, small_bundle)]
    assert 0.4 < sizes[0] / sizes[1] < 0.65


def test_card_of_a_demo_says_so_and_another_does_not(
    demo_bundle: Bundle, small_bundle: Bundle
) -> None:
    demo, other = ((b.root / "card.md").read_text("utf-8") for b in (demo_bundle, small_bundle))
    assert demo_bundle.manifest.demo
    assert "A demonstration" in demo
    assert "demonstration" not in other.lower()


def test_card_tells_inputs_outputs_parity_and_notes(demo_bundle: Bundle) -> None:
    card = (demo_bundle.root / "card.md").read_text("utf-8")
    assert card.startswith("# demo\n")
    assert "| 1 | t1c | template of t1c |" in card
    assert "- WT: whole tumour (labels 1, 2, 4)" in card
    assert "| onnxruntime | 2 |" in card
    assert card.endswith("## Quality\n\nMeasured on nothing.\n")


def test_existing_version_is_refused_and_stays(
    options: ExportOptions, small_bundle: Bundle
) -> None:
    target = options.out / "small" / "1"
    shutil.copytree(small_bundle.root, target)
    with pytest.raises(InvalidBundle, match="small/1: exists already"):
        export_bundle(options)
    assert Bundle.open(target).manifest == small_bundle.manifest


def test_export_that_bfloat16_is_too_coarse_for_fails_and_leaves_the_old_version_and_no_trace(
    options: ExportOptions, small_bundle: Bundle
) -> None:
    target = options.out / "small" / "1"
    shutil.copytree(small_bundle.root, target)
    told: list[str] = []
    with pytest.raises(ParityFailed, match=r"0\.999 are allowed.*--study.*--precision fp32"):
        export_bundle(dataclasses.replace(options, precision="bf16", overwrite=True), told.append)
    assert told[-1] == "comparing the engines with the checkpoint"
    assert _files(options.out) == {"small"}
    assert _files(options.out / "small") == {"1"}
    assert Bundle.open(target).manifest == small_bundle.manifest


def test_export_without_usable_templates_writes_nothing(
    options: ExportOptions, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TemplateMismatch, match="holds no template"):
        export_bundle(dataclasses.replace(options, templates=tmp_path / "empty"))
    with pytest.raises(InvalidCheckpoint, match=r"tiny\.pt: holds no rep_template"):
        export_bundle(dataclasses.replace(options, templates=options.checkpoint))
    assert not options.out.exists()


@pytest.mark.parametrize("field", ["name", "version"])
@pytest.mark.parametrize("value", ["../up", "a/b", "", ".hidden", "x" * 80])
def test_name_that_would_leave_the_model_folder_is_refused_before_any_work(
    options: ExportOptions, field: str, value: str
) -> None:
    told: list[str] = []
    with pytest.raises(InvalidBundle, match=field):
        export_bundle(dataclasses.replace(options, **{field: value}), told.append)
    assert told == []
    assert not options.out.exists()


def test_out_that_is_a_file_is_refused(options: ExportOptions) -> None:
    options.out.write_text("not a folder", encoding="utf-8")
    with pytest.raises(InvalidBundle, match="models: is no folder"):
        export_bundle(options)
    assert options.out.read_text(encoding="utf-8") == "not a folder"


def test_manifest_is_readable_json_with_a_schema_version(small_bundle: Bundle) -> None:
    text = (small_bundle.root / "manifest.json").read_text(encoding="utf-8")
    assert json.loads(text)["schema_version"] == 1
    assert text.count("\n") > 20


def test_an_export_that_cannot_be_put_in_its_place_leaves_the_earlier_bundle(
    options: ExportOptions, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = options.out / "small" / "1"
    shutil.copytree(small_bundle.root, target)
    rename = Path.rename

    def refusing(path: Path, target: Path) -> Path:
        if path.parent.name.startswith(".export-"):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refusing)
    with pytest.raises(InvalidBundle, match="small/1: cannot be put in its place"):
        export_bundle(dataclasses.replace(options, overwrite=True))
    assert Bundle.open(target).digest == small_bundle.digest
    assert {path.name for path in options.out.iterdir()} == {"small"}
