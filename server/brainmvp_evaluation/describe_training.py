"""``python -m brainmvp_evaluation.describe_training``: what a bundle's training studies look like.

Their figures are written into the bundle, which then warns of studies that are unlike them; the
network stays.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from brainmvp_evaluation.agent_contrast import agent_contrast_of
from brainmvp_evaluation.evaluate import list_digest, output_names
from brainmvp_evaluation.training_distribution import (
    contrasts_of,
    lesion_load_of,
    limits_of,
    patterns_of,
    ranges_of,
)
from brainmvp_evaluation.truth import read_truth
from brainmvp_models import __version__
from brainmvp_models.amend import amended, with_section
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import BrainMVPError, InvalidDatalist
from brainmvp_models.population import Population
from brainmvp_models.task import ScoreOutputs, Task
from brainmvp_models.training_distribution import TrainingDistribution
from brainmvp_server.imaging.study import Study, read_study
from brainmvp_server.inference.figures import StudyFigures, study_figures
from brainmvp_server.inference.out_of_distribution import outside_training
from brainmvp_server.inference.preprocess import prepare
from brainmvp_training.case import Case
from brainmvp_training.datalist import population_of, read_datalist

FILE = "training.json"
_FEWEST = 20
"""Studies from which limits can be set."""
_HEADING = "## Unlike its training"


@dataclass(frozen=True)
class Section:
    """A part of a list of cases."""

    path: Path
    name: str


def described(
    bundle: Bundle,
    training: Section,
    calibration: Section,
    command: str,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """The bundle with figures of its training studies, in the place of earlier ones.

    Args:
        training, calibration: prepared studies. Limits are set on those of the second that have
            all of the task's modalities.
        say: told what is being done, line by line.

    Raises:
        InvalidDatalist: a list cannot be read, or has too few studies.
        InvalidPopulation: what a list says of whom its studies are is not valid.
        InvalidInput: a study that cannot be read or prepared.
        InvalidBundle: the folder cannot be written to.
    """
    task = bundle.task
    seen = list(_all_figures(training, task, say))
    loads = lesion_load_of(output_names(task), [volumes for _, volumes in seen])
    known = [figures for figures, _ in seen]
    held_out = [
        figures
        for figures, _ in _all_figures(calibration, task, say)
        if set(patterns_of(figures)) == set(task.modalities)
    ]
    _refuse_few(known, training.path)
    _refuse_few(held_out, calibration.path)
    contrasts = contrasts_of(known, task.modalities)
    found = TrainingDistribution(
        studies=len(known),
        datalist=_digest(training, task),
        population=population_of(training.path, training.name),
        calibrated_on=len(held_out),
        calibration_list=_digest(calibration, task),
        calibration_population=population_of(calibration.path, calibration.name),
        false_alarms=0.0,
        command=command,
        evaluator=f"brainmvp {__version__}",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ranges=ranges_of(known),
        contrasts=contrasts,
        limits=limits_of(held_out, contrasts),
        agent=agent_contrast_of(known, held_out),
        lesion_load=loads,
    )
    alarms = float(np.mean([bool(outside_training(study, found)) for study in held_out]))
    found = found.model_copy(update={"false_alarms": round(alarms, 4)})
    manifest = bundle.manifest.model_copy(update={"training_distribution": FILE})
    body = section_of(found)
    say(body)
    return amended(
        bundle,
        manifest,
        lambda card: with_section(card, _HEADING, body),
        {FILE: found.model_dump_json(indent=1) + "\n"},
    )


def _refuse_few(studies: Sequence[StudyFigures], path: Path) -> None:
    if len(studies) < _FEWEST:
        raise InvalidDatalist(
            f"has {len(studies)} complete studies to learn figures from",
            remedy=f"Give at least {_FEWEST}",
            subject=path.name,
        )


def section_of(found: TrainingDistribution) -> str:
    """What the card says of it."""
    return (
        f"A study is compared with {found.studies} studies that the model was trained on"
        f"{_of_whom(found.population)}, and a warning says where it is unlike them. Of the "
        f"{found.calibrated_on} studies that the limits were set on"
        f"{_of_whom(found.calibration_population)}, {found.false_alarms:.1%} are. Command: "
        f"`{found.command}` ({found.created})."
    )


def _of_whom(population: Population | None) -> str:
    return f" ({population.kind}: {population.description})" if population else ""


def figures_of(study: Study, task: Task) -> StudyFigures:
    """The figures of a prepared study, as the service takes them."""
    rules = task.preprocessing
    return study_figures(prepare(study, rules).images, rules.spacing_mm)


def _digest(section: Section, task: Task) -> str:
    cases = read_datalist(section.path, section.name, channels=task.modalities)
    return list_digest(section.path, cases)


def _all_figures(
    section: Section, task: Task, say: Callable[[str], None]
) -> Iterator[tuple[StudyFigures, Sequence[float]]]:
    """The figures of each case, and its outputs' mL where it has a mask."""
    cases = read_datalist(section.path, section.name, channels=task.modalities)
    say(f"{len(cases)} studies of section '{section.name}' of {section.path.name}")
    for case in cases:
        images = case.images
        study = read_study({m: images[m] for m in task.modalities if m in images})
        yield figures_of(study, task), _volumes(case, study, task)


def _volumes(case: Case, study: Study, task: Task) -> Sequence[float]:
    if case.label is None or isinstance(task.outputs, ScoreOutputs):
        return ()
    grid = study.native.grid
    masks = read_truth(case.label, task.outputs, grid)
    return [float(np.count_nonzero(mask)) * grid.voxel_ml for mask in masks]


def _called(given: argparse.Namespace) -> str:
    """The command without the folders that things lie in, for the record."""
    words = [given.bundle.name, given.datalist.name, "--section", given.section]
    if given.calibrate is not None:
        words += ["--calibrate", given.calibrate.name]
    words += ["--calibrate-section", given.calibrate_section]
    return shlex.join(["python", "-m", "brainmvp_evaluation.describe_training", *words])


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code is 2 where something is wrong, with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="brainmvp_evaluation.describe_training",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("bundle", type=Path, help="NAME or NAME/VERSION")
    parser.add_argument("datalist", type=Path, help="a list in JSON: what it was trained on")
    parser.add_argument("--section", default="training", help="of that list")
    parser.add_argument(
        "--calibrate", type=Path, help="a list of studies that no training saw; default: the same"
    )
    parser.add_argument("--calibrate-section", default="validation", help="of that list")
    given = parser.parse_args(arguments)
    calibration = Section(given.calibrate or given.datalist, given.calibrate_section)
    try:
        bundle = Bundle.open(given.bundle)
        training = Section(given.datalist, given.section)
        written = described(bundle, training, calibration, _called(given), print)
    except BrainMVPError as error:
        print(f"brainmvp: {error}", file=sys.stderr)
        return 2
    print(f"wrote {written.root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
