"""The manifest: everything a bundle says about itself, as one frozen pydantic model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, model_validator

from brainmvp_models.calibration import Calibration, calibrated_outputs
from brainmvp_models.modality import Modality
from brainmvp_models.population import Population
from brainmvp_models.task import FillPolicy, Frozen, Name, Task

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
RelativePath = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""What a network's weights and operations are in; input and output are always float32."""

CpuPrecision = Literal["auto", "fp32", "bf16"]
"""What networks are to be computed in on CPUs; ``auto`` is bf16 where that is proved and faster."""

CpuKind = Literal["amx", "avx512_bf16"]
"""The instructions with which a CPU multiplies in bfloat16."""


Profile = Literal["reference", "speed"]
"""How a study is cut into windows: as published, or into fewer that are spread evenly."""

UsualProfile = Literal["reference", "auto"]
"""What it is where nothing is asked of the study; ``auto`` is speed where that is proved."""


class BundleFile(Frozen):
    """One file of the bundle, beside the manifest."""

    path: RelativePath
    bytes: int = Field(ge=0)
    digest: Digest


class Network(Frozen):
    """The exported network."""

    file: RelativePath = Field(
        description="ONNX (.onnx), OpenVINO's form (.xml) or a PyTorch program (.pt2)."
    )
    weights: RelativePath | None = Field(
        default=None, description="OpenVINO's form has its weights in another file."
    )
    program: RelativePath | None = Field(
        default=None, description="The same network as a PyTorch program, beside the other form."
    )
    size: str = Field(description="Named network size: released, tiny.")
    parameters: int = Field(gt=0)
    precision: Precision
    live_bytes: int | None = Field(
        default=None,
        gt=0,
        description="Most bytes of tensors alive at once for one window, weights aside.",
    )
    input: Literal["image"] = "image"
    output: Literal["logits"] = "logits"


class Templates(Frozen):
    """The template bank's file and the modalities along its last axis."""

    file: RelativePath
    modalities: tuple[Modality, ...] = Field(min_length=1)
    origin: str = Field(description="Where the templates come from, for example rep_template.")


class Provenance(Frozen):
    """How the bundle came to be."""

    checkpoint: Digest
    exporter: str
    command: str
    created: str = Field(description="UTC, ISO 8601.")


class Parity(Frozen):
    """How far one engine's logits are from the checkpoint's in PyTorch, on real windows."""

    engine: str
    windows: int = Field(gt=0)
    max_error: float = Field(ge=0, description="Largest difference over the logits' deviation.")
    tolerance: float | None = Field(gt=0, description="null where it is not judged: INT8.")
    agreement: float = Field(
        ge=0, le=1, description="Dice of the thresholded outputs, or share of equal classes."
    )


class OutputAgreement(Frozen):
    """How one output agrees with itself served exactly, where these modalities are real.

    What is compared is bfloat16 with float32, or the profile speed with reference.

    The worst of all studies; null where none shows enough of the output to judge it.
    """

    real: tuple[Modality, ...] = Field(min_length=1)
    output: str = Field(description="A region, a class, or a score.")
    studies: int = Field(ge=0, description="Studies that show enough of it.")
    dice: float | None = Field(default=None, ge=0, le=1, description="Lowest Dice of the masks.")
    volume_error: float | None = Field(
        default=None, ge=0, description="Largest difference of volumes, over the exact one."
    )
    score_error: float | None = Field(
        default=None, ge=0, description="Largest difference of a score, of a classification."
    )


class CpuProof(Frozen):
    """That a kind of CPU may compute the network in bfloat16, and what that gains there."""

    precision: Literal["bf16"] = "bf16"
    cpu: CpuKind
    runtime: str = Field(description="The engine and its version, for example openvino 2026.4.1.")
    scans: Literal["given", "packaged"]
    studies: int = Field(gt=0)
    agreement: tuple[OutputAgreement, ...] = Field(min_length=1)
    fp32_window_s: float = Field(gt=0, description="Seconds of a window in float32, median.")
    window_s: float = Field(gt=0, description="The same in bfloat16, in turn with the other.")
    command: str
    created: str = Field(description="UTC, ISO 8601.")

    @property
    def gain(self) -> float:
        """How many times faster than float32."""
        return self.fp32_window_s / self.window_s


class SpeedProof(Frozen):
    """That the profile speed agrees with reference, and what it saves."""

    profile: Literal["speed"] = "speed"
    runtime: str = Field(description="The engine and its version, in float32.")
    scans: Literal["given", "packaged"]
    studies: int = Field(gt=0)
    agreement: tuple[OutputAgreement, ...] = Field(min_length=1)
    reference_windows: int = Field(gt=0, description="Of all that was compared, in reference.")
    windows: int = Field(gt=0, description="The same in speed.")
    command: str
    created: str = Field(description="UTC, ISO 8601.")


Metric = Literal["dice", "hd95_mm", "volume_error_ml", "accuracy", "balanced_accuracy", "auc"]
"""What a subset card measures; ``docs/evaluation.md`` defines each."""


class SubsetQuality(Frozen):
    """One line of the subset card: quality measured when only these modalities are real."""

    real: tuple[Modality, ...] = Field(min_length=1)
    fill: FillPolicy = Field(description="none where every channel is real.")
    output: str = Field(description="A region, a class, or 'all' for the whole study.")
    metric: Metric
    value: float = Field(description="Mean over studies, or the figure of all of them.")
    low: float | None = Field(default=None, description="Lower end of the 95 % interval.")
    high: float | None = Field(default=None, description="Upper end of the 95 % interval.")
    studies: int = Field(gt=0)


class Evaluated(Frozen):
    """How the subset card came to be."""

    command: str
    datalist: str = Field(description="SHA-256 of the list of cases.")
    evaluator: str
    created: str = Field(description="UTC, ISO 8601.")
    population: Population | None = Field(
        default=None, description="Whom it was measured on; null where that is not recorded."
    )


BundleKind = Literal["model", "brain-box", "brain-extraction"]
"""What a bundle is for: predictions, or one of the two steps in which a brain is found."""


class Manifest(Frozen):
    """``manifest.json`` of a bundle.

    ``kind`` says what it is for: only a ``model`` is offered for predictions. A ``brain-box`` finds
    where in a head the brain is, ``brain-extraction`` its voxels there; each has one channel, one
    region and one window, to which the head, or the box, is resampled.

    ``demo`` marks a bundle that shows the software and nothing else; results, previews and
    summaries made with it say so.
    """

    schema_version: Literal[1] = 1
    kind: BundleKind = "model"
    name: Name
    version: Name
    task: Task
    network: Network
    templates: Templates | None = None
    files: tuple[BundleFile, ...] = Field(min_length=1)
    provenance: Provenance
    parity: tuple[Parity, ...] = Field(min_length=1)
    subset_card: tuple[SubsetQuality, ...] = ()
    evaluated: Evaluated | None = None
    cpu_proofs: tuple[CpuProof, ...] = Field(
        default=(), description="At most one for each kind of CPU."
    )
    speed_proof: SpeedProof | None = None
    calibration: Calibration | None = Field(
        default=None, description="Null where probabilities are as the network gives them."
    )
    training_distribution: RelativePath | None = Field(
        default=None, description="Figures of the training studies, which others are compared with."
    )
    demo: bool = False

    @model_validator(mode="after")
    def _calibration_fits(self) -> Manifest:
        if self.calibration is not None:
            found = sorted(one.output for one in self.calibration.outputs)
            wanted = sorted(calibrated_outputs(self.task.outputs))
            if found != wanted:
                raise ValueError(
                    f"calibrates {', '.join(found)}, but the outputs are {', '.join(wanted)}"
                )
        return self

    def expected(self, real: Collection[Modality], fill: FillPolicy) -> tuple[SubsetQuality, ...]:
        """The card's lines for studies of just these modalities, the others filled so."""
        complete = set(real) == set(self.task.modalities)
        return tuple(
            quality
            for quality in self.subset_card
            if set(quality.real) == set(real) and (complete or quality.fill == fill)
        )
