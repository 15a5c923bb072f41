"""The library's predictor: files as the scanner gave them in, as a service takes them."""

from __future__ import annotations

from functools import cached_property

from brainmvp_models.bundle import Bundle
from brainmvp_server.inference import predictor
from brainmvp_server.inference.worker import Worker
from brainmvp_server.preparation.brain_network import BrainNetworks
from brainmvp_server.preparation.stage import Means, StudyPreparation


class Predictor(predictor.Predictor):
    """A served model that prepares raw studies. Safe to share between threads.

    As a context manager it closes at the end of the block.

    Args:
        worker: see :class:`brainmvp_server.inference.predictor.Predictor`; it finds brains too.

    Example::

        with Predictor.load("bundles/demo-glioma") as predictor:
            result = predictor.predict({"t1": "t1.nii.gz", "flair": "flair.nii.gz"})
        result.mask, result.structures, result.filled, result.preparation
    """

    def __init__(self, bundle: Bundle, worker: Worker) -> None:
        super().__init__(bundle, worker, StudyPreparation(Means(lambda: self._brain_networks)))

    @cached_property
    def _brain_networks(self) -> BrainNetworks:
        return BrainNetworks(self.worker)
