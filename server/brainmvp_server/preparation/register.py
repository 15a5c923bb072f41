"""Bring one series of a head onto another: rigid, by mutual information, from several starts."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import PreparationUnavailable
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.working import Pyramid, WorkingImage, mutual_information

if TYPE_CHECKING:
    import SimpleITK

Points = NDArray[np.float64]

_TURNS = (-30.0, 0.0, 30.0)
"""Degrees about each axis that are looked at before any optimisation."""
_STARTS = 3
"""The best of them that are optimised, the headers among them."""
_THREADS = 2
"""Work units of ITK: a fixed number, so that sums are made in one order everywhere."""
_SEED = 1
_LEAST_GAIN = 0.006
"""Of mutual information: a result that gains less than this on the headers is the headers'."""
_JUDGED = 60_000
"""Voxels that transforms are compared on."""


@dataclass(frozen=True)
class _Search:
    """How far and how closely an optimiser looks.

    Attributes:
        step: mm, its first.
        last: mm; with steps shorter than this it ends.
        steps: at most.
        share: of the reference's voxels that it compares.
        blur: mm, of both images.
    """

    step: float
    last: float
    steps: int
    share: float
    blur: float


_WIDE = _Search(step=4.0, last=0.05, steps=100, share=0.3, blur=3.0)
_CLOSE = _Search(step=2.0, last=0.005, steps=200, share=0.4, blur=1.0)


@dataclass(frozen=True, eq=False)
class Registration:
    """How a series lies towards the reference.

    Attributes:
        to_moving: takes a point of the reference's world to the world of the series.
        start: which start won: ``headers``, ``moments``, ``centres`` or ``turned``.
        before, after: normalised mutual information by the headers, and with ``to_moving``.
        moved_mm: mean distance over the reference's head that it moves a point.
        seconds: what it took.
    """

    to_moving: RigidTransform
    start: str
    before: float
    after: float
    moved_mm: float
    seconds: float


def register(moving: Pyramid, reference: Pyramid) -> Registration:
    """Find where the head of ``reference`` lies in ``moving``.

    Never worse than the headers by the measure of both: where no start gains on them, they hold.

    Raises:
        PreparationUnavailable: SimpleITK is not installed.
    """
    began = time.monotonic()
    sitk = _itk()
    middle = _Pair(sitk, reference.middle, moving.middle)
    reached = [
        (name, middle.optimised(guess, _WIDE))
        for name, guess in _starts(reference.coarse, moving.coarse)
    ]
    start, nearest = max(reached, key=lambda each: middle.score(each[1]))
    fine = _Pair(sitk, reference.fine, moving.fine)
    headers = RigidTransform.identity()
    before = fine.score(headers)
    found = fine.optimised(nearest, _CLOSE)
    after = fine.score(found)
    if after < before + _LEAST_GAIN:
        start, found, after = "headers", headers, before
    return Registration(
        to_moving=found,
        start=start,
        before=before,
        after=after,
        moved_mm=found.moved(fine.head),
        seconds=time.monotonic() - began,
    )


class _Pair:
    """Two images of one resolution, ready to be compared and moved."""

    def __init__(self, sitk: Any, reference: WorkingImage, moving: WorkingImage) -> None:
        self._sitk = sitk
        chosen = np.random.default_rng(_SEED).permutation(reference.voxels.size)[:_JUDGED]
        self._bins, self._points = reference.bins[chosen], reference.points[chosen]
        self._moving = moving
        self._images = _image(sitk, reference), _image(sitk, moving)
        self.head = self._points[reference.voxels.ravel()[chosen] > 0.15]

    def score(self, transform: RigidTransform) -> float:
        """Normalised mutual information of some of the reference's voxels, the same every time."""
        return mutual_information(self._bins, self._moving.looked_up(transform.apply(self._points)))

    def optimised(self, start: RigidTransform, search: _Search) -> RigidTransform:
        """The nearest best place from a start."""
        fixed, moving = self._images
        transform = _euler(self._sitk, start, fixed)
        method = self._sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(search.share, seed=_SEED)
        method.SetInterpolator(self._sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=search.step,
            minStep=search.last,
            numberOfIterations=search.steps,
            relaxationFactor=0.6,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([1])
        method.SetSmoothingSigmasPerLevel([search.blur])
        method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
        method.SetNumberOfThreads(_THREADS)
        method.SetInitialTransform(transform, inPlace=True)
        try:
            method.Execute(fixed, moving)
        except RuntimeError:  # too few of the points fall into the moving image
            return start
        return _rigid(transform)


def _starts(reference: WorkingImage, moving: WorkingImage) -> list[tuple[str, RigidTransform]]:
    """The headers, and the best by a look at the coarse images of shifts and turns."""
    moments = moving.centre_of_mass - reference.centre_of_mass
    centres = moving.centre - reference.centre
    none = np.zeros(3)
    centre = reference.centre_of_mass
    tried = [("centres", RigidTransform.of_rotation(none, centres, centre))]
    for shift in (none, moments):
        for turn in itertools.product(_TURNS, repeat=3):
            name = "turned" if any(turn) else "moments" if shift is moments else "headers"
            tried.append((name, RigidTransform.of_rotation(np.array(turn), shift, centre)))
    chosen = np.random.default_rng(_SEED).permutation(reference.voxels.size)[:_JUDGED]
    bins, points = reference.bins[chosen], reference.points[chosen]

    def score(each: tuple[str, RigidTransform]) -> float:
        return mutual_information(bins, moving.looked_up(each[1].apply(points)))

    scored = sorted(tried, key=score, reverse=True)
    kept = [("headers", RigidTransform.identity())]
    kept += [each for each in scored if each[0] != "headers"][: _STARTS - 1]
    return kept


def _euler(sitk: Any, start: RigidTransform, fixed: SimpleITK.Image) -> Any:
    """The transform as ITK's, in L-P-S, turning about the middle of the fixed image."""
    transform = sitk.Euler3DTransform()
    middle = [(n - 1) / 2 for n in fixed.GetSize()]
    transform.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint(middle))
    matrix = start.lps
    transform.SetMatrix(matrix[:3, :3].ravel().tolist(), 1e-6)
    centre = np.array(transform.GetCenter())
    transform.SetTranslation((matrix[:3, 3] + matrix[:3, :3] @ centre - centre).tolist())
    return transform


def _rigid(transform: Any) -> RigidTransform:
    """What ITK's transform says."""
    centre = np.array(transform.GetCenter())
    turn = np.array(transform.GetMatrix()).reshape(3, 3)
    found = np.eye(4)
    found[:3, :3] = turn
    found[:3, 3] = np.array(transform.GetTranslation()) + centre - turn @ centre
    return RigidTransform.from_lps(found)


def _image(sitk: Any, image: WorkingImage) -> SimpleITK.Image:
    """The image as ITK's, in L-P-S."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    made = sitk.GetImageFromArray(np.ascontiguousarray(image.voxels.T))
    made.SetSpacing(spacing.tolist())
    made.SetOrigin(affine[:3, 3].tolist())
    # ITK takes right angles alone; axes that are a little off are turned to the nearest ones.
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    made.SetDirection((left @ right).ravel().tolist())
    return made


def _itk() -> Any:
    try:
        import SimpleITK as sitk
    except ModuleNotFoundError:
        raise PreparationUnavailable(
            "SimpleITK is not installed", remedy="pip install 'brainmvp[prepare]'"
        ) from None
    return sitk
