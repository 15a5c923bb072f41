"""Bundles on disk: ``NAME/VERSION/`` with a manifest and the files it vouches for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from brainmvp_models.determinable import OpenSubset, open_subsets
from brainmvp_models.errors import InvalidBundle
from brainmvp_models.manifest import BundleFile, Manifest
from brainmvp_models.task import Task, explain
from brainmvp_models.templates import TemplateBank
from brainmvp_models.training_distribution import TrainingDistribution

MANIFEST = "manifest.json"
MOST_MANIFEST_BYTES = 4 << 20
"""Real ones have some kilobytes; a parser holds the interpreter's lock until it is done."""


class UnreadableBundle(InvalidBundle):
    """A bundle that the system does not let us read now; later it may."""

    @classmethod
    def of(cls, root: Path, error: OSError) -> UnreadableBundle:
        """The bundle in ``root``, for what the system said."""
        return cls(
            f"cannot be read ({type(error).__name__})",
            remedy="Check the folder, its permissions and the share it is on",
            subject=root.name,
        )


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle: every file it lists was there with the right digest when it was opened."""

    root: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Open and verify the bundle at ``path``: a version's folder, or a name's (latest version).

        Raises:
            InvalidBundle: there is none, its schema does not hold, or a file is missing, changed
                or not to be read.
        """
        try:
            return cls._opened(path)
        except OSError as error:
            raise UnreadableBundle.of(path, error) from None

    @classmethod
    def _opened(cls, path: Path) -> Bundle:
        root = path if (path / MANIFEST).is_file() else _latest(path)
        manifest = _read_manifest(root)
        bundle = cls(root, manifest)
        bundle.verify()
        listed = {entry.path for entry in manifest.files}
        network, templates = manifest.network, manifest.templates
        named = [network.file, network.weights, network.program]
        named += [templates.file if templates else None, manifest.training_distribution]
        unlisted = sorted({name for name in named if name is not None} - listed)
        if unlisted:
            raise InvalidBundle(
                f"names files without a digest: {', '.join(unlisted)}",
                remedy="Export the bundle again",
                subject=root.name,
            )
        _ = bundle.training_distribution  # a faulty one is refused now, not at a prediction
        return bundle

    def verify(self) -> None:
        """Look again whether every file is the one that was exported.

        Raises:
            InvalidBundle: one is missing, changed or not to be read.
        """
        try:
            for entry in self.manifest.files:
                _verify(self.root, entry)
        except OSError as error:
            raise UnreadableBundle.of(self.root, error) from None

    @property
    def task(self) -> Task:
        """The task the bundle was exported for."""
        return self.manifest.task

    @cached_property
    def digest(self) -> str:
        """``sha256:…`` of the manifest, which itself vouches for every file."""
        return digest_of(self.root / MANIFEST)

    @cached_property
    def training_distribution(self) -> TrainingDistribution | None:
        """What the training studies looked like; None where the bundle does not say.

        Raises:
            InvalidBundle: the file does not hold that.
        """
        name = self.manifest.training_distribution
        if name is None:
            return None
        try:
            return TrainingDistribution.model_validate_json((self.root / name).read_bytes())
        except ValidationError as error:
            raise InvalidBundle(
                f"{name} does not validate: {explain(error)}",
                remedy="Make it again: python -m brainmvp_evaluation.describe_training",
                subject=self.root.name,
            ) from None

    @cached_property
    def open_subsets(self) -> tuple[OpenSubset, ...]:
        """What each subset of modalities cannot decide; see :func:`open_subsets`."""
        return open_subsets(self.manifest)

    @property
    def network(self) -> Path:
        """The network's file: ONNX, OpenVINO's form, or a PyTorch program where that is all."""
        return self.root / self.manifest.network.file

    @property
    def forms(self) -> tuple[Path, ...]:
        """The files of :attr:`network` and of its other form: an engine reads one of them."""
        program = self.manifest.network.program
        return (self.network,) if program is None else (self.network, self.root / program)

    @property
    def network_bytes(self) -> int:
        """Size of the network's files."""
        network = self.manifest.network
        files = (network.file, network.weights)
        return sum(entry.bytes for entry in self.manifest.files if entry.path in files)

    def templates(self) -> TemplateBank:
        """The template bank; empty if the bundle has none."""
        entry = self.manifest.templates
        if entry is None:
            return TemplateBank({})
        return TemplateBank.load(self.root / entry.file, entry.modalities)


def find_bundles(folder: Path) -> Iterator[Bundle | InvalidBundle]:
    """Every bundle under ``folder`` in name and version order; a refused one as its error."""
    yield from map(opened, bundle_folders(folder))


def bundle_folders(folder: Path) -> list[Path]:
    """The folders ``NAME/VERSION`` that hold a manifest, in name and version order.

    Hidden folders are left out: an export that is under way, or was killed, writes into one.
    """
    found = (path for path in folder.glob(f"*/*/{MANIFEST}") if path.parts[-3][0] != ".")
    return sorted(
        (manifest.parent for manifest in found),
        key=lambda root: (root.parent.name, version_key(root.name)),
    )


def opened(root: Path) -> Bundle | InvalidBundle:
    """The bundle in the folder ``NAME/VERSION``, or why it is refused."""
    try:
        return Bundle.open(root)
    except InvalidBundle as error:
        error.subject = f"{root.parent.name}/{root.name}"
        return error


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts versions as people read them: 2 before 10, 1.9 before 1.10."""
    parts = re.split(r"[.\-_]", version)
    return tuple((1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts)


def digest_of(path: Path) -> str:
    """``sha256:…`` of a file, read in pieces."""
    with path.open("rb") as file:
        hasher = hashlib.sha256()
        while piece := file.read(1 << 20):
            hasher.update(piece)
    return f"sha256:{hasher.hexdigest()}"


def describe_file(path: Path) -> BundleFile:
    """The manifest's entry for a file."""
    return BundleFile(path=path.name, bytes=path.stat().st_size, digest=digest_of(path))


def _latest(path: Path) -> Path:
    versions = [m.parent for m in path.glob(f"*/{MANIFEST}")] if path.is_dir() else []
    if not versions:
        raise InvalidBundle(
            f"has no {MANIFEST}",
            remedy="Give the folder that 'brainmvp export' wrote",
            subject=str(path),
        )
    return max(versions, key=lambda folder: version_key(folder.name))


def _read_manifest(root: Path) -> Manifest:
    with (root / MANIFEST).open("rb") as file:
        content = file.read(MOST_MANIFEST_BYTES + 1)
    if len(content) > MOST_MANIFEST_BYTES:
        raise InvalidBundle(
            f"{MANIFEST} is larger than {MOST_MANIFEST_BYTES >> 20} MiB",
            remedy="Export the bundle again",
            subject=root.name,
        )
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise InvalidBundle(
            f"{MANIFEST} does not validate: {explain(error)}",
            remedy="Export the bundle again",
            subject=root.name,
        ) from None


def _verify(root: Path, entry: BundleFile) -> None:
    path = root / entry.path
    if not path.is_file():
        raise InvalidBundle(
            f"lacks {entry.path}", remedy="Copy the whole bundle again", subject=root.name
        )
    if path.stat().st_size != entry.bytes or digest_of(path) != entry.digest:
        raise InvalidBundle(
            f"{entry.path} is not the file that was exported (its SHA-256 differs)",
            remedy="Copy the whole bundle again, or export it anew",
            subject=root.name,
        )
