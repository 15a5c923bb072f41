"""``brainmvp compare``: two times of one patient, and what changed between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import BrainMVPError, InvalidInput
from brainmvp_models.manifest import CpuPrecision
from brainmvp_server.commands.prepared_files import check_place, written_whole
from brainmvp_server.comparison.change import Thresholds
from brainmvp_server.comparison.compare import TIMES, Comparison
from brainmvp_server.comparison.compare import compare as compared
from brainmvp_server.comparison.files import comparison_json, write_files
from brainmvp_server.comparison.given import GivenFiles, GivenTime, Reading
from brainmvp_server.comparison.lines import lines
from brainmvp_server.imaging.archive import files_below
from brainmvp_server.imaging.intake import Intake, chosen_for
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.result import Result
from brainmvp_server.inference.worker import Worker
from brainmvp_server.preparation.brain_network import BrainNetworks
from brainmvp_server.preparation.predictor import Predictor
from brainmvp_server.runtime.scratch import Scratch
from brainmvp_server.settings import ComparisonSettings

_DEFAULT = ComparisonSettings()


@dataclass(frozen=True)
class MaskOptions:
    """Where the masks come from."""

    model: Annotated[
        Path | None, typer.Option(help="A bundle's folder: draws the masks of two studies.")
    ] = None
    engine: Annotated[str | None, typer.Option(help="What runs its network here.")] = None
    cpu_precision: Annotated[
        CpuPrecision,
        typer.Option(help="On a CPU; auto is bf16 where that is proved and faster, as served."),
    ] = "auto"
    mask_before: Annotated[
        Path | None,
        typer.Option(help="A mask of BEFORE made elsewhere (NIfTI), of any whole numbers."),
    ] = None
    mask_after: Annotated[Path | None, typer.Option(help="The same of AFTER.")] = None
    study_before: Annotated[
        Path | None, typer.Option(help="What the result BEFORE was made of, if it lacks it.")
    ] = None
    study_after: Annotated[Path | None, typer.Option(help="The same of AFTER.")] = None

    def check(self) -> None:
        """Return if they go together.

        Raises:
            InvalidInput: one mask is missing, both a model and masks are given, or a precision
                without a model.
        """
        if (self.mask_before is None) is not (self.mask_after is None):
            missing = "--mask-before" if self.mask_before is None else "--mask-after"
            raise InvalidInput(
                "is missing",
                remedy="Give both masks; where nothing was there, one that is 0 everywhere",
                subject=missing,
            )
        if self.model is not None and self.mask_before is not None:
            raise InvalidInput(
                "would draw masks that are given",
                remedy="Leave out --model, or the masks",
                subject="--model",
            )
        if self.model is None and self.cpu_precision != "auto":
            raise InvalidInput(
                "has no effect without --model", remedy="Leave it out", subject="--cpu-precision"
            )


@dataclass(frozen=True)
class ThresholdOptions:
    """From which change on something is called grown or shrunk; as the settings of a service."""

    change_volume_percent: Annotated[
        float,
        typer.Option(
            min=0, envvar="BRAINMVP_CHANGE_VOLUME_PERCENT", help="Of a volume, in percent."
        ),
    ] = _DEFAULT.change_volume_percent
    change_product_percent: Annotated[
        float,
        typer.Option(
            min=0,
            envvar="BRAINMVP_CHANGE_PRODUCT_PERCENT",
            help="Of a bidimensional product, in percent.",
        ),
    ] = _DEFAULT.change_product_percent

    @property
    def thresholds(self) -> Thresholds:
        """Both."""
        return Thresholds(self.change_volume_percent, self.change_product_percent)


def compare(
    before: Annotated[
        Path, typer.Argument(help="A study or a result: a folder, a zip or a NIfTI file.")
    ],
    after: Annotated[Path, typer.Argument(help="The same of the later time.")],
    out: Annotated[Path, typer.Option(help="Folder for the comparison.")],
    masks: MaskOptions,
    limits: ThresholdOptions,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Tell what is new, gone, grown or shrunk between two studies of one patient.

    Writes comparison.json, comparison.png and comparison.html into --out. Two studies need --model
    or two masks; two results need the series they were made of. Exit codes: 0 done, 2 bad usage or
    input.
    """
    try:
        masks.check()
        check_place(out, overwrite=overwrite)
        times = (
            _given(before, masks.mask_before, masks.study_before),
            _given(after, masks.mask_after, masks.study_after),
        )
        made = _compared(times, masks, limits.thresholds)
        with written_whole(out) as folder:
            write_files(made, folder)
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(comparison_json(made).rstrip())
        return
    for line in (*lines(made), f"written to {out}"):
        typer.echo(line)


def _given(main: Path, mask: Path | None, study: Path | None) -> GivenTime:
    """What the command line says of one time.

    Raises:
        InvalidInput: one of the files is not there.
    """
    return GivenTime(
        _files(main),
        None if mask is None else _files(mask),
        None if study is None else _files(study),
    )


def _files(path: Path) -> GivenFiles:
    if not path.exists():
        raise InvalidInput("there is no such file", remedy="Check the path", subject=str(path))
    files = files_below(path)
    if not files:
        raise InvalidInput(
            "the folder is empty", remedy="Give the folder of a study", subject=str(path)
        )
    return GivenFiles(files, str(path))


def _compared(
    times: tuple[GivenTime, GivenTime], masks: MaskOptions, thresholds: Thresholds
) -> Comparison:
    scratch = Scratch()
    scratch.empty()
    with ExitStack() as held:
        predictor = None
        if masks.model is not None:
            bundle = Bundle.open(masks.model)
            predictor = held.enter_context(
                Predictor.load(bundle, masks.engine, masks.cpu_precision)
            )
        worker = predictor.worker if predictor else Worker(NetworkCache(engine=masks.engine))
        held.callback(worker.close)

        def predict(intake: Intake) -> Result:
            assert predictor is not None
            sources = chosen_for(intake, predictor.bundle.task.modalities, {})
            return predictor.predict(sources)

        @contextmanager
        def finding_brains(_: CancelToken) -> Iterator[BrainNetworks]:
            yield BrainNetworks(worker)

        reading = Reading(held.enter_context(scratch.folder()), predict if predictor else None)
        looked = [reading.look(time, name) for time, name in zip(times, TIMES, strict=True)]
        before, after = (one.visit() for one in looked)
        return compared(before, after, finding_brains, thresholds)
