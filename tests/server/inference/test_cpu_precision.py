"""bfloat16 on a CPU: only where the bundle has a proof for it, and never in silence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.amend import amended
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineUnavailable
from brainmvp_models.manifest import CpuKind, CpuPrecision, CpuProof, OutputAgreement
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.study import read_study
from brainmvp_server.inference.cpu_precision import (
    check_bfloat16,
    check_cpu_precision,
    cpu_kind,
    in_bfloat16,
)
from brainmvp_server.inference.engines import EngineOptions, load_engine
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.preparation.brain_network import BrainBundles
from brainmvp_server.results.summary import Summary
from brainmvp_server.runtime.service import Service
from brainmvp_server.settings import Settings

HERE = cpu_kind()
with_bfloat16 = pytest.mark.skipif(HERE is None, reason="this CPU does not compute in bfloat16")


def proof(kind: CpuKind, window_s: float) -> CpuProof:
    """One by which a window takes so long in place of a second."""
    agreement = OutputAgreement(
        real=(Modality.T1,), output="WT", studies=1, dice=0.999, volume_error=0.001
    )
    return CpuProof(
        cpu=kind, runtime="openvino", scans="given", studies=1, agreement=(agreement,),
        fp32_window_s=1.0, window_s=window_s, command="test", created="2026-11-28T00:00:00+00:00",
    )  # fmt: skip


def proved(bundle: Bundle, *proofs: CpuProof) -> Bundle:
    return Bundle(bundle.root, bundle.manifest.model_copy(update={"cpu_proofs": proofs}))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_bf16 amx_tile amx_int8\n", "amx"),
        ("flags\t\t: fpu avx512f avx512_bf16 avx_vnni\n", "avx512_bf16"),
        ("flags\t\t: fpu avx512f amx_tile amx_int8\n", None),
        ("flags\t\t: fpu avx2 notavx512_bf16\n", None),
        ("Features\t: fp asimd bf16\n", None),
        ("", None),
    ],
)
def test_a_cpu_is_known_by_its_instructions(tmp_path: Path, text: str, kind: str | None) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_kind(tmp_path / "cpuinfo") == kind


def test_a_system_that_does_not_say_has_no_bfloat16(tmp_path: Path) -> None:
    assert cpu_kind(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("wanted", "engine", "kind", "window_s", "taken"),
    [
        ("auto", "openvino", "amx", 0.5, True),
        ("auto", None, "amx", 0.5, True),
        ("auto", "openvino", "amx", 0.95, False),
        ("auto", "openvino", "avx512_bf16", 0.5, False),
        ("auto", "openvino", None, 0.5, False),
        ("auto", "onnxruntime", "amx", 0.5, False),
        ("fp32", "openvino", "amx", 0.5, False),
        ("bf16", "openvino", "amx", 0.95, True),
    ],
)
def test_auto_takes_bfloat16_only_by_a_proof_for_that_cpu_and_where_it_is_faster(
    tiny_bundle: Bundle,
    wanted: CpuPrecision,
    engine: str | None,
    kind: CpuKind | None,
    window_s: float,
    taken: bool,
) -> None:
    bundle = proved(tiny_bundle, proof("amx", window_s))
    assert in_bfloat16(bundle, engine, wanted, kind) is taken


@pytest.mark.parametrize("wanted", ["auto", "bf16"])
def test_networks_that_find_brains_stay_in_float32(wanted: CpuPrecision) -> None:
    for bundle in (BrainBundles.packaged().box, BrainBundles.packaged().extraction):
        assert not in_bfloat16(proved(bundle, proof("amx", 0.5)), "openvino", wanted, "amx")


def test_bf16_without_a_proof_for_that_cpu_is_refused_with_the_bundle_and_the_command(
    tiny_bundle: Bundle,
) -> None:
    bundle = proved(tiny_bundle, proof("amx", 0.5))
    with pytest.raises(EngineUnavailable, match=r"tiny/1: .*no proof.*avx512_bf16.*prove") as told:
        check_cpu_precision("bf16", "openvino", [bundle], "avx512_bf16")
    assert told.value.subject == "tiny/1"
    check_cpu_precision("bf16", "openvino", [bundle], "amx")
    check_cpu_precision("auto", "openvino", [bundle], "avx512_bf16")


@pytest.mark.parametrize(
    ("engine", "kind", "problem"),
    [
        ("openvino", None, "no instructions for bfloat16"),
        ("onnxruntime", "amx", "'onnxruntime' does not compute in bfloat16"),
    ],
)
def test_bf16_is_refused_where_engine_or_cpu_cannot(
    engine: str, kind: CpuKind | None, problem: str
) -> None:
    with pytest.raises(EngineUnavailable, match=problem):
        check_bfloat16(engine, kind)


def test_a_service_told_to_use_bf16_does_not_start_with_an_unproved_bundle(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    settings = Settings.of(
        models=tiny_bundle.root.parents[1], scratch=scratch, cpu_precision="bf16"
    )
    with pytest.raises(EngineUnavailable, match=r"no proof for bfloat16|no instructions"):
        Service(settings)
    assert not scratch.exists()


def test_an_earlier_bundle_is_served_in_float32(tiny_bundle: Bundle) -> None:
    assert tiny_bundle.manifest.cpu_proofs == ()
    assert not in_bfloat16(tiny_bundle, None, "auto", "amx")


@pytest.fixture(scope="module")
def proved_here(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with a proof for this CPU."""
    assert HERE is not None
    folder = tmp_path_factory.mktemp("proved") / "small" / "1"
    shutil.copytree(small_bundle.root, folder)
    copied = Bundle.open(folder)
    update = {"cpu_proofs": (proof(HERE, 0.5),)}
    return amended(copied, copied.manifest.model_copy(update=update), lambda card: card)


@with_bfloat16
def test_a_result_says_which_precision_answered(
    proved_here: Bundle, colin27: Path, tmp_path: Path
) -> None:
    import nibabel as nib

    image = nib.load(colin27).slicer[80:112, 90:138, 60:120]
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), tmp_path / "t1.nii.gz")
    study = read_study({Modality.T1: tmp_path / "t1.nii.gz"})
    answers: list[tuple[str, str]] = []
    wanted: CpuPrecision
    for wanted in ("auto", "bf16", "fp32"):
        with Predictor.load(proved_here, "openvino", wanted) as predictor:
            result = predictor.predict_study(study, fill="zeros")
            answers.append((wanted, Summary.of(result).engine.precision))
    assert answers == [("auto", "bf16"), ("bf16", "bf16"), ("fp32", "fp32")]


@with_bfloat16
def test_the_engine_really_rounds_where_it_says_bf16(small_bundle: Bundle) -> None:
    window = np.random.default_rng(0).random((1, 4, 32, 48, 64), dtype=np.float32)
    logits = {}
    for bfloat16 in (False, True):
        engine = load_engine(small_bundle.network, "openvino", EngineOptions(bfloat16=bfloat16))
        assert engine.info.precision == ("bf16" if bfloat16 else "fp32")
        logits[bfloat16] = engine.infer(window).copy()
        engine.close()
    off = np.abs(logits[True] - logits[False]).max() / logits[False].std()
    assert 1e-3 < off < 0.5
