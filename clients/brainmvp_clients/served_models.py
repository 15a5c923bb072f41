"""What a server says of the models that it serves, as frozen values."""

from __future__ import annotations

from collections.abc import Iterable

from brainmvp_clients.answers import Answer, Kind, Population, UndecidedOutput


class Channel(Answer):
    """One input channel of a model."""

    modality: str
    required: bool = False
    template: str | None = None


class Output(Answer):
    """One structure or class that a model reports.

    Attributes:
        value: its number in the mask.
        needs: without these modalities it is not determinable, however they are filled.
    """

    name: str
    title: str = ""
    colour: str | None = None
    value: int | None = None
    needs: tuple[str, ...] = ()


class SubsetQuality(Answer):
    """Quality measured when only the modalities in ``real`` came with the study."""

    output: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    studies: int
    real: tuple[str, ...]
    fill: str


class OpenWith(Answer):
    """What a study of just the modalities ``real``, the others filled so, could not decide."""

    real: tuple[str, ...]
    fills: tuple[str, ...]
    outputs: tuple[UndecidedOutput, ...]


class Model(Answer):
    """A served model.

    The list of models leaves out ``subset_card``, ``population``, ``open_with`` and ``card``.
    """

    name: str
    version: str
    versions: tuple[str, ...] = ()
    title: str = ""
    kind: Kind
    demo: bool = False
    channels: tuple[Channel, ...]
    outputs: tuple[Output, ...]
    fill: str = ""
    profiles: tuple[str, ...] = ("reference",)
    intended_use: str = ""
    digest: str = ""
    subset_card: tuple[SubsetQuality, ...] = ()
    population: Population | None = None
    open_with: tuple[OpenWith, ...] = ()
    card: str | None = None

    def not_determinable(self, real: Iterable[str], fill: str = "") -> tuple[UndecidedOutput, ...]:
        """What a study of just the modalities ``real`` could not decide.

        Args:
            fill: how the others would be filled; the model's own way by default.
        """
        given, how = set(real), fill or self.fill
        fitting = (one for one in self.open_with if set(one.real) == given and how in one.fills)
        return next((one.outputs for one in fitting), ())


class RefusedBundle(Answer):
    """A bundle that was found and is not served."""

    name: str
    problem: str
    remedy: str = ""


class Catalogue(Answer):
    """What is served, and what was found but is not."""

    models: tuple[Model, ...]
    refused: tuple[RefusedBundle, ...] = ()
