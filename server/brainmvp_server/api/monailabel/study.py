"""What a viewer means by an image, as a study that a model can be given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from brainmvp_models.errors import NothingIdentified
from brainmvp_models.modality import Modality
from brainmvp_models.task import Task
from brainmvp_server.api.monailabel.wire import InferAsked
from brainmvp_server.api.studies import archive_limits
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.identify.identify_study import Identified
from brainmvp_server.imaging.intake import Intake, IntakeOptions, chosen_for, opened, take_in
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.results.findings import Findings
from brainmvp_server.runtime.received_study import ReceivedStudy
from brainmvp_server.settings import Settings


@dataclass(frozen=True)
class Image:
    """The files that a viewer's image stands for.

    Attributes:
        name: what the viewer calls it: a volume's name, or the UID of the series that it shows.
        files: of it, or of the whole study of that series.
        series: whether the name is that of a series of the study.
    """

    name: str
    files: tuple[Unpacked, ...]
    series: bool = False


def study_of(
    image: Image,
    asked: InferAsked,
    task: Task,
    folder: Path,
    options: IntakeOptions,
    settings: Settings,
    cancel: CancelToken,
) -> tuple[ReceivedStudy, str | None]:
    """The study, and the modality whose grid the viewer shows, if it shows a series of several.

    A single file is what ``asked`` says, or the image's name, its own, or the setting
    ``monailabel_modality``.

    Raises:
        InvalidInput: one of its kinds; see :func:`take_in` and :func:`chosen_for`.
        NothingIdentified: the series that is shown is none that the model takes.
    """
    if len(image.files) == 1 and asked.modality is not None:
        parts = {asked.modality: image.files[0].path}
        return ReceivedStudy(opened(parts, folder, options, cancel.check)), None
    options = replace(options, stand_ins=task.steady_states)
    limits = archive_limits(settings)

    def told_apart(files: tuple[Unpacked, ...], options: IntakeOptions = options) -> Intake:
        return take_in(files, folder, options, limits, cancel.check)

    intake = told_apart(image.files)
    if not image.series:
        if len(intake.nifti) == 1 and intake.nifti[0].modality is None and image.name:
            intake = told_apart((Unpacked(intake.nifti[0].path, image.name),))
        nameless = intake.dicom is None and not any(file.modality for file in intake.nifti)
        usual = settings.viewers.monailabel_modality
        if nameless and len(intake.nifti) == 1 and usual is not None:
            return ReceivedStudy(opened({usual: intake.nifti[0].path}, folder, options)), None
        if nameless:
            takes = ", ".join(modality.value for modality in task.modalities)
            raise NothingIdentified(
                "neither the image's name nor its file's says what it is",
                remedy=f"Name the volume after its modality ({takes}), or add it to the options "
                'of infer, such as {"modality": "t1c"}; or say what such files are with the '
                "setting monailabel_modality",
                subject="image",
            )
        return ReceivedStudy({}, intake), None
    shown, modality = _shown(intake, image.name, task)
    if not shown.used:  # another series of its modality is better; but this one is looked at
        intake = told_apart(
            image.files, replace(options, assigned={**options.assigned, image.name: modality})
        )
    sources = chosen_for(intake, task.modalities, {})
    first = {modality: sources[modality], **sources}
    return ReceivedStudy(first, kept_findings=Findings.of(intake, first)), modality.value


def _shown(intake: Intake, series: str, task: Task) -> tuple[Identified, Modality]:
    """The series that a viewer shows, and what it is.

    Raises:
        NothingIdentified: the model takes none such.
    """
    everything = intake.dicom.series if intake.dicom else ()
    for one in everything:
        modality = one.answer.modality
        if one.header.uid == series and one.stack is not None and modality in task.modalities:
            return one, modality
    used = (one for one in everything if one.used)
    others = ", ".join(f"series {one.label} ({one.answer.modality})" for one in used)
    raise NothingIdentified(
        "the series that is shown is none that the model takes",
        remedy=f"Show one of its others: {others}" if others else "Show another study",
        subject="image",
    )
