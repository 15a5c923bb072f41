"""``brainmvp pack``: a model folder as an image for a registry, with a digest of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from brainmvp_models.bundle import MANIFEST, Bundle, bundle_folders
from brainmvp_models.errors import BrainMVPError, InvalidBundle, InvalidSettings
from brainmvp_server.commands.writing import writing
from brainmvp_server.repository.catalogue import DEFAULT
from brainmvp_server.repository.oci_layout import Layer, write_layout


def pack(
    models: Annotated[Path, typer.Argument(help="Model folder with NAME/VERSION of each bundle.")],
    layout: Annotated[Path, typer.Argument(help="New folder for the image.")],
) -> None:
    """Pack a model folder as an OCI image layout, which skopeo, crane or oras push to a registry.

    Prints the image's digest. The same bundles have the same digest, whenever and wherever they
    are packed.
    """
    try:
        digest, bundles = pack_bundles(models, layout)
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None
    for bundle in bundles:
        typer.echo(f"packed {bundle.root.parent.name} {bundle.root.name}", err=True)
    typer.echo(digest)


def pack_bundles(models: Path, layout: Path) -> tuple[str, list[Bundle]]:
    """Write the bundles below ``models``, and which versions are served by default, as an image.

    Raises:
        InvalidBundle: there is none, or one of them does not verify.
        InvalidSettings: ``layout`` is there already.
        StorageFailed: it cannot be written.
    """
    bundles = [_verified(root) for root in bundle_folders(models)]
    if not bundles:
        raise InvalidBundle(
            "holds no bundle",
            remedy="Give a folder with NAME/VERSION/ as 'brainmvp export' writes them",
            subject=str(models),
        )
    if layout.exists():
        raise InvalidSettings(
            "is there already", remedy="Name a folder that is not", subject=str(layout)
        )
    with writing(layout):
        layout.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".pack-", dir=layout.parent))
        try:
            digest = write_layout(models, _layers(models, bundles), aside)
            aside.chmod(0o755)
            aside.rename(layout)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return digest, bundles


def _verified(root: Path) -> Bundle:
    try:
        return Bundle.open(root)
    except InvalidBundle as error:
        error.subject = f"{root.parent.name}/{root.name}"
        raise


def _layers(models: Path, bundles: list[Bundle]) -> Iterator[Layer]:
    """A layer a bundle, of its own files alone, and one a model whose default is named."""
    for bundle in bundles:
        files = (MANIFEST, *(entry.path for entry in bundle.manifest.files))
        name = bundle.root.relative_to(models).as_posix()
        yield Layer(name, tuple(bundle.root / file for file in files))
    for folder in sorted({bundle.root.parent for bundle in bundles}):
        if (marker := folder / DEFAULT).is_file():
            yield Layer(folder.relative_to(models).as_posix(), (marker,))
