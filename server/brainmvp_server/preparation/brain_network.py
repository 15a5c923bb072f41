"""The two networks that find a brain, and how an image is brought to them and back.

The steps and their numbers are those of deepbet (Fisch et al., 2024), from which the packaged
networks come: the whole head is squeezed into the first network's window, whatever its voxels'
shape; the box around the brain it finds, a tenth larger on each side, into the second's. Values go
from the 0.5th to the 99.5th percentile of the squeezed head. Nearest neighbours both ways: on real
series of thick slices, interpolation was no better in front of a network trained without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import InvalidBundle
from brainmvp_models.manifest import BundleKind
from brainmvp_server.imaging.grid import Box, Shape
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.connected import connected
from brainmvp_server.inference.network_cache import network_bytes
from brainmvp_server.inference.study_run import StudyRun
from brainmvp_server.inference.windows import Blend, WindowPlan
from brainmvp_server.inference.worker import Worker

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Look = Callable[[Array], Array]
"""Another way to see an image whose values lie in 0 to 1."""

_PERCENTILES = (0.5, 99.5)
_MEAN, _DEVIATION = 0.449, 0.226
"""What the networks' inputs have."""
_MARGIN = 0.1
"""By how much of its edges the brain's box is grown on each side."""
_IMAGES = 11
"""Float images of the larger window: six are alive at once, and allocators keep as many."""
_FILLED = 0.02
"""The share of a plane of the squeezed head that is brain where the box begins."""
_BACKGROUND = 0.05
"""Values up to this are air, or as dark."""


def as_it_is(image: Array) -> Array:
    """The image itself."""
    return image


def inverted(image: Array) -> Array:
    """Bright where the image is dark."""
    return 1 - image


def inverted_head(image: Array) -> Array:
    """Bright where the image is dark, but for the air around the head."""
    return np.where(image > _BACKGROUND, 1 - image, 0).astype(np.float32)


@dataclass(frozen=True)
class BrainBundles:
    """The two networks' bundles.

    Attributes:
        box: of kind ``brain-box``.
        extraction: of kind ``brain-extraction``.
    """

    box: Bundle
    extraction: Bundle

    @classmethod
    def packaged(cls) -> BrainBundles:
        """Those that ship with the package.

        Raises:
            InvalidBundle: their files are missing or damaged.
        """
        return cls.open(Path(str(resources.files("brainmvp_server.preparation") / "bundles")))

    @classmethod
    def open(cls, folder: Path) -> BrainBundles:
        """Those in the folders ``brain-box`` and ``brain-extraction`` of a folder.

        Raises:
            InvalidBundle: one is missing, damaged or of another kind.
        """
        return cls(_opened(folder, "brain-box"), _opened(folder, "brain-extraction"))

    def replaced(self, own: Mapping[BundleKind, Bundle]) -> BrainBundles:
        """The same, with a site's own bundles of these kinds in their places."""
        return BrainBundles(
            own.get("brain-box", self.box), own.get("brain-extraction", self.extraction)
        )

    @property
    def digests(self) -> frozenset[str]:
        """By which networks are kept in memory."""
        return frozenset((self.box.digest, self.extraction.digest))


def _opened(folder: Path, kind: BundleKind) -> Bundle:
    bundle = Bundle.open(folder / kind)
    if bundle.manifest.kind != kind:
        raise InvalidBundle(
            f"is of kind '{bundle.manifest.kind}', not '{kind}'",
            remedy=f"Put a bundle of kind '{kind}' there",
            subject=kind,
        )
    return bundle


@dataclass(frozen=True, eq=False)
class Head:
    """A series as the networks see it: R, A, S, its values scaled to 0 to 1.

    Attributes:
        low, high: the values that become 0 and 1.
        size: of the window the whole head is squeezed into.
    """

    volume: Volume
    low: float
    high: float
    size: Shape

    @classmethod
    def of(cls, volume: Volume, size: Shape) -> Head | None:
        """The head of a series; None where nearly all its voxels have one value."""
        view = volume.grid.orientation.view(volume.stored)
        low, high = np.percentile(volume.values(_nearest(view, _whole(view), size)), _PERCENTILES)
        return cls(volume, float(low), float(high), size) if high > low else None

    def image(self, box: Box | None = None, size: Shape | None = None) -> Array:
        """A box of the head in a window of ``size``; by default the whole head."""
        view = self.volume.grid.orientation.view(self.volume.stored)
        values = self.volume.values(_nearest(view, box or _whole(view), size or self.size))
        return np.clip((values - self.low) / (self.high - self.low), 0, 1).astype(np.float32)

    def box_around(self, mask: Mask) -> Box | None:
        """The box around the largest part of a mask of the squeezed head, grown by a margin.

        Returns:
            In voxels of the series, R, A, S; None where no plane of some axis has enough of it.
        """
        if not mask.any():
            return None
        mask = _largest(mask)
        start, stop = [], []
        for axis, n in enumerate(self.volume.grid.canonical().shape):
            others = tuple(other for other in range(3) if other != axis)
            (hits,) = np.nonzero(mask.mean(axis=others) > _FILLED)
            if not hits.size:
                return None
            scale = n / mask.shape[axis]
            centre = round(scale * (hits[-1] + 1 + hits[0]) / 2)
            edge = round(scale * (1 + 2 * _MARGIN) * (hits[-1] + 1 - hits[0]))
            start.append(max(int(centre - edge / 2), 0))
            stop.append(min(int(centre + edge / 2), n))
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def standardised(image: Array) -> Array:
    """The image with the mean and deviation of the networks' inputs."""
    mean, deviation = float(image.mean()), max(float(image.std()), 1e-6)
    given: Array = (image - mean) * (_DEVIATION / deviation) + _MEAN
    return given


@dataclass(frozen=True, eq=False)
class Found:
    """What the networks take for the brain of a series.

    Attributes:
        mask: (i, j, k) on the series's grid, one part without holes.
        consistency: Dice of the first network's rough brain and the second's: high on a head,
            while each dreams of a brain of its own where there is none.
    """

    mask: Mask
    consistency: float


class BrainNetworks:
    """Finds brains in single series. Safe to share between threads.

    Args:
        worker: runs the networks, beside those of studies.
        bundles: by default the packaged ones.
        interactive: whether somebody waits for the studies; see :class:`StudyRun`.
    """

    def __init__(
        self, worker: Worker, bundles: BrainBundles | None = None, *, interactive: bool = True
    ) -> None:
        self.bundles = bundles or BrainBundles.packaged()
        self._worker = worker
        self._interactive = interactive

    @property
    def in_batch(self) -> BrainNetworks:
        """The same for studies that nobody waits for: their windows come after the others'."""
        return BrainNetworks(self._worker, self.bundles, interactive=False)

    def find(
        self,
        volume: Volume,
        looks: tuple[Look, ...] = (as_it_is,),
        cancel: CancelToken | None = None,
    ) -> Found | None:
        """The brain in a whole head.

        Args:
            looks: ways to see the image; the networks' probabilities are averaged over them. The
                box is found in the image as it is.

        Returns:
            None where nothing is taken for a brain.

        Raises:
            EngineFailed, EngineUnavailable: the networks cannot be run.
            BrainMVPError: the reason of ``cancel``.
        """
        cancel = cancel or CancelToken()
        head = Head.of(volume, self._window(self.bundles.box))
        if head is None:
            return None
        seen = self._probability(self.bundles.box, head.image(), cancel)
        box = head.box_around(seen > 0.5)
        if box is None:
            return None
        size = self._window(self.bundles.extraction)
        image = head.image(box, size)
        total = np.zeros(size, dtype=np.float32)
        for look in looks:
            total += self._probability(self.bundles.extraction, look(image), cancel)
        inside = _nearest(total, _whole(total), box.shape) > len(looks) / 2
        mask = np.zeros(volume.stored.shape, dtype=np.bool_)
        turned = volume.grid.orientation.view(mask)
        turned[box.slices] = one_without_holes(inside)
        if not mask.any():
            return None
        return Found(mask, dice(seen > 0.5, _nearest(turned, _whole(turned), head.size)))

    def _window(self, bundle: Bundle) -> Shape:
        return bundle.task.window.size

    def _probability(self, bundle: Bundle, image: Array, cancel: CancelToken) -> Array:
        """(x, y, z) in 0 to 1, for an image of the bundle's window with values in 0 to 1."""
        plan = WindowPlan.of(self._window(bundle), bundle.task.window)
        stitching = Blend(plan, 1)
        with self._worker.networks.acquire(bundle, cancel) as network:
            padded = standardised(image)[np.newaxis]
            run = StudyRun(network, plan, padded, stitching, cancel, self._interactive)
            for _ in self._worker.run(run):
                pass
        logits = stitching.mean()[0]
        probability: Array = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        return probability


def working_bytes(bundles: BrainBundles, engine: str | None = None) -> int:
    """Memory that the two networks take at work on one brain, with its images: an upper estimate.

    A process with OpenVINO grew by 1303 MiB over a T1 and a T2 where this says 1315.

    Args:
        engine: what runs them; by default the preferred one.
    """
    networks = sum(network_bytes(one, 1, engine) for one in (bundles.box, bundles.extraction))
    return networks + _IMAGES * 4 * math.prod(bundles.extraction.task.window.size)


def dice(one: Mask, two: Mask) -> float:
    """Twice what two masks share, over what they have; 1 where both are empty."""
    both = np.count_nonzero(one) + np.count_nonzero(two)
    return 2 * np.count_nonzero(one & two) / both if both else 1.0


def one_without_holes(mask: Mask) -> Mask:
    """The largest connected part of a mask (neighbours touch at corners), its holes filled."""
    if not mask.any():
        return mask
    around, _ = connected(~np.pad(_largest(mask), 1), 6)
    inner = (slice(1, -1),) * 3
    filled: Mask = (around != around[0, 0, 0])[inner]
    return filled


def _largest(mask: Mask) -> Mask:
    parts, _ = connected(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest: Mask = parts == sizes.argmax()
    return largest


def _nearest(array: NDArray[Any], box: Box, size: Shape) -> NDArray[Any]:
    """A box of an array in ``size`` voxels, each the one whose middle is nearest."""
    picks = [
        a + ((np.arange(n) + 0.5) * (b - a) / n).astype(np.intp)
        for a, b, n in zip(box.start, box.stop, size, strict=True)
    ]
    return array[np.ix_(*picks)]


def _whole(array: NDArray[Any]) -> Box:
    x, y, z = array.shape
    return Box((0, 0, 0), (x, y, z))
