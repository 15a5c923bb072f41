"""``brainmvp prove``: bfloat16 is written down only where its masks are float32's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_export.agreement import (
    Comparison,
    check_agreement,
    served_in,
    subsets_of,
)
from brainmvp_export.cpu_proof import GATE, prove_on_cpu
from brainmvp_export.parity import packaged_study
from brainmvp_export.proof_card import with_proof
from brainmvp_export.prove import Scans, add_proof
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import ParityFailed
from brainmvp_models.manifest import CpuKind, CpuProof, OutputAgreement
from brainmvp_models.modality import Modality
from brainmvp_models.task import Task, load_task
from brainmvp_server.imaging.study import Study, read_study
from brainmvp_server.inference.cpu_precision import cpu_kind, in_bfloat16

HERE = cpu_kind()
with_bfloat16 = pytest.mark.skipif(HERE is None, reason="this CPU does not compute in bfloat16")


def agreed(
    output: str, dice: float | None = None, off: float | None = None, score: float | None = None
) -> OutputAgreement:
    return OutputAgreement(
        real=(Modality.T1, Modality.T2),
        output=output,
        studies=int(dice is not None or score is not None),
        dice=dice,
        volume_error=off,
        score_error=score,
    )


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (agreed("WT", 0.9949, 0.001), r"WT of t1, t2: Dice 0\.9949"),
        (agreed("WT", 0.999, 0.0101), r"WT of t1, t2: .* volume 1\.01% off"),
        (agreed("HGG", score=0.011), r"HGG of t1, t2: score 0\.0110 off"),
        (agreed("ET"), r"no study shows 1 mL of ET"),
    ],
)
def test_an_output_that_differs_or_is_never_seen_is_refused_by_name(
    found: OutputAgreement, problem: str
) -> None:
    with pytest.raises(ParityFailed, match=problem):
        check_agreement([agreed("TC", 1.0, 0.0), found], GATE)


def test_what_keeps_to_the_limits_passes_and_what_one_subset_lacks_another_shows() -> None:
    check_agreement([agreed("WT", 0.995, 0.01), agreed("HGG", score=0.01)], GATE)
    check_agreement([agreed("ET"), agreed("ET", 0.999, 0.0)], GATE)


def test_every_subset_has_what_the_task_requires(small_task: Task) -> None:
    study = packaged_study(small_task)
    t1, t1c, t2, flair = small_task.modalities
    assert subsets_of(study, small_task) == (
        (t1, t1c, t2, flair),
        (t1c, t2, flair), (t1, t2, flair), (t1, t1c, flair), (t1, t1c, t2),
        (t1,), (t1c,), (t2,), (flair,),
    )  # fmt: skip
    channels = (small_task.channels[0].model_copy(update={"required": True}),)
    strict = small_task.model_copy(update={"channels": channels + small_task.channels[1:]})
    assert all(t1 in subset for subset in subsets_of(study, strict))


def test_a_study_of_one_modality_is_one_subset() -> None:
    task = load_task("isles22")
    study = packaged_study(task)
    alone = type(study).of(study.volumes[:1])
    assert subsets_of(alone, task) == (task.modalities[:1],)


@pytest.fixture
def demo(bundles: Path, tmp_path: Path) -> Bundle:
    shutil.copytree(bundles / "demo-glioma", tmp_path / "models" / "demo-glioma")
    return Bundle.open(tmp_path / "models" / "demo-glioma")


def contents(bundle: Bundle) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bundle.root.iterdir()}


def proof(kind: CpuKind, dice: float) -> CpuProof:
    agreement = (agreed("WT", dice, 0.0012), agreed("ET"))
    return CpuProof(
        cpu=kind, runtime="openvino 1", scans="given", studies=2, agreement=agreement,
        fp32_window_s=3.0, window_s=2.0, command="the command",
        created="2026-11-28T00:00:00+00:00",
    )  # fmt: skip


def test_proofs_stand_in_manifest_and_card_one_for_each_kind_of_cpu(demo: Bundle) -> None:
    before = contents(demo)
    written = demo
    proofs = proof("amx", 0.9961), proof("avx512_bf16", 0.9972), proof("amx", 0.9983)
    for one in proofs:
        written = with_proof(written, one)
    assert written.manifest.cpu_proofs == (proofs[1], proofs[2])
    card = (written.root / "card.md").read_text()
    assert card.count("## bfloat16 on CPUs") == 1
    assert "| t1, t2 | WT | 1 | 0.9983 | 0.12% | – |" in card and "0.9961" not in card
    assert "**AMX**" in card and "2 s in place of 3 s (1.50 ×)" in card
    assert card.startswith(before["card.md"].decode().rstrip())
    assert contents(written)["model.onnx"] == before["model.onnx"]
    for kind in ("amx", "avx512_bf16"):
        assert in_bfloat16(written, "openvino", "bf16", kind)


@pytest.fixture
def crop(bundles: Path, tmp_path: Path) -> Study:
    """Two modalities, a few windows large, around a tumour."""
    files = {}
    for modality in (Modality.T1, Modality.T1C):
        image = nib.load(bundles.parent / "glioma_study" / f"{modality}.nii.gz")
        data = np.asarray(image.dataobj)[40:120, 40:120, 40:120]
        files[modality] = tmp_path / f"{modality}.nii.gz"
        nib.save(nib.Nifti1Image(data, image.affine), files[modality])
    return read_study(files)


@with_bfloat16
def test_named_studies_that_all_lack_a_modality_are_refused_before_any_work(
    demo: Bundle, tmp_path: Path
) -> None:
    named = dict.fromkeys(demo.task.modalities, tmp_path / "absent.nii.gz")
    assert Scans(named=(named,)).may_be_complete(demo.task)
    del named[Modality.FLAIR]
    with pytest.raises(ParityFailed, match="no study has all of t1, t1c, t2, flair"):
        add_proof(demo, Scans(named=(named,)), "test")


@with_bfloat16
def test_studies_that_all_lack_a_modality_prove_nothing(demo: Bundle, crop: Study) -> None:
    alone = Study.of([crop.volumes[1]])
    with pytest.raises(ParityFailed, match="no study has all of t1, t1c, t2, flair"):
        prove_on_cpu(demo, [alone])


@with_bfloat16
def test_a_comparison_holds_the_worst_of_its_studies(demo: Bundle, crop: Study) -> None:
    found = Comparison()
    part = Study.of([crop.volumes[1]])
    real = (Modality.T1C,)
    results = {}
    for bfloat16 in (False, True):
        with served_in(demo, bfloat16=bfloat16) as predictor:
            results[bfloat16] = predictor.predict_study(part, not_determinable=True)
    assert results[True].engine.precision == "bf16"
    found.add(real, results[False], results[True])
    found.add(real, results[False], results[False])
    assert [one.output for one in found.agreement] == ["TC", "WT", "ET"]
    judged = [one for one in found.agreement if one.studies]
    assert judged and all(one.studies == 2 for one in judged)
    assert all(one.dice is not None and 0.9 < one.dice < 1 for one in judged)
    assert len(found.windows_s) == 2 and all(min(pair) > 0 for pair in found.windows_s)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["absent"], "absent: "),
        (["demo-glioma", "absent"], "there is no such file"),
        (["demo-glioma", "--datalist", "absent.json"], "there is no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(demo: Bundle, arguments: list[str], problem: str) -> None:
    command = [sys.executable, "-m", "brainmvp_clients.cli", "prove", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False,
        cwd=demo.root.parents[1],
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and problem in done.stderr
