"""``brainmvp predict``: one study, in this process or on a server."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from brainmvp_clients.answers import JobError, Summary
from brainmvp_clients.archive import read_summary
from brainmvp_clients.cli import plugins
from brainmvp_clients.cli.connection import connected
from brainmvp_clients.cli.problems import UsageProblem, naming_files
from brainmvp_clients.cli.progress import ProgressDisplay, progress
from brainmvp_clients.cli.show import show_summary
from brainmvp_clients.client import Client
from brainmvp_clients.errors import ClientError
from brainmvp_clients.result_files import SUMMARY, check_folder, staged_folder
from brainmvp_clients.upload import BRAIN, open_volume

Files = list[Path] | None

NOT_DETERMINABLE = 3
"""The exit code of a result that lacks an output, which the study's modalities cannot decide."""


def _volume(title: str) -> Any:
    return typer.Option(metavar="FILE", help=f"{title} volume.", rich_help_panel="Study")


def _text(metavar: str, description: str) -> Any:
    return typer.Option(metavar=metavar, help=description)


@dataclass(frozen=True)
class VolumeOptions:
    """A study's volumes: one option a modality, named as the modality is.

    Raises:
        UsageProblem: none is given, or one twice.
    """

    flair: Annotated[Files, _volume("T2-FLAIR")] = None
    t1: Annotated[Files, _volume("T1-weighted")] = None
    t1c: Annotated[Files, _volume("Contrast-enhanced T1-weighted")] = None
    t2: Annotated[Files, _volume("T2-weighted")] = None
    mra: Annotated[Files, _volume("Angiography (time of flight)")] = None
    pd: Annotated[Files, _volume("Proton density")] = None
    dwi: Annotated[Files, _volume("Diffusion-weighted")] = None
    adc: Annotated[Files, _volume("Apparent diffusion coefficient")] = None
    t1ir: Annotated[Files, _volume("T1 inversion recovery")] = None

    def __post_init__(self) -> None:
        for modality, files in self._given.items():
            if len(files) > 1:
                raise UsageProblem(
                    f"is given {len(files)} times",
                    remedy="Give each modality once",
                    subject=f"--{modality}",
                )
        if not self._given:
            raise UsageProblem(
                "no volume is given", remedy="Give at least one, such as --t1 FILE", subject="study"
            )

    @property
    def study(self) -> dict[str, Path]:
        """The file of each modality that is given."""
        return {modality: files[0] for modality, files in self._given.items()}

    @property
    def _given(self) -> dict[str, list[Path]]:
        return {
            option.name: files for option in fields(self) if (files := getattr(self, option.name))
        }


@dataclass(frozen=True)
class PredictOptions:
    """Where the study is worked on, and how.

    Raises:
        UsageProblem: two of them cannot go together.
    """

    server: Annotated[str | None, _text("URL", "Send the study to this server.")] = None
    version: Annotated[str | None, _text("V", "The model's version, not the latest.")] = None
    as_job: Annotated[
        bool,
        typer.Option(
            "--job", help="Post it as a durable job to --server and wait for it; Ctrl-C cancels it."
        ),
    ] = False
    fill: Annotated[
        str | None, _text("POLICY", "Missing modalities: grid, center, register, zeros or none.")
    ] = None
    resample: Annotated[
        bool,
        typer.Option("--resample", help="Bring volumes on other grids onto the first one's."),
    ] = False
    form: Annotated[
        Literal["sform", "qform"] | None,
        typer.Option("--form", help="What places a volume where its header's two forms disagree."),
    ] = None
    prepare: Annotated[
        Literal["auto", "none"],
        typer.Option("--prepare", help="Prepare raw heads, or take the study as it is."),
    ] = "auto"
    space: Annotated[
        str | None,
        _text("SERIES", "Whose grid a prepared study's result lies on: a modality, or model."),
    ] = None
    brain: Annotated[
        Path | None,
        _text("FILE", "A brain mask of your own, on a series' grid; else it is looked for."),
    ] = None
    engine: Annotated[str | None, _text("NAME", "What runs the network here.")] = None
    cpu_precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None,
        typer.Option(
            help="What it is computed in on this CPU; auto is bf16 where that is proved and faster."
        ),
    ] = None
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write probabilities too.")
    ] = False
    not_determinable: Annotated[
        bool,
        typer.Option("--not-determinable", help="Give what cannot be decided too, marked as such."),
    ] = False
    profile: Annotated[
        Literal["reference", "speed"] | None,
        typer.Option("--profile", help="Windows as published, or fewer, where that is proved."),
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier results.")] = False

    def __post_init__(self) -> None:
        here = {"--engine": self.engine, "--cpu-precision": self.cpu_precision}
        if self.server and (given := [flag for flag, value in here.items() if value]):
            raise UsageProblem(
                "has no effect with --server", remedy="Leave it out", subject=given[0]
            )
        if self.as_job and not self.server:
            raise UsageProblem("needs a server", remedy="Name it with --server", subject="--job")


@dataclass(frozen=True)
class PredictRequest:
    """What the command line asks for."""

    model: str
    study: Mapping[str, Path]
    out: Path
    options: PredictOptions

    @property
    def files(self) -> Mapping[str, Path]:
        """Every file it names, by what errors call it."""
        brain = self.options.brain
        return self.study if brain is None else {**self.study, BRAIN: brain}


def predict(
    model: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE_OR_MODEL", help="A bundle's folder; with --server, a model's name."
        ),
    ],
    out: Annotated[Path, _text("DIR", "Folder for the results.")],
    volumes: VolumeOptions,
    options: PredictOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Segment or classify one study, here or on a server.

    Writes mask.nii.gz, summary.json, preview.png and report.html into --out. Exit codes: 0 done; 2
    bad usage or input; 3 done, but the study's modalities cannot decide some of the outputs.
    """
    request = PredictRequest(model, volumes.study, out, options)
    with naming_files(request.files), progress(shown=not (quiet or as_json)) as bars:
        if options.server:
            work = _as_job if options.as_job else _on_server
            with connected(options.server) as client:
                summary = work(request, client, bars)
            text = (out / SUMMARY).read_text(encoding="utf-8")
        else:
            summary, text = _locally(request, bars)
    if as_json:
        typer.echo(text.rstrip())
    elif not quiet:
        show_summary(summary, out)
    if summary.not_determinable:
        raise typer.Exit(NOT_DETERMINABLE)


def _on_server(request: PredictRequest, client: Client, bars: ProgressDisplay) -> Summary:
    return client.results(
        request.model,
        request.study,
        request.out,
        probabilities=request.options.probabilities,
        version=request.options.version,
        fill=request.options.fill,
        resample=request.options.resample,
        form=request.options.form,
        prepare=request.options.prepare,
        space=request.options.space,
        not_determinable=request.options.not_determinable,
        profile=request.options.profile,
        brain=request.options.brain,
        overwrite=request.options.overwrite,
        on_upload=bars.upload,
    )


def _as_job(request: PredictRequest, client: Client, bars: ProgressDisplay) -> Summary:
    check_folder(request.out.resolve(), request.options.overwrite)
    job = client.submit(
        request.model,
        request.study,
        probabilities=request.options.probabilities,
        interactive=True,
        version=request.options.version,
        fill=request.options.fill,
        resample=request.options.resample,
        form=request.options.form,
        prepare=request.options.prepare,
        space=request.options.space,
        not_determinable=request.options.not_determinable,
        profile=request.options.profile,
        brain=request.options.brain,
        on_upload=bars.upload,
    )
    try:
        for state in client.watch(job.id):
            job = state
            bars.job(job)
    except KeyboardInterrupt:
        with suppress(ClientError):
            client.end_job(job.id)
        raise
    if job.state != "done":
        error = job.error or JobError(detail=f"the job was {job.state}", remedy="Post it again")
        raise ClientError(error.detail, remedy=error.remedy)
    return client.job_results(job.id, request.out, overwrite=request.options.overwrite)


def _locally(request: PredictRequest, bars: ProgressDisplay) -> tuple[Summary, str]:
    for name, path in request.files.items():
        open_volume(path, name).close()
    bundle = Path(request.model) / (request.options.version or "")
    with staged_folder(request.out, overwrite=request.options.overwrite) as folder:
        run = plugins.load(
            plugins.LOCAL,
            "predict",
            needed_for="brainmvp predict without --server",
            extras=plugins.LOCAL_EXTRAS,
        )
        text = run(
            bundle,
            request.study,
            folder,
            fill=request.options.fill,
            resample=request.options.resample,
            form=request.options.form,
            prepare=request.options.prepare,
            space=request.options.space,
            not_determinable=request.options.not_determinable,
            profile=request.options.profile,
            brain=request.options.brain,
            probabilities=request.options.probabilities,
            engine=request.options.engine,
            cpu_precision=request.options.cpu_precision or "auto",
            progress=bars.stage,
        )
        return read_summary(folder, server=str(bundle)), text
