"""What a bundle says of studies that are not what they are taken for.

    python benchmarks/out_of_distribution.py BUNDLE --studies LIST:SECTION [--studies …]

False alarms on held-out studies, and how many of the wrong kinds are caught: series exchanged,
another kind of series in the place of one, the same image twice, with 4, 3, 2 and 1 series; and of
heads that are drawn from label maps, with their skull on, as a CT has them, or of a child's size.
T1 and T1c that both show contrast agent, or neither, are drawn as held-out studies are, from the
same heads. Then what is said of real patients, as others prepared them and raw. Nothing may be
chosen by these.
``--page docs/out-of-distribution.md`` keeps the tables in the docs.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import tables
from numpy.typing import NDArray
from patients import ROOT, glioma_patient, healthy_person, series_folder
from rendered_heads import EXAMS, LabelledHead

import brainmvp
from brainmvp_evaluation.describe_training import figures_of
from brainmvp_models.bundle import Bundle
from brainmvp_models.modality import Modality
from brainmvp_models.task import Task
from brainmvp_models.training_distribution import TrainingDistribution
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.study import Study, read_study
from brainmvp_server.imaging.volume import SpatialHeader, Volume
from brainmvp_server.inference.agent_figures import AgentFigures
from brainmvp_server.inference.figures import StudyFigures, study_figures
from brainmvp_server.inference.out_of_distribution import outside_training
from brainmvp_server.inference.preprocess import prepare
from brainmvp_training.datalist import read_datalist
from brainmvp_training.synthetic.wide.heads import head_files
from brainmvp_training.synthetic.wide.wide_study import WideRecipe, draw_wide_study

SERIES = (Modality.T1, Modality.T1C, Modality.T2, Modality.FLAIR)
AGENT = {Modality.T1, Modality.T1C}
SIZES = (4, 3, 2, 1)
CHILDREN = {"newborn": 0.36, "one year": 0.72, "two years": 0.83}
"""Volume of a brain over an adult's (Knickmeyer et al., J Neurosci 28:12176-12182, 2008)."""
SLICES_MM = (1, 3, 5)
DRAWN = tuple(m for m in SERIES if m is not Modality.T1C)
"""Series of drawn heads: their T1c would show agent in vessels alone, of which a brain has 1 mL."""
SAID = "unlike the model's training: "
_CT = {"white": 28, "grey": 37, "fluid": 8, "lesion": 20, "vessel": 50, "mucosa": 30, "eye": 10}
_CT |= {"soft": 40, "skin": 20, "bone": 1000, "marrow": 400, "cord": 35, "": -1000}
"""Hounsfield units by tissue; air where there is none."""

Given = Mapping[Modality, Modality]


@dataclass(frozen=True)
class Wrong:
    """A way in which the series of a study are not what they are given as.

    Attributes:
        changes: for a subset, what is given in the place of what, each way.
    """

    title: str
    changes: Callable[[tuple[Modality, ...]], list[Given]]


def exchanged(subset: tuple[Modality, ...]) -> list[Given]:
    """Two series exchanged, but for T1 with T1c."""
    return [{a: b, b: a} for a, b in combinations(subset, 2) if {a, b} != AGENT]


def replaced(subset: tuple[Modality, ...]) -> list[Given]:
    """One series of a kind that the study does not have, but for T1 and T1c."""
    return [{a: b} for a in subset for b in SERIES if b not in subset and {a, b} != AGENT]


def agents_exchanged(subset: tuple[Modality, ...]) -> list[Given]:
    """T1 exchanged with T1c."""
    one, other = Modality.T1, Modality.T1C
    return [{one: other, other: one}] if {one, other} <= set(subset) else []


def instead(given: Modality, content: Modality) -> Callable[[tuple[Modality, ...]], list[Given]]:
    """A series given as another, which the study does not have."""

    def changes(subset: tuple[Modality, ...]) -> list[Given]:
        return [{given: content}] if given in subset and content not in subset else []

    return changes


WRONG = (
    Wrong("right: false alarms", lambda _: [{}]),
    Wrong("two series exchanged", exchanged),
    Wrong("T1 and T1c exchanged", agents_exchanged),
    Wrong("another kind of series in the place of one", replaced),
    Wrong("– of these, T2 given as FLAIR", instead(Modality.FLAIR, Modality.T2)),
    Wrong("T1 after contrast agent, no T1c", instead(Modality.T1, Modality.T1C)),
    Wrong("T1c without contrast agent, no T1", instead(Modality.T1C, Modality.T1)),
)
ALIKE = {
    "T1 after contrast agent, as T1c": {Modality.T1: Modality.T1C},
    "T1c without contrast agent, as T1": {Modality.T1C: Modality.T1},
}
ALIKE_STUDIES, ALIKE_SEED = 60, 17


@dataclass(frozen=True)
class Measured:
    """A held-out study, its figures, and those of any two series given as T1 and T1c."""

    study: Study
    figures: StudyFigures
    agent: Mapping[tuple[Modality, Modality], AgentFigures]

    @classmethod
    def of(cls, study: Study, task: Task) -> Measured:
        """Two series given the other way round have the same, with the other sign between."""
        rules, agent = task.preprocessing, {}
        images = prepare(study, rules).images
        for t1, t1c in combinations(SERIES, 2):
            two = {Modality.T1: images[t1], Modality.T1C: images[t1c]}
            found = study_figures(two, rules.spacing_mm).agent
            assert found.between is not None
            agent[t1, t1c] = found
            turned = {
                a: found.alone[b]
                for a, b in ((Modality.T1, Modality.T1C), (Modality.T1C, Modality.T1))
            }
            agent[t1c, t1] = AgentFigures(turned, -found.between)
        return cls(study, study_figures(images, rules.spacing_mm), agent)


def given_as(one: Measured, subset: Sequence[Modality], change: Given) -> StudyFigures:
    """The figures of some of a study's series, given as others."""
    series = {name: one.figures.series[change.get(name, name)] for name in subset}
    t1, t1c = (change.get(name, name) for name in (Modality.T1, Modality.T1C))
    if t1 == t1c:  # one of them did not come, and the other shows what it would
        t1, t1c = (t1, Modality.T2) if Modality.T1 in subset else (Modality.T2, t1c)
    found = one.agent[t1, t1c]
    alone = {name: figures for name, figures in found.alone.items() if name in subset}
    between = found.between if len(alone) == len(AGENT) else None
    return replace(one.figures, series=series, agent=AgentFigures(alone, between))


def share_outside(
    studies: Sequence[Measured], wrong: Wrong, size: int, training: TrainingDistribution
) -> str:
    """How many of the studies are warned of, over all subsets of a size and ways to be wrong."""
    said = [
        bool(outside_training(given_as(study, subset, change), training))
        for subset in combinations(SERIES, size)
        for change in wrong.changes(subset)
        for study in studies
    ]
    return f"{np.mean(said):.1%}" if said else "–"


def same_twice(studies: Sequence[Study], bundle: Bundle) -> str:
    """How many are warned of that have one image twice, the second time stored otherwise."""
    training, said = _training(bundle), []
    for number, study in enumerate(studies):
        one = study.volumes[number % len(study.volumes)]
        other = study.volumes[(number + 1) % len(study.volumes)]
        values = one.values(one.stored)
        again = np.rint(values * (800 / values.max()) + 20).astype(np.int16)
        twice = replace(other, stored=again, slope=1, intercept=0)
        found = outside_training(figures_of(Study.of([one, twice]), bundle.task), training)
        said.append("same-image" in {item.kind for item in found})
    return f"{np.mean(said):.1%}"


def heads(folder: Path) -> Iterator[tuple[str, Study]]:
    """Studies of heads that no training used, and what is wrong with them."""
    for number in EXAMS:
        head = LabelledHead.load(folder, number)
        for thick in SLICES_MM:
            seed = 100 * number + 10 * thick
            drawn = [head.rendered(m, thick, seed + i) for i, m in enumerate(DRAWN)]
            yield "skull on", Study.of([one.volume for one in drawn])
            brains = [
                replace(one.volume, stored=np.where(one.brain, one.volume.stored, 0))
                for one in drawn
            ]
            yield "none: the brain alone", Study.of(brains)
            for age, share in CHILDREN.items():
                yield f"size of a brain: {age}", Study.of([_scaled(b, share) for b in brains])
        yield from _as_ct(head, number)


def _scaled(volume: Volume, share: float) -> Volume:
    """A head of that share of its volume."""
    affine = volume.grid.affine.copy()
    affine[:3] *= share ** (1 / 3)
    return replace(volume, grid=Grid(volume.grid.shape, affine))


def _as_ct(head: LabelledHead, seed: int) -> Iterator[tuple[str, Study]]:
    """A CT given as T1: a head, and its brain."""
    random = np.random.default_rng(seed)
    values = head.of_tissues(_CT) + random.normal(0, 5, head.labels.shape)
    template = head.rendered(Modality.T1, 1, seed)
    for name, shown in (("CT of a head", values), ("CT of a brain", values * head.brain())):
        stored: NDArray[np.int16] = np.rint(shown).astype(np.int16)
        yield name, Study.of([replace(template.volume, stored=stored)])


def heads_table(folder: Path, bundle: Bundle) -> list[str]:
    """The heads' lines: how many are warned of, with all of their series and with each alone."""
    training, whole, alone = _training(bundle), {}, {}  # type: ignore[var-annotated]
    for name, study in heads(folder):
        found = figures_of(study, bundle.task)
        whole.setdefault(name, []).append(bool(outside_training(found, training)))
        for volume in study.volumes:
            one = figures_of(Study.of([volume]), bundle.task)
            alone.setdefault(name, []).append(bool(outside_training(one, training)))
    return [
        "| what is unlike | heads | all series | one series |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {len(whole[name])} | {np.mean(whole[name]):.0%} | "
            f"{np.mean(alone[name]):.0%} |"
            for name in whole
        ),
    ]


def alike_lines(folder: Path, bundle: Bundle) -> Iterator[str]:
    """The lines of studies whose T1 and T1c differ by nothing that contrast agent does."""
    training, heads = _training(bundle), head_files(folder, exam=True)
    for title, shows in ALIKE.items():
        recipe, drawn = WideRecipe(heads=heads, shows=shows), []
        for number in range(ALIKE_STUDIES):
            scans = draw_wide_study(recipe, (ALIKE_SEED, number)).scans
            drawn.append(figures_of(Study.of([_volume(m, scans[m]) for m in SERIES]), bundle.task))
        shares = [_share_of_alike(drawn, size, training) for size in SIZES[:-1]]
        yield f"| {title} ({ALIKE_STUDIES}) | {' | '.join(shares)} | – |"


def _share_of_alike(
    studies: Sequence[StudyFigures], size: int, training: TrainingDistribution
) -> str:
    """How many are warned of, over the subsets of a size that have both."""
    said = [
        bool(
            outside_training(replace(study, series={m: study.series[m] for m in subset}), training)
        )
        for subset in combinations(SERIES, size)
        for study in studies
        if set(subset) >= AGENT
    ]
    return f"{np.mean(said):.1%}"


def _volume(modality: Modality, values: NDArray[np.float32]) -> Volume:
    grid = Grid((values.shape[0], values.shape[1], values.shape[2]), np.diag([2.0, 2.0, 2.0, 1.0]))
    return Volume(modality, values, 1, 0, grid, SpatialHeader({}), "sha256:" + 64 * "0")


def studies_table(studies: Sequence[Study], heads: Path, bundle: Bundle) -> list[str]:
    """The lines of studies whose series are exchanged or replaced."""
    training = _training(bundle)
    measured = [Measured.of(study, bundle.task) for study in studies]
    lines = [
        f"| series of {len(studies)} studies | 4 | 3 | 2 | 1 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for wrong in WRONG:
        shares = [share_outside(measured, wrong, size, training) for size in SIZES]
        lines.append(f"| {wrong.title} | {' | '.join(shares)} |")
    lines += alike_lines(heads, bundle)
    return [*lines, f"| one image twice, stored otherwise | | | {same_twice(studies, bundle)} | |"]


def patients(shared: Path, scratch: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """Real patients: prepared by others, and raw."""
    for name in ("du7294", "fg6692"):
        folder = shared / "clinical" / name
        yield f"{name}, prepared by others", glioma_patient(folder, scratch).series
        raw = series_folder(folder)
        yield f"{name}, raw", {m.value: raw / f"{m}.nii.gz" for m in SERIES}
    for name in ("ms07", "ms26"):
        yield f"{name}, prepared by others", healthy_person(shared / "brains" / name).series
    for visit in ("ms01/study1_", "ms01/study2_", "ms03-study2/"):
        start = f"{shared / 'longitudinal'}/{visit}"
        files = {m.value: Path(f"{start}{m}.nii.gz") for m in SERIES if m is not Modality.T1C}
        yield f"{visit.rstrip('/_')}, raw, no T1c", files


def patients_table(shared: Path, bundle: Path) -> list[str]:
    """What is said of each real patient."""
    lines = ["| patient | what is said |", "| --- | --- |"]
    with tempfile.TemporaryDirectory() as scratch, brainmvp.Predictor.load(bundle) as predictor:
        for name, series in patients(shared, Path(scratch)):
            result = predictor.predict(series)
            said = [w.removeprefix(SAID) for w in result.warnings if w.startswith(SAID)]
            lines.append(f"| {name} | {'; '.join(said) or 'nothing'} |")
            print(lines[-1], flush=True)
    return lines


def _training(bundle: Bundle) -> TrainingDistribution:
    training = bundle.training_distribution
    if training is None:
        raise SystemExit("the bundle does not say what its training was like")
    return training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--studies", action="append", required=True, help="LIST:SECTION")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    studies = []
    for one in options.studies:
        path, section = one.rsplit(":", 1)
        for case in read_datalist(Path(path), section, channels=SERIES):
            studies.append(read_study({m: case.images[m] for m in SERIES}))
    lines = ["", *studies_table(studies, options.shared / "anatomy", bundle), ""]
    print("\n".join(lines), flush=True)
    drawn = [*heads_table(options.shared / "anatomy", bundle), ""]
    print("\n".join(drawn), flush=True)
    lines += [*drawn, *patients_table(options.shared, options.bundle), ""]
    if options.page:
        tables.keep(lines, options.page, options.bundle.name)


if __name__ == "__main__":
    main()
