"""What a service says of a model that it serves: ``GET /v1/models`` and ``/v1/models/NAME``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brainmvp_models.bundle import Bundle
from brainmvp_models.determinable import OpenSubset
from brainmvp_models.manifest import Profile, SubsetQuality
from brainmvp_models.modality import Modality
from brainmvp_models.population import Population
from brainmvp_models.task import Channel, FillPolicy, RegionOutputs, ScoreOutputs
from brainmvp_server.results.summary import UndecidedOutput
from brainmvp_server.results.wire import Wire


class ChannelTaken(Wire):
    """An input channel of a model."""

    modality: Modality
    required: bool
    template: Modality | None


class OutputGiven(Wire):
    """A region, class or score a model gives."""

    name: str
    title: str
    colour: str | None
    value: int | None
    needs: tuple[Modality, ...] = Field(
        default=(), description="Without these it is not determinable, however they are filled."
    )


class OpenWith(Wire):
    """What a study of just these modalities could not decide."""

    real: tuple[Modality, ...]
    fills: tuple[FillPolicy, ...] = Field(description="Where the others are filled so.")
    outputs: tuple[UndecidedOutput, ...]


class Model(Wire):
    """A served model."""

    name: str
    version: str
    versions: tuple[str, ...]
    title: str
    kind: Literal["segmentation", "classification"]
    demo: bool
    channels: tuple[ChannelTaken, ...]
    outputs: tuple[OutputGiven, ...]
    fill: FillPolicy
    profiles: tuple[Profile, ...] = Field(
        default=("reference",), description="How studies may be cut into windows."
    )
    intended_use: str
    digest: str
    subset_card: tuple[SubsetQuality, ...] = Field(
        default=(), description="Quality measured with only some of the modalities real."
    )
    population: Population | None = Field(
        default=None, description="Whom that was measured on; null where it is not recorded."
    )
    open_with: tuple[OpenWith, ...] = Field(
        default=(),
        description="Every subset of modalities that leaves an output undecided, and which.",
    )
    card: str | None = Field(default=None, description="The model card, in Markdown.")

    @classmethod
    def of(cls, bundle: Bundle, versions: tuple[str, ...], *, card: bool = False) -> Model:
        """What a bundle offers."""
        manifest, task = bundle.manifest, bundle.task
        file = bundle.root / "card.md"
        return cls(
            name=manifest.name,
            version=manifest.version,
            versions=versions,
            title=task.title,
            kind=task.kind,
            demo=manifest.demo,
            channels=tuple(
                ChannelTaken(
                    modality=c.modality, required=c.required, template=_template(c, bundle)
                )
                for c in task.channels
            ),
            outputs=_outputs(bundle),
            fill=task.filling.policy,
            profiles=("reference", "speed") if manifest.speed_proof else ("reference",),
            intended_use=task.intended_use,
            digest=bundle.digest,
            subset_card=manifest.subset_card if card else (),
            population=manifest.evaluated.population if card and manifest.evaluated else None,
            open_with=tuple(_open_with(one) for one in bundle.open_subsets) if card else (),
            card=file.read_text(encoding="utf-8") if card and file.is_file() else None,
        )


class RefusedBundle(Wire):
    """A bundle that is not served, and why."""

    name: str
    problem: str
    remedy: str


class Models(Wire):
    """All models, each in its latest version."""

    models: tuple[Model, ...]
    refused: tuple[RefusedBundle, ...] = ()


def _template(channel: Channel, bundle: Bundle) -> Modality | None:
    templates = bundle.manifest.templates
    held = templates.modalities if templates else ()
    return channel.filler if channel.filler in held else None


def _open_with(subset: OpenSubset) -> OpenWith:
    outputs = tuple(UndecidedOutput(**vars(one)) for one in subset.outputs)
    return OpenWith(real=subset.real, fills=subset.fills, outputs=outputs)


def _outputs(bundle: Bundle) -> tuple[OutputGiven, ...]:
    outputs = bundle.task.outputs
    if isinstance(outputs, ScoreOutputs):
        return tuple(
            OutputGiven(name=c.name, title=c.title, colour=None, value=None, needs=outputs.needs)
            for c in outputs.classes
        )
    if isinstance(outputs, RegionOutputs):
        return tuple(
            OutputGiven(
                name=r.name,
                title=r.title,
                colour=r.colour,
                value=r.labels[0] if len(r.labels) == 1 else None,
                needs=r.needs,
            )
            for r in outputs.regions
        )
    return tuple(
        OutputGiven(name=c.name, title=c.title, colour=c.colour, value=c.value, needs=c.needs)
        for c in outputs.classes[1:]
    )
