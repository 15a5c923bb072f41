"""A lesion drawn into a raw series comes back at its millimetres: through the whole service.

What breaks here puts a mask beside the lesion, or on the other side. The network is a known
function: it marks whatever is bright in the FLAIR.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from onnx import helper

from brainmvp_models.bundle import Bundle, describe_file
from brainmvp_models.modality import Modality
from brainmvp_models.task import Preprocessing, Task, Window
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.inference.result import Result
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.results.files import files_of, mask_nifti
from brainmvp_server.runtime.received_study import ReceivedStudy
from brainmvp_server.runtime.service import Service
from brainmvp_server.settings import Settings
from drawn_patient import LESION, LESION_MM, TURNS, DrawnGrid, draw

SPACING_MM = 3.0
_BRIGHT = 2.2
"""Between tissue, at most 1.2, and the lesion, about 3, of the FLAIR as the network is given it."""
_ML = 4 / 3 * np.pi * LESION_MM**3 / 1000
Turn = np.ndarray


@pytest.fixture(scope="module")
def service(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of one model that marks what is bright in the FLAIR."""
    models = tmp_path_factory.mktemp("models")
    root = models / "bright" / "1"
    shutil.copytree(bundles / "demo-glioma" / "1", root)
    bundle = Bundle.open(root)
    task = bundle.task.model_copy(
        update={
            "preprocessing": Preprocessing(spacing_mm=(SPACING_MM,) * 3),
            "window": Window(size=(48, 48, 48)),
        }
    )
    write_network(bundle.network, task)
    files = tuple(describe_file(root / entry.path) for entry in bundle.manifest.files)
    manifest = bundle.manifest.model_copy(
        update={"name": "bright", "task": task, "files": files, "subset_card": ()}
    )
    (root / "manifest.json").write_text(manifest.model_dump_json())
    scratch = tmp_path_factory.mktemp("scratch")
    service = Service(Settings.of(models=models, scratch=scratch, watch_s=0, warm_up=False))
    yield service
    service.close()


def write_network(path: Path, task: Task) -> None:
    """Logits of every region: far above 0 where the FLAIR is bright, far below elsewhere."""
    channels, outputs = len(task.channels), task.outputs.count
    weights = np.zeros((outputs, channels, 1, 1, 1), np.float32)
    weights[:, task.modalities.index(Modality.FLAIR)] = 6
    bias = np.full(outputs, -6 * _BRIGHT, np.float32)
    size = list(task.window.size)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weights", "bias"], ["logits"])],
        "bright",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", channels, *size])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", outputs, *size])],
        [onnx.numpy_helper.from_array(value, name) for name, value in
         (("weights", weights), ("bias", bias))],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


def predicted(
    service: Service,
    files: Mapping[str, Path],
    brain: Path,
    space: str | None,
    *,
    templates: bool = False,
) -> Result:
    """The service's answer to a T1 and a FLAIR."""
    study = ReceivedStudy({Modality(name): path for name, path in files.items()}, brain=brain)
    options = PredictOptions(fill="zeros", space=space, templates=templates)
    bundle = service.repository.bundle("bright")
    with service.predict(bundle, study, options, CancelToken()) as prediction:
        return prediction.result


def found(result: Result) -> tuple[np.ndarray, float, nib.Nifti1Image]:
    """The centre of what was marked, R-A-S mm, its mL, and the mask as its reader has it."""
    image = nib.Nifti1Image.from_bytes(mask_nifti(result))
    marked = np.argwhere(np.asarray(image.dataobj) > 0)
    assert len(marked), "nothing was marked"
    centre = image.affine[:3, :3] @ marked.mean(axis=0) + image.affine[:3, 3]
    voxel_ml = abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000
    return centre, len(marked) * voxel_ml, image


def test_a_lesion_comes_back_at_its_millimetres_whatever_way_the_axes_lie(
    service: Service, tmp_path: Path
) -> None:
    spacing, count = (3.5, 4.0, 4.5), (56, 54, 48)
    files = {name: tmp_path / f"{name}.nii" for name in ("t1", "flair")}
    for number, turn in enumerate(TURNS):
        other = TURNS[(number * 7 + 5) % 48]
        for name, axes in (("t1", turn), ("flair", other)):
            along = np.abs(axes.T) @ np.array([spacing, count]).T  # the same voxels for both
            grid = DrawnGrid(axes, tuple(along[:, 0]), tuple(int(n) for n in along[:, 1]))
            draw(name, grid, files[name])
            if (name == "t1") == bool(number % 2):
                draw("brain", grid, tmp_path / "brain.nii")
        # So each of the 48 ways is once that of the grid which is asked for. Both ways back begin
        # with what the model sees: its own grid is looked at now and then.
        wanted = None if number % 4 < 2 else "flair"
        for space in (wanted, "model") if number % 4 == 0 else (wanted,):
            centre, ml, image = found(predicted(service, files, tmp_path / "brain.nii", space))
            np.testing.assert_allclose(centre, LESION, atol=0.7, err_msg=f"{number} {space}")
            assert ml == pytest.approx(_ML, rel=0.25), (number, space)
            if space != "model":
                asked = nib.load(files[space or "t1"])
                assert image.shape == asked.shape
                np.testing.assert_allclose(image.affine, asked.affine, atol=1e-4)


ANGLES = st.tuples(*[st.floats(-20, 20)] * 3)
MOVES = st.tuples(*[st.floats(-8, 8)] * 3)


def rigid(degrees: tuple[float, ...], shift: tuple[float, ...]) -> RigidTransform:
    return RigidTransform.of_rotation(np.array(degrees), np.array(shift), np.zeros(3))


@given(
    turns=st.tuples(*[st.sampled_from(TURNS)] * 2),
    oblique=st.tuples(ANGLES, ANGLES),
    moved=MOVES,
    nodded=MOVES,
    space=st.sampled_from((None, "t1", "flair", "model")),
    drawn_on=st.sampled_from(("t1", "flair")),
)
@settings(
    deadline=None,
    max_examples=8,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
def test_a_lesion_comes_back_within_a_voxel_from_oblique_series_between_which_the_patient_moved(
    service: Service,
    tmp_path: Path,
    turns: tuple[Turn, Turn],
    oblique: tuple[tuple[float, ...], tuple[float, ...]],
    moved: tuple[float, ...],
    nodded: tuple[float, ...],
    space: str | None,
    drawn_on: str,
) -> None:
    to_flair = rigid(nodded, moved)  # where a point of the head was when the FLAIR was taken
    files = {name: tmp_path / f"{name}.nii" for name in ("t1", "flair")}
    shapes = {"t1": ((3.0, 3.0, 3.0), (72,) * 3), "flair": ((3.0, 3.0, 4.0), (72, 72, 56))}
    ways = {"t1": RigidTransform.identity(), "flair": to_flair}
    for (name, (spacing, count)), turn, angles in zip(shapes.items(), turns, oblique, strict=True):
        grid = DrawnGrid(rigid(angles, (0, 0, 0)).matrix[:3, :3] @ turn, spacing, count)
        draw(name, grid, files[name], ways[name].inverse.matrix)
        if name == drawn_on:
            draw("brain", grid, tmp_path / "brain.nii", ways[name].inverse.matrix)
    result = predicted(service, files, tmp_path / "brain.nii", space)
    assert result.preparation is not None and len(result.preparation.moved) == 1
    centre, ml, image = found(result)
    where = to_flair.apply(LESION[None])[0] if space == "flair" else LESION
    assert float(np.linalg.norm(centre - where)) < SPACING_MM, "more than a voxel"
    assert ml == pytest.approx(_ML, rel=0.25)
    if space != "model":
        asked = nib.load(files[space or "t1"])
        assert image.shape == asked.shape
        np.testing.assert_allclose(image.affine, asked.affine, atol=1e-4)


def test_the_series_and_the_brain_of_a_patient_who_moved_lie_over_the_result(
    service: Service, tmp_path: Path
) -> None:
    to_flair = rigid((3.0, -4.0, 6.0), (7.0, -5.0, 4.0))
    files = {name: tmp_path / f"{name}.nii" for name in ("t1", "flair")}
    grid = DrawnGrid(TURNS[5], (3.0, 3.0, 3.0), (72, 72, 72))
    draw("t1", grid, files["t1"])
    draw("flair", DrawnGrid(TURNS[20], (3.0,) * 3, (74,) * 3), files["flair"],
         to_flair.inverse.matrix)  # fmt: skip
    brain = draw("brain", grid, tmp_path / "brain.nii")
    result = predicted(service, files, brain, None, templates=True)
    shown = {
        name: nib.Nifti1Image.from_bytes(gzip.decompress(content))
        for name, content in files_of(result)
        if name.startswith("channels/")
    }
    asked = nib.load(files["t1"])
    for image in shown.values():
        assert image.shape == asked.shape
        np.testing.assert_allclose(image.affine, asked.affine, atol=1e-4)
    t1, flair, mask = (np.asarray(shown[f"channels/{name}.nii.gz"].dataobj) for name in
                       ("t1", "flair", "brain"))  # fmt: skip
    np.testing.assert_array_equal(t1, np.asarray(asked.dataobj))
    assert flair.dtype == np.int16, "of whole numbers, as it came"
    bright = asked.affine[:3, :3] @ np.argwhere(flair > 1200).mean(axis=0) + asked.affine[:3, 3]
    assert float(np.linalg.norm(bright - LESION)) < SPACING_MM
    np.testing.assert_array_equal(mask, np.asarray(nib.load(brain).dataobj))
