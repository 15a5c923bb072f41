"""From a study to a result, as requests and jobs go through it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import InvalidSettings, MissingModality, StudyTooLarge, UnknownModality
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_server.imaging import sources
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.options import PredictOptions, Prepare
from brainmvp_server.preparation.atlas import MNI152_FILE
from brainmvp_server.preparation.brain_network import working_bytes
from brainmvp_server.runtime.received_study import ReceivedStudy
from brainmvp_server.runtime.service import Service
from brainmvp_server.settings import Settings

from ..conftest import rewrite_network

ZEROS = PredictOptions(fill="zeros", prepare="none")
Open = Callable[..., Service]


@pytest.fixture
def open_service(swift_models: Path, tmp_path: Path) -> Iterator[Open]:
    """Starts a service over a model folder of its own, and closes it."""
    models = Path(shutil.copytree(swift_models, tmp_path / "models"))
    opened: list[Service] = []

    def start(**settings: Any) -> Service:
        quiet = {"scratch": tmp_path, "watch_s": 0, "warm_up": False}
        opened.append(Service(Settings.of(models=models, **quiet, **settings)))
        return opened[-1]

    yield start
    for service in opened:
        service.close()


@pytest.fixture
def study(tmp_path: Path) -> ReceivedStudy:
    """Two files of one grid."""
    voxels = np.random.default_rng(0).integers(1, 999, (40, 40, 40), dtype=np.int16)
    named = {m: tmp_path / f"{m.value}.nii" for m in (Modality.T1, Modality.T2)}
    for path in named.values():
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return ReceivedStudy(named)


def test_a_study_that_cannot_be_run_is_refused_by_the_same_check_when_posted_and_when_run(
    open_service: Open, study: ReceivedStudy, tmp_path: Path
) -> None:
    service = open_service()
    bundle = service.repository.bundle("swift")
    stranger = ReceivedStudy({Modality.MRA: tmp_path / "no such file"})
    refused = [
        (study, PredictOptions(fill="none"), MissingModality),
        (stranger, ZEROS, UnknownModality),
    ]
    for given, options, error in refused:
        with pytest.raises(error):
            service.check(bundle, given, options)
        with pytest.raises(error), service.predict(bundle, given, options, CancelToken()):
            pass
    checked = service.check(bundle, study, ZEROS).checked
    assert checked.options == replace(ZEROS, profile="reference"), "the settings' profile"


def test_a_study_that_never_fits_is_refused_before_it_waits(
    open_service: Open, study: ReceivedStudy
) -> None:
    service = open_service(memory_mb=64)
    with pytest.raises(StudyTooLarge):
        service.check(service.repository.bundle("swift"), study, ZEROS)


def test_a_studys_memory_is_counted_until_its_answer_is_made_and_no_longer(
    open_service: Open, study: ReceivedStudy
) -> None:
    service = open_service()
    bundle, admission = service.repository.bundle("swift"), service.admission
    need = service.check(bundle, study, ZEROS).checked.memory
    with service.predict(bundle, study, ZEROS, CancelToken()) as done:
        assert done.result.mask.shape == (40, 40, 40)
        assert admission.memory == need
    assert admission.memory == 0
    with (
        pytest.raises(ZeroDivisionError),
        service.predict(bundle, study, ZEROS, CancelToken()),
    ):
        raise ZeroDivisionError
    assert admission.memory == 0


def test_each_header_is_looked_at_once_before_the_voxels_are_read(
    open_service: Open, study: ReceivedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []
    look = sources.outline_nifti

    def noted(path: Path, *given: Any) -> Any:
        looked.append(path)
        return look(path, *given)

    monkeypatch.setattr(sources, "outline_nifti", noted)
    service = open_service()
    with service.predict(service.repository.bundle("swift"), study, ZEROS, CancelToken()):
        pass
    assert looked == list(study.named.values())


def test_a_bundle_replaced_before_it_was_loaded_is_begun_anew_and_takes_memory_once(
    open_service: Open, study: ReceivedStudy, tmp_path: Path
) -> None:
    service = open_service()
    begun: list[Bundle] = []
    with service.repository.acquire("swift") as bundle:
        now = rewrite_network(tmp_path / "models" / "swift" / "1", seed=3)
        with service.predict(bundle, study, ZEROS, CancelToken(), begin=begun.append) as done:
            assert done.result.bundle_digest == now != bundle.digest
            assert service.admission.memory == service.check(bundle, study, ZEROS).checked.memory
    assert [one.digest for one in begun] == [bundle.digest, now]
    assert service.admission.memory == 0


def test_an_atlas_that_cannot_be_read_ends_the_start_and_one_that_can_is_used(
    open_service: Open, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSettings, match="atlas cannot be read") as refused:
        open_service(atlas=tmp_path / "nowhere.nii")
    assert refused.value.subject == str(tmp_path / "nowhere.nii")
    own = open_service(atlas=MNI152_FILE).preparation.means.atlas
    assert own is not None and own.space is Space.MNI152


@pytest.mark.parametrize(("prepare", "counted"), [("auto", True), ("none", False)])
def test_memory_to_find_a_brain_is_counted_where_one_may_have_to_be_found(
    open_service: Open, study: ReceivedStudy, prepare: Prepare, counted: bool
) -> None:
    service = open_service(memory_mb=4096)
    options = PredictOptions(fill="zeros", prepare=prepare)
    bundle = service.repository.bundle("swift")
    own = service.check(bundle, study, options).checked.memory
    with service.predict(bundle, study, options, CancelToken()):
        brain = working_bytes(service.repository.brain_bundles())
        assert service.admission.memory == own + (brain if counted else 0)
    assert brain > 600 << 20 and service.admission.memory == 0
