"""Say more of a bundle that exists: another manifest and card, the same network and templates."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from brainmvp_models.bundle import MANIFEST, Bundle, describe_file
from brainmvp_models.durable import replace_folder
from brainmvp_models.errors import InvalidBundle
from brainmvp_models.manifest import Manifest

CARD = "card.md"


def amended(
    bundle: Bundle,
    manifest: Manifest,
    card: Callable[[str], str],
    texts: Mapping[str, str] | None = None,
) -> Bundle:
    """The bundle with another manifest, and with its card changed.

    The new version is written aside, verified and renamed; the network and the templates are not
    touched. Name and version stay; the manifest's digest, and so the bundle's, becomes another.

    Args:
        manifest: what is to be said; the card's entry among its files is made anew.
        card: makes the new text of the old one.
        texts: other files of the bundle, new or in the place of old ones, by their names.

    Raises:
        InvalidBundle: the folder cannot be written to.
    """
    models = bundle.root.parent.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".card-", dir=models) as scratch:
            folder = Path(scratch) / bundle.root.name
            shutil.copytree(bundle.root, folder, copy_function=_linked)
            _rewrite(folder, manifest, card, texts or {})
            Bundle.open(folder)
            replace_folder(folder, bundle.root, Path(scratch).with_suffix(".replaced"))
    except OSError as error:
        raise InvalidBundle(
            f"its card cannot be written ({error.strerror or type(error).__name__})",
            remedy="Check the permissions of the model folder",
            subject=str(bundle.root),
        ) from None
    return Bundle.open(bundle.root)


def with_section(card: str, heading: str, body: str) -> str:
    """A card's text with the section under a heading replaced, or added at the end.

    Args:
        heading: with its ``## ``.
    """
    section = f"{heading}\n\n{body}"
    old = re.compile(rf"^{re.escape(heading)}$.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    if old.search(card):
        return old.sub(lambda _: section + "\n\n", card, count=1).rstrip("\n") + "\n"
    return f"{card.rstrip()}\n\n{section}\n"


def sections(text: str) -> dict[str, str]:
    """The bodies of a text's sections, by their headings (``## …``), in their order."""
    _, *found = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    parts = (section.partition("\n") for section in found)
    return {heading.rstrip(): body.strip("\n") for heading, _, body in parts}


def _linked(source: str, target: str) -> None:
    """A hard link where the file system has them; else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _rewrite(
    folder: Path, manifest: Manifest, card: Callable[[str], str], texts: Mapping[str, str]
) -> None:
    file = folder / CARD
    text = file.read_text(encoding="utf-8") if file.is_file() else f"# {manifest.name}\n"
    _replace(file, card(text))
    files = {entry.path: entry for entry in manifest.files} | {CARD: describe_file(file)}
    for name, content in texts.items():
        _replace(folder / name, content)
        files[name] = describe_file(folder / name)
    listed = tuple(files[name] for name in sorted(files))
    changed = manifest.model_copy(update={"files": listed})
    _replace(folder / MANIFEST, changed.model_dump_json(indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    """A new file of that name: the old one may be a link to the bundle's."""
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")
