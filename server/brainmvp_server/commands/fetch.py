"""``brainmvp fetch``: bundles from elsewhere, refused unless they are the ones expected."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import typer

from brainmvp_models.bundle import Bundle, digest_of
from brainmvp_models.errors import BrainMVPError, InvalidBundle, InvalidSettings, StorageFailed
from brainmvp_server.commands.writing import writing
from brainmvp_server.repository.bundle_archive import check_bundles, unpack
from brainmvp_server.repository.catalogue import DEFAULT
from brainmvp_server.repository.oci_layout import read_layout

_LAYOUT = "oci:"
_PIECE = 1 << 20
_TIMEOUT = httpx.Timeout(30.0, read=120.0)


def fetch(
    url: Annotated[
        str, typer.Argument(help="https://… or s3://BUCKET/KEY of a .tar.gz, or oci:FOLDER.")
    ],
    models: Annotated[Path, typer.Argument(help="Model folder; gets NAME/VERSION of each bundle.")],
    digest: Annotated[str, typer.Option(help="sha256:… of the archive, or of the image.")],
) -> None:
    """Fetch bundles from an archive, or an image that brainmvp pack made, checked before use.

    A bucket's credentials are the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    AWS_ENDPOINT_URL.
    """
    try:
        for root in fetch_bundles(url, models, digest):
            typer.echo(f"fetched {root.parent.name} {root.name}")
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None


def fetch_bundles(url: str, models: Path, digest: str) -> list[Path]:
    """Put the bundles of the archive or image at ``url`` into the folder ``models``.

    A bundle that is there already is left as it is, and so is the choice of a default version.

    Raises:
        InvalidBundle: another one than expected, one that cannot be unpacked, or no bundles.
        InvalidSettings: an address that is none of these.
        StorageFailed: it cannot be read from there, or written here.
    """
    shown = urlsplit(url)._replace(query="", fragment="").geturl().rpartition("@")[2]
    with writing(models):
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=models) as aside:
            folder = Path(aside) / "models"
            if url.startswith(_LAYOUT):
                read_layout(Path(url.removeprefix(_LAYOUT)), digest, folder)
            else:
                _fetch_archive(url, Path(aside) / "archive", digest, shown)
                unpack(Path(aside) / "archive", folder, shown)
            roots = check_bundles(folder, shown)
            placed = [_placed(Bundle.open(root), models) for root in roots]
            _place_defaults(folder, models)
    return placed


def _fetch_archive(url: str, archive: Path, digest: str, shown: str) -> None:
    _download(url, archive, shown)
    if (found := digest_of(archive)) != digest:
        raise InvalidBundle(
            f"has another digest than the one asked for: {found}",
            remedy="Name the digest of the archive that you mean, or look who changed it",
            subject=shown,
        )


def _download(url: str, target: Path, shown: str) -> None:
    try:
        with _pieces(url) as pieces, target.open("wb") as file:
            for piece in pieces:
                file.write(piece)
    except httpx.HTTPStatusError as error:
        problem = f"was answered {error.response.status_code}"
    except httpx.HTTPError as error:
        problem = f"cannot be reached ({type(error).__name__})"
    else:
        return
    raise StorageFailed(problem, remedy="Check the address and its credentials", subject=shown)


@contextmanager
def _pieces(url: str) -> Iterator[Iterator[bytes]]:
    scheme = urlsplit(url).scheme
    if scheme in {"http", "https"}:
        with httpx.stream("GET", url, follow_redirects=True, timeout=_TIMEOUT) as answer:
            answer.raise_for_status()
            yield answer.iter_raw(_PIECE)
    elif scheme == "s3":
        with _bucket(url) as pieces:
            yield pieces
    else:
        raise InvalidSettings(
            "is no address that bundles can be fetched from",
            remedy="Give https://…, s3://BUCKET/KEY or oci:FOLDER",
            subject=scheme or "the address",
        )


@contextmanager
def _bucket(url: str) -> Iterator[Iterator[bytes]]:
    """An object's bytes; the credentials are those of the AWS variables."""
    import fsspec

    try:
        opened = fsspec.open(url, "rb").open()
    except ImportError:
        raise InvalidSettings(
            "needs a package that is not installed", remedy="pip install s3fs", subject="s3://"
        ) from None
    except OSError as error:
        raise StorageFailed(
            f"cannot be read ({type(error).__name__})",
            remedy="Check the address and the variables AWS_…",
            subject=url,
        ) from None
    with opened as file:
        yield iter(lambda: file.read(_PIECE), b"")


def _placed(bundle: Bundle, models: Path) -> Path:
    """Move a verified bundle to its place; returns the place."""
    place = models / bundle.root.parent.name / bundle.root.name
    if place.exists():
        if Bundle.open(place).digest != bundle.digest:
            raise InvalidBundle(
                "is there already, and is another one",
                remedy="Give one of them another version",
                subject=f"{place.parent.name}/{place.name}",
            )
        return place
    place.parent.mkdir(exist_ok=True)
    shutil.move(bundle.root, place)
    return place


def _place_defaults(folder: Path, models: Path) -> None:
    """Take over which versions are served by default, for models that say nothing of it."""
    for marker in folder.glob(f"*/{DEFAULT}"):
        place = models / marker.parent.name / DEFAULT
        if place.parent.is_dir() and not place.exists():
            shutil.move(marker, place)
