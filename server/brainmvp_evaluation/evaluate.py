"""The evaluation itself: a bundle and a list of cases in, rows and figures out.

Every prediction is made by :class:`brainmvp_server.inference.predictor.Predictor`, which serves.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from brainmvp_evaluation.bootstrap import RESAMPLES, SEED
from brainmvp_evaluation.figures import figures_of
from brainmvp_evaluation.journal import Journal
from brainmvp_evaluation.overlap import Mask, compare
from brainmvp_evaluation.probability_figures import reliability_of
from brainmvp_evaluation.reliability import brain_of, counted, sparse
from brainmvp_evaluation.schema import CaseName, Evaluation, Measure, Row, RowKey, Subject
from brainmvp_evaluation.settings import Setting, Subset, settings_for
from brainmvp_evaluation.truth import read_truth
from brainmvp_models import __version__
from brainmvp_models.bundle import Bundle, digest_of
from brainmvp_models.errors import InvalidDatalist, InvalidInput
from brainmvp_models.manifest import CpuPrecision
from brainmvp_models.population import Population
from brainmvp_models.task import FillPolicy, RegionOutputs, ScoreOutputs, Task
from brainmvp_models.templates import TemplateBank
from brainmvp_server.imaging.study import Study, read_study
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.engines import EngineInfo
from brainmvp_server.inference.result import Result
from brainmvp_server.preparation.predictor import Predictor
from brainmvp_training.case import Case
from brainmvp_training.datalist import population_of, read_datalist
from brainmvp_training.dry_run import check_cases, refuse, target_index

JOURNAL = "rows.jsonl"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate, and how.

    Attributes:
        datalist: a JSON list or a BIDS folder; ``root`` is where its relative paths start.
        subsets: modalities to take as real; None takes each study as it is.
        fills: policies for the missing ones; none for the bundle's own.
        limit: only the first cases.
        templates: other templates than the bundle's own, and what they are called.
        names: also record the cases' names.
        population: of whom the studies are; None for what the list says.
    """

    bundle: Bundle
    datalist: Path
    out: Path
    section: str
    subsets: tuple[Subset, ...] | None
    fills: tuple[FillPolicy, ...] = ()
    root: Path | None = None
    limit: int | None = None
    engine: str | None = None
    cpu_precision: CpuPrecision = "auto"
    templates: TemplateBank | None = None
    names: bool = False
    population: Population | None = None
    command: str = ""


@dataclass(frozen=True)
class _Other(Bundle):
    """A bundle that fills with other templates than its own."""

    bank: TemplateBank = field(default_factory=lambda: TemplateBank({}))

    def templates(self) -> TemplateBank:
        return self.bank


def evaluate(options: EvaluationOptions, progress: Progress = lambda *_: None) -> Evaluation:
    """Measure what is not in the journal yet, and make figures of all that was asked for.

    Raises:
        InvalidPopulation: what the list says of whom its studies are is not valid.
        InvalidDatalist: the list or its files have faults, no case fits a setting, no study could
            be measured, or ``out`` holds another evaluation.
        EngineUnavailable: the engine is not installed or refuses the network.
    """
    task = options.bundle.task
    whom = options.population or population_of(options.datalist, options.section)
    options = replace(options, population=whom)
    listed = read_datalist(
        options.datalist, options.section, channels=task.modalities, root=options.root
    )
    if isinstance(task.outputs, ScoreOutputs):  # whose masks, if any, are not asked for
        listed = tuple(replace(case, label=None) for case in listed)
    cases = listed[: options.limit]
    faults = check_cases(cases, task, progress=lambda *done: progress("check", *done))
    refuse([fault for fault in faults if fault.case], options.datalist)
    fills = options.fills or (task.filling.policy,)
    work = _planned(cases, options, fills, progress)
    if not any(part.settings for part in work):
        raise InvalidDatalist(
            "no case has the modalities of any setting",
            remedy="Choose --subsets given, or other subsets",
            subject=options.datalist.name,
        )
    rows, subject = _measured(options, work, list_digest(options.datalist, listed), progress)
    return _evaluation(options, work, rows, subject)


@dataclass(frozen=True)
class _Work:
    """What is to be measured of one case.

    Attributes:
        number: its place in the list, from 1.
        content: a digest of its files and its class, by which a row is known to be of them.
    """

    number: int
    case: Case
    settings: list[Setting]
    content: str

    def key(self, setting: Setting) -> RowKey:
        """Of the row that holds the case in a setting."""
        return self.number, self.content, setting.real, setting.fill


def _planned(
    cases: Sequence[Case],
    options: EvaluationOptions,
    fills: Sequence[FillPolicy],
    progress: Progress,
) -> list[_Work]:
    task, work = options.bundle.task, []
    for number, case in enumerate(cases, start=1):
        settings = settings_for(case, options.subsets, fills, task)
        content = _content(case.limited_to(task.modalities)) if settings else ""
        work.append(_Work(number, case, settings, content))
        progress("read", number, len(cases))
    return work


def _measured(
    options: EvaluationOptions,
    work: Sequence[_Work],
    datalist: str,
    progress: Progress,
) -> tuple[list[Row], Subject]:
    """The rows of every case and setting, from the journal or measured now."""
    bundle = options.bundle
    if options.templates is not None:
        bundle = _Other(bundle.root, bundle.manifest, options.templates)
    with Predictor.load(bundle, options.engine, options.cpu_precision) as predictor:
        with predictor.worker.networks.acquire(bundle, CancelToken()) as network:
            subject = _subject(options, network.engine.info, datalist)
        with closing(Journal(options.out / JOURNAL, subject)) as journal:
            rows = _with_missing_rows(predictor, journal, work, progress)
    return rows, subject


def _with_missing_rows(
    predictor: Predictor, journal: Journal, work: Sequence[_Work], progress: Progress
) -> list[Row]:
    """The journal's rows that were asked for, after those it lacked or that failed were added."""
    wanted = {part.key(setting) for part in work for setting in part.settings}
    known = {row.key for row in journal.rows if row.problem is None} & wanted
    done, total = len(known), len(wanted)
    progress("measure", done, total)
    for part in work:
        todo = [setting for setting in part.settings if part.key(setting) not in known]
        for row in _rows(predictor, part, todo):
            journal.append(row)
            done += 1
            progress("measure", done, total)
    latest = {row.key: row for row in journal.rows if row.key in wanted}
    return sorted(latest.values(), key=lambda row: (row.case, -len(row.real)))


def _rows(predictor: Predictor, work: _Work, settings: Sequence[Setting]) -> Iterator[Row]:
    """The rows of one case, whose files are read once; where one fails, it says why."""
    if not settings:
        return
    task, images = predictor.bundle.task, work.case.images
    try:
        study = read_study({m: images[m] for m in task.modalities if m in images})
        truth = _Truth.of(work.case, task, study)
    except (InvalidInput, InvalidDatalist) as error:
        for s in settings:
            yield _row(work, s, 0, problem=str(error))
        return
    for s in settings:
        start = time.perf_counter()
        part = Study.of([v for v in study.volumes if v.modality in s.real])
        try:
            result = predictor.predict_study(
                part, fill=s.fill, probabilities=True, not_determinable=True
            )
            found = truth.against(result)
        except InvalidInput as error:
            found = {"problem": str(error)}
        yield _row(work, s, round(time.perf_counter() - start, 3), **found)


def _row(work: _Work, setting: Setting, seconds: float, **found: Any) -> Row:
    return Row(
        case=work.number,
        content=work.content,
        real=setting.real,
        fill=setting.fill,
        seconds=seconds,
        **found,
    )


@dataclass(frozen=True, eq=False)
class _Truth:
    """What a case should give: masks in the R, A, S view of the study, or a class's index.

    Attributes:
        brain: where probabilities are judged, in the same view.
    """

    masks: tuple[Mask, ...] = ()
    brain: Mask | None = None
    target: int | None = None

    @classmethod
    def of(cls, case: Case, task: Task, study: Study) -> _Truth:
        if isinstance(task.outputs, ScoreOutputs):
            return cls(target=target_index(case.target or "", task.outputs))
        if case.label is None:
            raise InvalidDatalist("has no mask", remedy="Name the mask's file", subject=case.name)
        masks = read_truth(case.label, task.outputs, study.native.grid)
        return cls(masks=masks, brain=brain_of(study))

    def against(self, result: Result) -> dict[str, Any]:
        """A row's fields for a result."""
        if result.segmentation is None:
            return {"target": self.target, "scores": tuple(s.uncalibrated for s in result.scores)}
        assert self.brain is not None
        native, segmentation = result.study.native.grid, result.segmentation
        masks = map(native.orientation.view, segmentation.outputs)
        maps = segmentation.probabilities[-len(segmentation.outputs) :]  # not the background's
        measures = []
        for entry, found, map_, truth in zip(
            result.structures, masks, maps, self.masks, strict=True
        ):
            counts = counted(native.orientation.view(map_), truth, self.brain)
            overlap = asdict(compare(found, truth, native.canonical()))
            measures.append(Measure(output=entry.name, **overlap, counts=sparse(counts)))
        return {"outputs": tuple(measures)}


def _evaluation(
    options: EvaluationOptions,
    work: Sequence[_Work],
    rows: Sequence[Row],
    subject: Subject,
) -> Evaluation:
    failed = [row for row in rows if row.problem is not None]
    if len(failed) == len(rows):
        raise InvalidDatalist(
            f"no study could be measured; the first: {str(failed[0].problem).rstrip('.')}",
            remedy="Mend the studies, or choose another --fill",
            subject=options.datalist.name,
        )
    manifest = options.bundle.manifest
    names = output_names(manifest.task)
    return Evaluation(
        subject=subject,
        bundle=options.bundle.digest,
        kind=manifest.task.kind,
        demo=manifest.demo,
        outputs=names,
        command=options.command,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        population=options.population,
        cases=len(work),
        skipped=sum(not part.settings for part in work),
        resamples=RESAMPLES,
        seed=SEED,
        figures=figures_of(rows, names, manifest.calibration),
        reliability=reliability_of(rows, names, manifest),
        rows=tuple(rows),
        names=tuple(CaseName(case=w.number, name=w.case.name) for w in work if options.names),
    )


def output_names(task: Task) -> tuple[str, ...]:
    """Names of a task's regions, of its classes but the background, or of its scores."""
    outputs = task.outputs
    if isinstance(outputs, RegionOutputs):
        return tuple(region.name for region in outputs.regions)
    if isinstance(outputs, ScoreOutputs):
        return tuple(score.name for score in outputs.classes)
    return tuple(entry.name for entry in outputs.classes[1:])


def content_digest(bundle: Bundle) -> str:
    """``sha256:…`` of all in a manifest that can change what is measured: not its card."""
    manifest = bundle.manifest
    about = (manifest.training_distribution,)
    kept = tuple(
        entry
        for entry in manifest.files
        if not entry.path.endswith(".md") and entry.path not in about
    )
    bare = manifest.model_copy(
        update={
            "subset_card": (),
            "evaluated": None,
            "cpu_proofs": (),
            "calibration": None,
            "training_distribution": None,
            "files": kept,
        }
    )
    text = bare.model_dump_json(exclude_defaults=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _subject(options: EvaluationOptions, engine: EngineInfo, datalist: str) -> Subject:
    manifest = options.bundle.manifest
    return Subject(
        model=manifest.name,
        version=manifest.version,
        content=content_digest(options.bundle),
        templates=None if options.templates is None else _bank_digest(options.templates),
        datalist=datalist,
        section=options.section,
        engine=engine.name,
        device=engine.device,
        precision=engine.precision,
        evaluator=f"brainmvp {__version__}",
    )


def list_digest(datalist: Path, cases: Sequence[Case]) -> str:
    """Of the JSON file; of a folder, of its cases' paths."""
    if datalist.is_file():
        return digest_of(datalist)
    hasher = hashlib.sha256()
    for path in (p for c in cases for p in (*c.images.values(), c.label) if p is not None):
        hasher.update(f"{path.relative_to(datalist)}\n".encode())
    return f"sha256:{hasher.hexdigest()}"


def _content(case: Case) -> str:
    """``sha256:…`` of a case's files, whatever they are called, and of its class."""
    files = {modality.value: digest_of(path) for modality, path in sorted(case.images.items())}
    facts = (files, case.label and digest_of(case.label), case.target)
    return f"sha256:{hashlib.sha256(repr(facts).encode()).hexdigest()}"


def _bank_digest(bank: TemplateBank) -> str:
    hasher = hashlib.sha256(repr(bank.step).encode())
    for modality, volume in sorted(bank.volumes.items()):
        hasher.update(f"{modality.value} {volume.shape} {volume.dtype}".encode())
        hasher.update(np.ascontiguousarray(volume).tobytes())
    return f"sha256:{hasher.hexdigest()}"
