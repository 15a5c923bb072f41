"""What batch scoring asks of a BrainMVP server: one model, pinned, and whatever it is sent."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from brainmvp_clients.answers import Summary
from brainmvp_clients.client import Client
from brainmvp_clients.dicom import AS_SERVED, DicomOptions
from brainmvp_clients.errors import UnexpectedAnswer
from brainmvp_clients.result_files import writing
from brainmvp_clients.score.ledger import RunKey
from brainmvp_clients.score.study_files import FILES, StudyFiles, UnusableStudy
from brainmvp_clients.served_models import Model


@dataclass(frozen=True)
class ResultSettings:
    """What, beside the bundle and the study, decides what a result is and where it goes."""

    fill: str | None = None
    probabilities: bool = False
    pseudonyms: str = ""
    sinks: tuple[str, ...] = ()
    dicom: DicomOptions = AS_SERVED
    resample: bool = False
    form: str | None = None
    prepare: str | None = None
    space: str | None = None
    brain: str | None = None
    not_determinable: bool = False
    profile: str | None = None

    @property
    def digest(self) -> str:
        """The same for equal settings, and for no others."""
        chosen = asdict(self)
        for later in (
            "resample",
            "form",
            "prepare",
            "space",
            "brain",
            "not_determinable",
            "profile",
        ):  # runs begun before there was the choice go on
            if not chosen[later]:
                del chosen[later]
        text = json.dumps(chosen, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class ServedModel:
    """One version of a model on a server, the same for a whole run.

    Raises:
        ClientError: the server does not answer, or has no such model.
    """

    def __init__(
        self, client: Client, name: str, version: str | None, settings: ResultSettings
    ) -> None:
        self._client, self._settings = client, settings
        self.model: Model = client.model(name, version)

    @property
    def run(self) -> RunKey:
        """What a ledger tells runs apart by."""
        return RunKey(self.model.digest, self._settings.digest)

    def predict(self, study_files: StudyFiles, into: Path) -> Summary:
        """Send a study and write its result into the new folder ``into``.

        Raises:
            ClientError: it is refused, or cannot be done now.
            UnexpectedAnswer: another bundle answered than the one the run began with.
        """
        summary = self._client.results(
            self.model.name,
            parts_of(self.accepted_files(study_files), into.parent),
            into,
            probabilities=self._settings.probabilities,
            version=self.model.version,
            fill=self._settings.fill,
            resample=self._settings.resample,
            form=self._settings.form,
            prepare=self._settings.prepare,
            space=self._settings.space,
            brain=study_files.brain,
            not_determinable=self._settings.not_determinable,
            profile=self._settings.profile,
            dicom=self._settings.dicom,
        )
        if self.model.digest and summary.bundle and summary.bundle != self.model.digest:
            raise UnexpectedAnswer(
                "answered with another bundle than before",
                remedy="Start the run again: the bundle was replaced",
                subject=self._client.server,
            )
        return summary

    def accepted_files(self, study_files: StudyFiles) -> StudyFiles:
        """What the model has channels for: it would refuse a study for a volume too many.

        Raises:
            UnusableStudy: it has a channel for none of the volumes.
        """
        channels = {channel.modality for channel in self.model.channels}
        volumes = {name: path for name, path in study_files.volumes.items() if name in channels}
        if study_files.volumes and not volumes:
            raise UnusableStudy(
                "no image is one of the model's modalities",
                remedy=f"It takes {', '.join(sorted(channels))}",
            )
        return replace(study_files, volumes=volumes)


def parts_of(study_files: StudyFiles, scratch: Path) -> dict[str, Path]:
    """The parts to send; files to be identified travel as one zip, written into ``scratch``."""
    if study_files.volumes:
        return dict(study_files.volumes)
    if len(study_files.files) == 1:
        return {FILES: study_files.files[0]}
    archive = scratch / "study.zip"
    with (
        writing(archive),
        zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, strict_timestamps=False) as zipped,
    ):
        for number, path in enumerate(study_files.files, start=1):
            # The files' own names can hold patient data.
            zipped.write(path, f"{number:06d}{'.dcm' if study_files.dicom else '.nii'}")
    return {FILES: archive}
