"""Reading checkpoints: the published forms, and everything that is refused."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainmvp_models.errors import InvalidCheckpoint
from brainmvp_models.modality import BANK_ORDER
from brainmvp_models.task import load_task
from brainmvp_training.checkpoint import load_network, read_checkpoint
from brainmvp_training.finetuning import build_network
from brainmvp_training.networks import TINY, ClassificationNetwork, SegmentationNetwork

State = dict[str, torch.Tensor]
Weights = Callable[[torch.nn.Module], State]
Save = Callable[[Any], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(content: Any) -> Path:
        torch.save(content, tmp_path / "a.pt")
        return tmp_path / "a.pt"

    return write


def _refused(path: Path, problem: str, task: str = "upenn-gbm") -> str:
    """The message with which reading or loading ``path`` is refused: one line, without folders."""
    with pytest.raises(InvalidCheckpoint, match=problem) as caught:
        load_network(read_checkpoint(path), load_task(task))
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    assert str(path.parent) not in message
    return message


def _same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_fine_tuned_file_is_read_unchanged(tiny_checkpoint: Path, tiny_state: State) -> None:
    checkpoint = read_checkpoint(tiny_checkpoint)
    assert (checkpoint.kind, checkpoint.size) == ("segmentation", TINY)
    assert (checkpoint.channels, checkpoint.outputs) == (4, 3)
    assert checkpoint.templates is None
    assert _same(dict(checkpoint.state), tiny_state)
    expected = hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()
    assert checkpoint.digest == f"sha256:{expected}"


def test_loaded_network_holds_the_files_weights_and_evaluates(
    tiny_checkpoint: Path, tiny_state: State
) -> None:
    network = load_network(read_checkpoint(tiny_checkpoint), load_task("upenn-gbm"))
    assert isinstance(network, SegmentationNetwork)
    assert not network.training
    assert _same(network.state_dict(), tiny_state)


def test_prefix_of_distributed_training_is_dropped(save: Save, tiny_state: State) -> None:
    path = save({"state_dict": {f"module.{key}": value for key, value in tiny_state.items()}})
    assert _same(dict(read_checkpoint(path).state), tiny_state)


def test_bare_state_dict_is_read(save: Save, tiny_state: State) -> None:
    assert _same(dict(read_checkpoint(save(tiny_state)).state), tiny_state)


def test_file_in_torchs_older_format_is_read(tmp_path: Path, tiny_state: State) -> None:
    path = tmp_path / "old.pt"
    torch.save({"state_dict": tiny_state}, path, _use_new_zipfile_serialization=False)
    assert _same(dict(read_checkpoint(path).state), tiny_state)


@pytest.fixture
def pretrained(golden_weights: Weights) -> State:
    encoder = TINY.encoder(1)
    state = {f"module.encoder.uniformer.{k}": v for k, v in golden_weights(encoder).items()}
    state["module.rep_template"] = torch.arange(8.0).reshape(8, 1, 1, 1).expand(8, 3, 4, 5).clone()
    state["module.decoder.out_1.conv.conv.weight"] = torch.zeros(1, 16, 1, 1, 1)
    return state


def test_pre_trained_file_gives_encoder_kind_and_templates_in_order(
    save: Save, pretrained: State
) -> None:
    checkpoint = read_checkpoint(save({"state_dict": pretrained}))
    assert (checkpoint.kind, checkpoint.channels, checkpoint.outputs) == ("pre-trained", 1, 0)
    assert checkpoint.size == TINY
    assert "encoder.blocks3.0.attn.qkv.weight" in checkpoint.state
    assert "rep_template" not in checkpoint.state
    assert checkpoint.templates is not None
    assert checkpoint.templates.modalities == BANK_ORDER
    firsts = [volume[0, 0, 0] for volume in checkpoint.templates.volumes.values()]
    np.testing.assert_array_equal(firsts, range(8))
    assert checkpoint.templates.volumes[BANK_ORDER[0]].shape == (3, 4, 5)


def test_pre_trained_file_that_we_did_not_write_starts_a_fine_tuning(
    save: Save, pretrained: State
) -> None:
    network, notes = build_network(load_task("vsseg"), TINY, read_checkpoint(save(pretrained)))
    assert len(notes) == 1 and "arrays of the encoder are pre-trained" in notes[0]
    prefix = "module.encoder.uniformer."
    given = {f"encoder.{k[len(prefix) :]}": v for k, v in pretrained.items() if prefix in k}
    found = network.state_dict()
    assert set(given) == {key for key in found if key.startswith("encoder.")}
    assert all(torch.equal(found[key], value) for key, value in given.items())


def test_pre_trained_file_is_no_network_for_a_task(save: Save, pretrained: State) -> None:
    _refused(save({"state_dict": pretrained}), "it is a pre-trained checkpoint", "vsseg")


def test_classification_file_is_read(save: Save, golden_weights: Weights) -> None:
    state = golden_weights(ClassificationNetwork(TINY, 4, 2))
    checkpoint = read_checkpoint(save({"state_dict": state}))
    assert (checkpoint.kind, checkpoint.outputs) == ("classification", 2)
    network = load_network(checkpoint, load_task("brats18-grade"))
    assert isinstance(network, ClassificationNetwork)
    assert _same(network.state_dict(), state)


def test_absent_file_is_refused(tmp_path: Path) -> None:
    _refused(tmp_path / "absent.pt", r"absent\.pt: no such file")


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint\n", b"hello world " * 99, bytes(64)],
    ids=["empty", "line", "text", "zeros"],
)
def test_file_of_another_kind_is_refused_as_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    _refused(path, r"a\.pt: cannot be read as a checkpoint")


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_cut_off_file_is_refused_as_incomplete(
    tiny_checkpoint: Path, tmp_path: Path, share: float
) -> None:
    path = tmp_path / "a.pt"
    whole = tiny_checkpoint.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "complete file" in _refused(path, "cannot be read as a checkpoint")


class _Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path: Path, zipped: bool) -> None:
    path, trace = tmp_path / "a.pt", tmp_path / "trace"
    content = {"state_dict": {}, "epoch": _Attack(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    _refused(path, "holds more than tensors, so loading it could run code")
    assert not trace.exists()
    torch.load(path, weights_only=False)  # it would have run
    assert trace.exists()


def test_code_in_a_plain_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "a.pt", tmp_path / "trace"
    path.write_bytes(pickle.dumps(_Attack(trace)))
    _refused(path, r"a\.pt: (is refused|cannot be read)")
    assert not trace.exists()


@pytest.mark.parametrize(
    "content", [{"epoch": 3}, {"state_dict": {}}, {"state_dict": None}, [1], torch.zeros(3), {}]
)
def test_file_without_a_state_dict_is_refused(save: Save, content: Any) -> None:
    _refused(save(content), "state_dict")


def test_state_dict_of_another_network_is_refused(save: Save) -> None:
    state = torch.nn.Linear(3, 3).state_dict()
    _refused(save({"state_dict": state}), "holds no BrainMVP encoder")


def test_encoder_without_a_head_is_refused(save: Save, tiny_state: State) -> None:
    state = {k: v for k, v in tiny_state.items() if k.startswith("encoder.")}
    _refused(save({"state_dict": state}), "neither a decoder .* nor a classification head")


def test_other_number_of_channels_is_refused_with_both_numbers(
    save: Save, golden_weights: Weights
) -> None:
    state = golden_weights(SegmentationNetwork(TINY, 2, 3))
    _refused(save({"state_dict": state}), "task 'upenn-gbm': 2 channels, the task has 4")


def test_other_number_of_outputs_is_refused_with_both_numbers(
    save: Save, golden_weights: Weights
) -> None:
    state = golden_weights(SegmentationNetwork(TINY, 4, 2))
    _refused(save({"state_dict": state}), "task 'upenn-gbm': 2 outputs, the task has 3")


def test_segmentation_file_is_refused_for_a_classification(tiny_checkpoint: Path) -> None:
    problem = "it is a segmentation checkpoint, the task is classification"
    _refused(tiny_checkpoint, problem, "brats18-grade")


def test_missing_keys_are_listed_by_name(save: Save, tiny_state: State) -> None:
    del tiny_state["decoder.proj1.norm.bias"], tiny_state["encoder.norm.weight"]
    message = _refused(save({"state_dict": tiny_state}), "missing")
    assert "decoder.proj1.norm.bias" in message
    assert "encoder.norm.weight" in message


def test_unexpected_keys_are_listed_by_name_and_counted(save: Save, tiny_state: State) -> None:
    extra = {f"decoder.surprise{index}": torch.zeros(1) for index in range(20)}
    message = _refused(save({"state_dict": tiny_state | extra}), "unexpected decoder.surprise0")
    assert "and 12 more" in message


def test_other_shape_is_listed_with_both_shapes(save: Save, tiny_state: State) -> None:
    tiny_state["encoder.norm.weight"] = torch.zeros(7)
    _refused(save({"state_dict": tiny_state}), r"encoder\.norm\.weight is \(7,\), not \(128,\)")


@pytest.mark.parametrize("shape", [(), (16,), (16, 4)])
def test_first_convolution_of_no_convolutions_shape_is_refused(
    save: Save, tiny_state: State, shape: tuple[int, ...]
) -> None:
    tiny_state["encoder.patch_embed1.proj.weight"] = torch.zeros(shape)
    _refused(save({"state_dict": tiny_state}), "holds no BrainMVP encoder")


@pytest.mark.parametrize("key", ["decoder.out.conv.conv.weight", "head.weight"])
def test_head_that_is_a_scalar_is_refused(save: Save, tiny_state: State, key: str) -> None:
    state = {k: v for k, v in tiny_state.items() if k.startswith("encoder.")}
    path = save({"state_dict": state | {key: torch.tensor(1.0)}})
    _refused(path, "neither a decoder .* nor a classification head")


def test_unknown_depth_is_refused_with_the_known_sizes(save: Save, tiny_state: State) -> None:
    state = {k: v for k, v in tiny_state.items() if not k.startswith("encoder.blocks3.1.")}
    message = _refused(save({"state_dict": state}), r"depths \(1, 1, 1, 1\), which no named size")
    assert "released: widths (64, 128, 320, 512)" in message
