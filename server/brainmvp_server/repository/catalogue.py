"""The bundles of one folder, as they were at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR

from brainmvp_models.bundle import (
    Bundle,
    UnreadableBundle,
    bundle_folders,
    opened,
    version_key,
)
from brainmvp_models.errors import InvalidBundle, UnknownModel
from brainmvp_models.manifest import BundleKind
from brainmvp_models.modality import printable
from brainmvp_server.results.served_model import Model, Models, RefusedBundle

DEFAULT = "default"
"""A file of this name in a model's folder names the version that is served by default."""

_Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, eq=False)
class _Seen:
    """A bundle's folder as it was found, so that only what changed is verified again.

    Attributes:
        fingerprint: None where the folder could not be looked through; it is tried again.
    """

    fingerprint: _Fingerprint | None
    found: Bundle | InvalidBundle


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Name → version → bundle, oldest version first.

    Attributes:
        refused: bundles that are not served, and default markers that cannot be followed.
        defaults: the version served where none is asked for, by name.
        brain: bundles that find brains, the latest version of each kind; they predict nothing and
            are no models.
    """

    bundles: Mapping[str, Mapping[str, Bundle]]
    refused: tuple[InvalidBundle, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    brain: Mapping[BundleKind, Bundle] = field(default_factory=dict)
    _seen: Mapping[Path, _Seen] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, before: Catalogue | None = None) -> Catalogue:
        """Open every bundle under ``folder``; a broken one is refused, the others are served.

        Args:
            before: an earlier reading; a bundle whose files have not changed since is not verified
                again, and stays the same object.
        """
        known = before._seen if before is not None else {}
        seen = {root: _look(root, known.get(root)) for root in bundle_folders(folder)}
        bundles: dict[str, dict[str, Bundle]] = {}
        brain: dict[BundleKind, Bundle] = {}
        refused = []
        for entry in seen.values():  # in order of name and version
            if isinstance(entry.found, InvalidBundle):
                refused.append(entry.found)
            elif entry.found.manifest.kind != "model":
                brain[entry.found.manifest.kind] = entry.found
            else:
                manifest = entry.found.manifest
                bundles.setdefault(manifest.name, {})[manifest.version] = entry.found
        ordered = {
            name: dict(sorted(versions.items(), key=lambda item: version_key(item[0])))
            for name, versions in sorted(bundles.items())
        }
        defaults = {}
        for name, versions in ordered.items():
            try:
                defaults[name] = _default(folder / name / DEFAULT, versions)
            except InvalidBundle as error:
                refused.append(error)
                defaults[name] = list(versions)[-1]
        return cls(ordered, tuple(refused), defaults, brain, seen)

    def same_as(self, other: Catalogue) -> bool:
        """Whether both serve the same bundles in the same way."""
        return (
            {root: entry.found for root, entry in self._seen.items()}
            == {root: entry.found for root, entry in other._seen.items()}
        ) and self.defaults == other.defaults

    @property
    def all(self) -> tuple[Bundle, ...]:
        """Every version of every model."""
        return tuple(b for versions in self.bundles.values() for b in versions.values())

    @property
    def digests(self) -> frozenset[str]:
        """The digests of all bundles that are served."""
        return frozenset(bundle.digest for bundle in self.all)

    def models(self) -> Models:
        """Every model in its default version, and what was refused."""
        return Models(
            models=tuple(self.model(name) for name in self.bundles),
            refused=tuple(
                RefusedBundle(name=e.subject, problem=e.problem, remedy=e.remedy)
                for e in self.refused
            ),
        )

    def model(self, name: str, version: str | None = None, *, card: bool = False) -> Model:
        """One model.

        Raises:
            UnknownModel: no such name or version.
        """
        return Model.of(self.bundle(name, version), tuple(self.bundles[name]), card=card)

    def bundle(self, name: str, version: str | None = None) -> Bundle:
        """One bundle; the default version unless one is named.

        Raises:
            UnknownModel: no such name or version.
        """
        versions = self.bundles.get(name)
        if versions is None:
            served = ", ".join(self.bundles) or "none"
            raise UnknownModel(
                f"no model '{printable(name)}' is served", remedy=f"Served models: {served}"
            )
        if version is not None and version not in versions:
            raise UnknownModel(
                f"model '{name}' has no version '{printable(version)}'",
                remedy=f"Its versions: {', '.join(versions)}",
            )
        return versions[version or self.defaults[name]]


def _look(root: Path, before: _Seen | None) -> _Seen:
    """What is in a bundle's folder; one that the system will not let us read is refused.

    No fingerprint tells when it can be read again: permissions and shares come back without a
    trace in it.
    """
    try:
        fingerprint = _fingerprint(root)
        if before is not None and before.fingerprint == fingerprint:
            return before
        found = opened(root)
        if isinstance(found, Bundle):
            _ = found.digest  # of the manifest as it is now, not when somebody asks
    except OSError as error:
        found = UnreadableBundle.of(root, error)
    if not isinstance(found, UnreadableBundle):
        return _Seen(fingerprint, found)
    if before is not None and isinstance(before.found, UnreadableBundle):
        return before  # told once
    found.subject = f"{root.parent.name}/{root.name}"
    return _Seen(None, found)


def _fingerprint(root: Path) -> _Fingerprint:
    """What changes when a file does: its size, its time and its place on the disk.

    Folders are none of the bundle: what engines build for a GPU is kept in one.

    Raises:
        OSError: it cannot be looked through.
    """
    entries = []
    for path in sorted(root.iterdir()):
        try:
            status = path.stat()
        except OSError:  # it went between the two looks
            continue
        if S_ISDIR(status.st_mode):
            continue
        entries.append((path.name, status.st_size, status.st_mtime_ns, status.st_ino))
    return tuple(entries)


def _default(marker: Path, versions: Mapping[str, Bundle]) -> str:
    """The version that the marker names; without a marker, the latest."""
    try:
        named = marker.read_text("utf-8")[:100].strip()
    except FileNotFoundError:
        return list(versions)[-1]
    except (OSError, UnicodeDecodeError):
        named = ""
    if named not in versions:
        raise InvalidBundle(
            f"names the version '{printable(named)}', which is not served; the latest one is",
            remedy=f"Write one of these into it: {', '.join(versions)}",
            subject=f"{marker.parent.name}/{DEFAULT}",
        )
    return named
