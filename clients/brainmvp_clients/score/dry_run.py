"""A dry run: which of a study's images would be which modality, and what would be filled."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from brainmvp_clients.client import Client
from brainmvp_clients.dicom import DicomOptions
from brainmvp_clients.errors import ClientError
from brainmvp_clients.score.batch import Batch
from brainmvp_clients.score.run import reason_of, refuses_every_study
from brainmvp_clients.score.served_model import parts_of
from brainmvp_clients.score.study_files import StudyFiles
from brainmvp_clients.served_models import Model
from brainmvp_clients.upload import BRAIN


class Use(BaseModel):
    """One modality and where it comes from; images that are not used have no modality."""

    model_config = ConfigDict(frozen=True)

    modality: str
    source: str
    reason: str = ""


class DryRunEntry(BaseModel):
    """What would happen to one study."""

    model_config = ConfigDict(frozen=True)

    study: str
    state: str = "would be scored"
    uses: tuple[Use, ...] = ()
    filled: tuple[str, ...] = ()
    problem: str = ""


def dry_run(batch: Batch, client: Client) -> Iterator[DryRunEntry]:
    """The plan of every study, fetched and identified but not scored; nothing is written.

    Raises:
        ClientError: the server does not answer, or the source cannot be read.
    """
    model = batch.served(client).model
    for study in batch.source.studies():
        with tempfile.TemporaryDirectory(prefix="brainmvp-") as scratch:
            images = Path(scratch, "images")
            images.mkdir()
            try:
                study_files = batch.source.fetch(study, images)
                uses = uses_of(study_files, client, images.parent, batch.settings.dicom)
                mask = study_files.brain
                masks = (Use(modality=BRAIN, source=mask.name),) if mask else ()
                entry = entry_of(study.name, uses, model)
                yield entry.model_copy(update={"uses": (*entry.uses, *masks)})
            except ClientError as error:
                if refuses_every_study(error):
                    raise
                problem = reason_of(error)
                yield DryRunEntry(study=study.name, state="would be refused", problem=problem)


def uses_of(
    study_files: StudyFiles, client: Client, scratch: Path, dicom: DicomOptions
) -> tuple[Use, ...]:
    """Which image would be which modality: by name, or as the server identifies it."""
    if study_files.volumes:
        return tuple(
            Use(modality=name, source=path.name) for name, path in study_files.volumes.items()
        )
    found = client.identify(parts_of(study_files, scratch), dicom=dicom)
    return tuple(
        Use(
            modality=(volume.modality or "") if volume.used else "",
            source=f"{volume.label} {volume.description or ''}".strip(),
            reason="; ".join(filter(None, (volume.reason, *volume.evidence))),
        )
        for volume in found.volumes
    )


def entry_of(study: str, uses: tuple[Use, ...], model: Model) -> DryRunEntry:
    """The plan for a study with these images."""
    have = {use.modality for use in uses if use.modality}
    channels = [channel.modality for channel in model.channels]
    filled = tuple(name for name in channels if name not in have)
    lacking = [c.modality for c in model.channels if c.required and c.modality not in have]
    unknown = sorted(have - set(channels))
    problem = ""
    if lacking:
        problem = f"the model requires {', '.join(lacking)}"
    elif not have & set(channels):
        problem = "no image is one of the model's modalities"
    if problem:
        return DryRunEntry(study=study, state="would be refused", uses=uses, problem=problem)
    note = f"not taken by the model: {', '.join(unknown)}" if unknown else ""
    return DryRunEntry(study=study, uses=uses, filled=filled, problem=note)
