"""The bundles a service offers, and their predictors once somebody has asked for them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from brainmvp_models.bundle import Bundle, find_bundles, version_key
from brainmvp_models.errors import InvalidBundle, UnknownModel
from brainmvp_models.modality import printable
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.summary import Model, Models, RefusedBundle


@dataclass
class Shelf:
    """All bundles of one folder: name → version → bundle. Refused ones are kept by name."""

    bundles: dict[str, dict[str, Bundle]]
    refused: tuple[InvalidBundle, ...]
    engine: str | None = None
    _predictors: dict[tuple[str, str], Predictor] = field(default_factory=dict)
    _loading: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, folder: Path, engine: str | None = None) -> Shelf:
        """Open every bundle under ``folder``; a broken one is refused, the others are served."""
        bundles: dict[str, dict[str, Bundle]] = {}
        refused = []
        for found in find_bundles(folder):
            if isinstance(found, InvalidBundle):
                refused.append(found)
            else:
                versions = bundles.setdefault(found.manifest.name, {})
                versions[found.manifest.version] = found
        ordered = {
            name: dict(sorted(versions.items(), key=lambda item: version_key(item[0])))
            for name, versions in sorted(bundles.items())
        }
        return cls(ordered, tuple(refused), engine)

    def models(self) -> Models:
        """Every model in its latest version, and what was refused."""
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
        """One bundle; the latest version unless one is named.

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
        return versions[version] if version is not None else list(versions.values())[-1]

    def predictor(self, name: str, version: str | None = None) -> Predictor:
        """A model's predictor, loaded at the first call.

        Raises:
            UnknownModel: no such name or version.
            EngineUnavailable: the engine cannot load it.
        """
        bundle = self.bundle(name, version)
        key = bundle.manifest.name, bundle.manifest.version
        with self._loading:
            if key not in self._predictors:
                self._predictors[key] = Predictor.load(bundle, self.engine)
            return self._predictors[key]

    def close(self) -> None:
        """Free every network."""
        with self._loading:
            while self._predictors:
                self._predictors.popitem()[1].close()
