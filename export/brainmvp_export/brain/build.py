"""Make the two bundles that find brains from deepbet's wheel, proved on real heads.

deepbet 1.0.2 (PyPI, MIT) holds two TorchScript networks. Their weights are read into
:class:`LinkNet3d`, compared with the TorchScript itself, written as ONNX and compared again in
every engine on this CPU; a bundle that misses the tolerance is not written.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainmvp_export.brain.linknet import BrainLogit, loaded
from brainmvp_export.export import NETWORK_FILE, PROGRAM_FILE
from brainmvp_export.onnx import live_bytes, write_onnx
from brainmvp_export.parity import Array, check_parity
from brainmvp_export.program import write_program
from brainmvp_models import __version__
from brainmvp_models.bundle import MANIFEST, Bundle, describe_file
from brainmvp_models.durable import replace_folder
from brainmvp_models.errors import InvalidCheckpoint, InvalidInput, ParityFailed
from brainmvp_models.manifest import BundleKind, Manifest, Network, Parity, Provenance
from brainmvp_models.modality import Modality
from brainmvp_models.task import Channel, Label, Preprocessing, Region, RegionOutputs, Task, Window
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.preparation.brain_network import Head, standardised

RELEASE = "1.0.2"
_LICENCE = f"deepbet-{RELEASE}.dist-info/LICENSE"
_SAME = 1e-4
"""How far a probability may be from the TorchScript's: both sum in float32, in their own order."""


@dataclass(frozen=True)
class Part:
    """One of the wheel's networks.

    Attributes:
        member: its file in the wheel.
        digest: SHA-256 of that file.
        edge: voxels along each edge of its window.
    """

    kind: BundleKind
    title: str
    member: str
    digest: str
    edge: int


BOX = Part(
    "brain-box",
    "Where in a head the brain is",
    "data/models/bbox_model.pt",
    "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
    128,
)
EXTRACTION = Part(
    "brain-extraction",
    "The brain's voxels in a box around it",
    "data/models/model.pt",
    "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
    256,
)


def build(
    wheel: Path, heads: Sequence[Path], out: Path, command: str, program: bool = False
) -> tuple[Bundle, Bundle]:
    """Write ``out/brain-box/1.0.2`` and ``out/brain-extraction/1.0.2``.

    Args:
        heads: T1 series of whole heads (NIfTI) to prove parity on.
        command: how it was called, for the record.
        program: write the networks as PyTorch programs too.

    Raises:
        InvalidCheckpoint: the wheel does not hold the files that are known.
        InvalidInput: a head cannot be read, or shows no brain.
        ParityFailed: an engine does not reproduce the TorchScript.
    """
    box = _scripted(wheel, BOX)
    extraction = _scripted(wheel, EXTRACTION)
    seen = [_seen(path, box) for path in heads]
    whole, boxed = (np.stack(images)[:, np.newaxis] for images in zip(*seen, strict=True))
    with zipfile.ZipFile(wheel) as archive:
        licence = archive.read(_LICENCE).decode("utf-8")
    return (
        _write(BOX, box, whole, licence, out, command, program),
        _write(EXTRACTION, extraction, boxed, licence, out, command, program),
    )


def _seen(path: Path, box: Any) -> tuple[Array, Array]:
    """What the two networks see of a head."""
    head = Head.of(read_nifti(path, Modality.T1), (BOX.edge,) * 3)
    if head is not None:
        whole = standardised(head.image())
        around = head.box_around(_probability(box, whole[np.newaxis, np.newaxis])[0, 0] > 0.5)
        if around is not None:
            return whole, standardised(head.image(around, (EXTRACTION.edge,) * 3))
    raise InvalidInput("shows no brain", remedy="Give T1 series of whole heads", subject=path.name)


def _scripted(wheel: Path, part: Part) -> Any:
    """The wheel's TorchScript, known by its digest: such a file is a program."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(part.member)
    except (OSError, KeyError, zipfile.BadZipFile):
        content = b""
    if hashlib.sha256(content).hexdigest() != part.digest:
        raise InvalidCheckpoint(
            f"does not hold the {part.member} of deepbet {RELEASE}",
            remedy=f"Download the wheel of deepbet {RELEASE} from PyPI",
            subject=wheel.name,
        )
    return torch.jit.load(io.BytesIO(content), map_location="cpu").eval()  # type: ignore[no-untyped-call]


def _probability(network: Any, windows: Array) -> Array:
    """(N, 1, x, y, z), by the TorchScript."""
    with torch.inference_mode():
        shares = [network(torch.from_numpy(window[np.newaxis])) for window in windows]
    given: Array = torch.cat(shares)[:, 1:].numpy()
    return given


def _write(
    part: Part,
    scripted: Any,
    windows: Array,
    licence: str,
    out: Path,
    command: str,
    program: bool,
) -> Bundle:
    trained = loaded(scripted.state_dict())
    network = BrainLogit(trained).eval()
    task = _task(part)
    with torch.inference_mode():  # of two classes, one softmax is the sigmoid of a difference
        classes = [trained(torch.from_numpy(window[np.newaxis])) for window in windows]
    logits = torch.cat([given[:, 1:] - given[:, :1] for given in classes])
    off = float((logits.sigmoid() - torch.from_numpy(_probability(scripted, windows))).abs().max())
    if off > _SAME:
        raise ParityFailed(
            f"the network's probabilities, written anew, are {off:.1e} off",
            remedy="Nothing was written; please report it",
            subject=part.kind,
        )
    target = out / part.kind / RELEASE
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as scratch:
        folder = Path(scratch) / RELEASE
        folder.mkdir()
        forms = write_forms(network, task.window, folder, program)
        proofs = (check_parity(logits.numpy(), form, windows, task, "fp32") for form in forms)
        parity = tuple(chain.from_iterable(proofs))
        (folder / "LICENSE").write_text(licence, encoding="utf-8")
        written = Network(
            file=NETWORK_FILE,
            program=PROGRAM_FILE if program else None,
            size="linknet3d",
            parameters=sum(p.numel() for p in network.parameters()),
            precision="fp32",
            live_bytes=live_bytes(forms[0]),
        )
        manifest = _manifest(part, task, written, parity, folder, command)
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        Bundle.open(folder)
        replace_folder(folder, target, Path(scratch).with_suffix(".replaced"))
    return Bundle.open(target)


def write_forms(
    network: BrainLogit, window: Window, folder: Path, program: bool = False
) -> tuple[Path, ...]:
    """Write a network as ONNX and, if it is asked for, as a PyTorch program; the files."""
    onnx, pt2 = folder / NETWORK_FILE, folder / PROGRAM_FILE
    write_onnx(network, 1, window, onnx)
    if not program:
        return (onnx,)
    write_program(network, 1, window, pt2)
    return onnx, pt2


def _task(part: Part) -> Task:
    return Task(
        name=part.kind,
        title=part.title,
        channels=(Channel(modality=Modality.T1, required=True),),
        outputs=RegionOutputs(
            regions=(Region(name="brain", labels=(1,)),), labels=(Label(value=1, name="brain"),)
        ),
        preprocessing=Preprocessing(percentiles=(0.5, 99.5), field_of_view_mm=None),
        window=Window(size=(part.edge,) * 3, overlap=0),
        licence="MIT, (c) 2023 Medical Machine Learning Lab, University of Münster",
        notes=f"The weights of {part.member} in deepbet {RELEASE} (PyPI), unchanged; see "
        "Fisch et al., Computers in Biology and Medicine 2024. Trained on T1 of adults.",
    )


def _manifest(
    part: Part,
    task: Task,
    network: Network,
    parity: tuple[Parity, ...],
    folder: Path,
    command: str,
) -> Manifest:
    return Manifest(
        kind=part.kind,
        name=part.kind,
        version=RELEASE,
        task=task,
        network=network,
        files=tuple(describe_file(path) for path in sorted(folder.iterdir())),
        provenance=Provenance(
            checkpoint=f"sha256:{part.digest}",
            exporter=f"brainmvp {__version__}",
            command=command,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ),
        parity=parity,
    )
