"""What a model is asked to do: its input channels, its outputs and how a study is prepared.

A task is data. The presets for the paper's downstream tasks lie in ``tasks/*.yaml``; a user's own
file has the same form. The bundle's manifest holds the task it was exported for.
"""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainmvp_models.errors import InvalidTask
from brainmvp_models.modality import BANK_ORDER, Modality
from brainmvp_models.space import Space

Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
FillPolicy = Literal["grid", "center", "register", "zeros", "none"]


class Frozen(BaseModel):
    """A value: it cannot be changed, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Channel(Frozen):
    """One input channel of the network."""

    modality: Modality
    required: bool = False
    template: Modality | None = Field(
        default=None, description="Modality whose template fills this channel; by default its own."
    )
    steady_state: bool = Field(
        default=False, description="A steady-state series (CISS, FIESTA) may be this channel."
    )

    @property
    def filler(self) -> Modality:
        """The modality whose template stands in when this channel's own is missing."""
        return self.template or self.modality


class Preprocessing(Frozen):
    """From native voxels to model space. The defaults are the published evaluation pipeline's.

    Attributes:
        field_of_view_mm: along R, A, S, that of the model's training studies. A study whose
            background is padded beyond it is taken as if it were cropped to it, around the head;
            None takes every study as it comes.
    """

    orientation: Literal["RAS"] = "RAS"
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    percentiles: tuple[float, float] = (5.0, 95.0)
    crop_margin: int = Field(default=1, ge=0, description="Voxels around the foreground box.")
    field_of_view_mm: tuple[float, float, float] | None = (240.0, 240.0, 155.0)
    space: Space = Field(
        default=Space.STUDY,
        description="The frame its training data lay in: as each study came, or an atlas's.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Preprocessing:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError("percentiles must rise within 0 to 100")
        if not all(0 < edge < math.inf for edge in self.spacing_mm):
            raise ValueError("spacing_mm must be positive and finite")
        if not all(0 < edge < math.inf for edge in self.field_of_view_mm or ()):
            raise ValueError("field_of_view_mm must be positive and finite, or null")
        return self


WINDOW_STEP = 16
"""Voxels of an edge for which the encoder's last stage has one token; an edge is a multiple."""


class Window(Frozen):
    """The box the network sees at once."""

    size: tuple[int, int, int] = (96, 96, 96)
    overlap: float = Field(default=0.5, ge=0, lt=1)
    blending: Literal["uniform"] = "uniform"

    @model_validator(mode="after")
    def _divisible(self) -> Window:
        if any(edge <= 0 or edge % WINDOW_STEP for edge in self.size):
            raise ValueError(f"every edge of a window must be a positive multiple of {WINDOW_STEP}")
        return self


class Filling(Frozen):
    """How a missing modality's template is scaled and placed."""

    policy: FillPolicy = "grid"
    scaling: Literal["raw", "minmax"] = Field(
        default="raw", description="raw as in fine-tuning, minmax to [0, 1] as in pre-training."
    )


class Code(Frozen):
    """A coded concept, for DICOM."""

    value: str
    scheme: str
    meaning: str


Needs = tuple[Modality, ...]
"""Modalities without which an output is not determinable, however the rest is filled."""
LowestDice = Annotated[float, Field(ge=0, lt=1)]
"""An output whose measured Dice does not lie above it, with its interval, is not determinable."""


class Label(Frozen):
    """One value of the mask; ``needs`` is for classes, regions have their own."""

    value: int = Field(ge=0, le=255)
    name: Name
    title: str = ""
    colour: Colour = "#808080"
    code: Code | None = None
    needs: Needs = ()


class Region(Frozen):
    """One output channel that may overlap others: the union of some labels.

    Attributes:
        smallest_ml: connected parts that are smaller are left out, in mL; None: as of the outputs.
        high_threshold: connected parts that nowhere exceed it are left out: hysteresis thresholding
            (Canny, IEEE PAMI 8:679-698, 1986); None: none are.
    """

    name: Name
    title: str = ""
    labels: tuple[int, ...] = Field(min_length=1)
    colour: Colour = "#808080"
    code: Code | None = None
    smallest_ml: float | None = Field(default=None, ge=0)
    high_threshold: float | None = Field(default=None, gt=0, lt=1)
    needs: Needs = ()


class RegionOutputs(Frozen):
    """Overlapping regions, one sigmoid each.

    Attributes:
        smallest_ml: of regions that have none of their own.
    """

    kind: Literal["regions"] = "regions"
    regions: tuple[Region, ...] = Field(min_length=1)
    labels: tuple[Label, ...] = Field(min_length=1)
    threshold: float = Field(default=0.5, gt=0, lt=1)
    smallest_ml: float = Field(default=0, ge=0)
    lowest_dice: LowestDice | None = None

    @property
    def count(self) -> int:
        """Output channels of the network."""
        return len(self.regions)

    @property
    def needed(self) -> frozenset[Modality]:
        """All that its regions need."""
        return frozenset(modality for region in self.regions for modality in region.needs)

    @property
    def smallest_parts_ml(self) -> tuple[float, ...]:
        """Of each region, the volume below which its connected parts are left out."""
        own = (region.smallest_ml for region in self.regions)
        return tuple(self.smallest_ml if volume is None else volume for volume in own)

    @property
    def leaves_parts_out(self) -> bool:
        """Whether a part of a region can be too small or too unsure to be shown."""
        return any(self.smallest_parts_ml) or any(r.high_threshold for r in self.regions)

    @property
    def largest_first(self) -> tuple[int, ...]:
        """Indices of the regions, those of most labels first: no region before one around it."""
        return tuple(sorted(range(self.count), key=lambda i: -len(self.regions[i].labels)))

    @property
    def painting(self) -> tuple[tuple[int, int], ...]:
        """``(region index, label)`` in the order that turns region masks into one label mask.

        Larger regions first; each paints the one label of its own that no smaller region holds.
        """
        order = self.largest_first
        strokes = []
        for rank, index in enumerate(order):
            later = {label for other in order[rank + 1 :] for label in self.regions[other].labels}
            (own,) = set(self.regions[index].labels) - later
            strokes.append((index, own))
        return tuple(strokes)

    @model_validator(mode="after")
    def _composed(self) -> RegionOutputs:
        _unique("labels", [label.value for label in self.labels])
        _unique("region names", [region.name for region in self.regions])
        known = {label.value for label in self.labels}
        used = {label for region in self.regions for label in region.labels}
        if used - known:
            raise ValueError(f"regions use labels {sorted(used - known)} that are not listed")
        if 0 in known:
            raise ValueError("label 0 is the background and cannot be listed")
        if any(label.needs for label in self.labels):
            raise ValueError("a label has needs: give them to the regions")
        low = [r.name for r in self.regions if (r.high_threshold or 1) <= self.threshold]
        if low:
            raise ValueError(f"high_threshold must lie above the threshold: {', '.join(low)}")
        try:
            _ = self.painting
        except ValueError:
            raise ValueError(
                "the regions do not nest: each needs exactly one label that no smaller region has"
            ) from None
        return self


class ClassOutputs(Frozen):
    """Exclusive classes, one softmax; the first class is the background, value 0."""

    kind: Literal["classes"] = "classes"
    classes: tuple[Label, ...] = Field(min_length=2)
    lowest_dice: LowestDice | None = None

    @property
    def count(self) -> int:
        """Output channels of the network."""
        return len(self.classes)

    @property
    def needed(self) -> frozenset[Modality]:
        """All that its classes need."""
        return frozenset(modality for entry in self.classes for modality in entry.needs)

    @model_validator(mode="after")
    def _background_first(self) -> ClassOutputs:
        _unique("class values", [label.value for label in self.classes])
        _unique("class names", [label.name for label in self.classes])
        if self.classes[0].value != 0:
            raise ValueError("the first class must be the background, value 0")
        return self


class Score(Frozen):
    """One class of a classification."""

    name: Name
    title: str = ""


class ScoreOutputs(Frozen):
    """Exclusive classes of a whole study, one softmax over the mean of the windows' logits."""

    kind: Literal["scores"] = "scores"
    classes: tuple[Score, ...] = Field(min_length=2)
    needs: Needs = ()

    @property
    def count(self) -> int:
        """Output channels of the network."""
        return len(self.classes)

    @property
    def needed(self) -> frozenset[Modality]:
        """All that its answer needs."""
        return frozenset(self.needs)

    @model_validator(mode="after")
    def _distinct(self) -> ScoreOutputs:
        _unique("class names", [score.name for score in self.classes])
        return self


SegmentationOutputs = RegionOutputs | ClassOutputs
Outputs = Annotated[RegionOutputs | ClassOutputs | ScoreOutputs, Field(discriminator="kind")]


class Task(Frozen):
    """A downstream task: what goes in, what comes out, how the study is prepared."""

    name: Name
    title: str
    channels: tuple[Channel, ...] = Field(min_length=1)
    outputs: Outputs
    preprocessing: Preprocessing = Preprocessing()
    window: Window = Window()
    filling: Filling = Filling()
    intended_use: str = "Research only. Not a medical device."
    licence: str = ""
    notes: str = ""

    @property
    def kind(self) -> Literal["segmentation", "classification"]:
        """Whether the task gives a mask or class scores."""
        return "classification" if isinstance(self.outputs, ScoreOutputs) else "segmentation"

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The channels' modalities, in order."""
        return tuple(channel.modality for channel in self.channels)

    @property
    def steady_states(self) -> tuple[Modality, ...]:
        """The modalities that a steady-state series may be."""
        return tuple(channel.modality for channel in self.channels if channel.steady_state)

    @model_validator(mode="after")
    def _channels_hold(self) -> Task:
        _unique("channels", [channel.modality.value for channel in self.channels])
        for channel in self.channels:
            if not channel.required and channel.filler not in BANK_ORDER:
                raise ValueError(
                    f"channel {channel.modality} has no template in the bank: "
                    "name one with 'template', or make the channel required"
                )
        strange = sorted(self.outputs.needed - set(self.modalities))
        if strange:
            raise ValueError(f"an output needs {', '.join(strange)}, which is no channel")
        return self


def _unique(what: str, values: list[int] | list[str]) -> None:
    if len(set(values)) != len(values):
        raise ValueError(f"{what} must be distinct, got {values}")


def preset_names() -> tuple[str, ...]:
    """Names of the presets that ship with the package."""
    folder = resources.files("brainmvp_models") / "tasks"
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir()))


def load_task(name_or_path: str | Path) -> Task:
    """The preset of that name, or the task file at that path.

    Raises:
        InvalidTask: neither exists, or the file does not parse or validate; the message lists
            every field at fault.
    """
    name = str(name_or_path)
    if name in preset_names():
        preset = resources.files("brainmvp_models") / "tasks" / f"{name}.yaml"
        return parse_task(preset.read_text(encoding="utf-8"), subject=name)
    path = Path(name_or_path)
    if not path.is_file():
        raise InvalidTask(
            "is neither a preset nor a file",
            remedy=f"Presets: {', '.join(preset_names())}; or give the path of a YAML file",
            subject=name,
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidTask("is not text", remedy="Give a YAML file in UTF-8", subject=name) from None
    return parse_task(text, subject=name)


def parse_task(text: str, *, subject: str) -> Task:
    """The task that YAML ``text`` describes; ``subject`` names its origin in errors.

    Raises:
        InvalidTask: it does not parse or validate.
    """
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" near line {mark.line + 1}" if mark else ""
        raise InvalidTask(
            f"is not valid YAML{where}", remedy="Correct the syntax", subject=subject
        ) from None
    try:
        return Task.model_validate(fields)
    except ValidationError as error:
        raise InvalidTask(
            explain(error), remedy="Correct these fields; see docs/tasks.md", subject=subject
        ) from None


def explain(error: ValidationError) -> str:
    """A validation error as one line: each field at fault and what is wrong with it."""
    faults = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(step) for step in fault["loc"]) or "the file"
        faults.append(f"{where}: {fault['msg'].removeprefix('Value error, ')}")
    return "; ".join(faults)
