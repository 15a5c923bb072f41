"""The model repository follows its folder."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import InvalidBundle, UnknownModel
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.network_cache import NetworkCache, network_bytes
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.worker import Worker
from brainmvp_server.preparation.brain_network import BrainBundles
from brainmvp_server.repository.catalogue import Catalogue
from brainmvp_server.repository.model_repository import ModelRepository


@pytest.fixture(scope="module")
def tiny_bundle(swift_models: Path) -> Bundle:
    """A bundle that is quick to load."""
    return Bundle.open(swift_models / "swift" / "1")


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(NetworkCache())
    yield worker
    worker.close()


@pytest.fixture
def folder(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    place(tiny_bundle, tmp_path / "tiny" / "1")
    return tmp_path


def place(bundle: Bundle, root: Path) -> None:
    """A copy of the bundle as the version that ``root`` is called, put there at once."""
    aside = root.parent.parent / ".aside"
    shutil.copytree(bundle.root, aside)
    manifest = bundle.manifest.model_copy(update={"name": root.parent.name, "version": root.name})
    (aside / "manifest.json").write_text(manifest.model_dump_json())
    root.parent.mkdir(exist_ok=True)
    aside.rename(root)


def test_a_bundle_that_appears_is_served_and_one_that_goes_is_not(
    folder: Path, tiny_bundle: Bundle, worker: Worker
) -> None:
    repository = ModelRepository(folder, worker)
    place(tiny_bundle, folder / "tiny" / "2")
    assert repository.refresh()
    assert repository.bundle("tiny").manifest.version == "2"
    shutil.rmtree(folder / "tiny")
    assert repository.refresh()
    with pytest.raises(UnknownModel):
        repository.bundle("tiny")


def test_a_bundle_whose_bytes_change_is_refused_by_name_and_the_others_served(
    folder: Path, tiny_bundle: Bundle, worker: Worker
) -> None:
    place(tiny_bundle, folder / "tiny" / "2")
    repository = ModelRepository(folder, worker)
    with (folder / "tiny" / "2" / "model.onnx").open("r+b") as file:
        file.write(b"x")
    assert repository.refresh()
    assert [error.subject for error in repository.refused] == ["tiny/2"]
    assert repository.bundle("tiny").manifest.version == "1"


def test_a_bundle_that_finds_brains_is_no_model_and_takes_the_packaged_ones_place(
    folder: Path, worker: Worker
) -> None:
    packaged = BrainBundles.packaged()
    repository = ModelRepository(folder, worker)
    assert repository.brain_bundles().digests == packaged.digests
    shutil.copytree(packaged.extraction.root, folder / "ours" / "1.0.2")
    assert repository.refresh()
    assert list(repository.catalogue.bundles) == ["tiny"]
    with pytest.raises(UnknownModel):
        repository.bundle("brain-extraction")
    assert repository.brain_bundles().extraction.root == folder / "ours" / "1.0.2"
    assert repository.brain_bundles().box.digest == packaged.box.digest


def test_networks_that_find_brains_stay_in_memory_when_the_folder_changes(
    folder: Path, tiny_bundle: Bundle, worker: Worker
) -> None:
    repository = ModelRepository(folder, worker)
    box = repository.brain_bundles().box
    with worker.networks.acquire(box, CancelToken()):
        pass
    place(tiny_bundle, folder / "tiny" / "2")
    assert repository.refresh()
    assert (worker.networks.loads, worker.networks.unloads) == (1, 0)


def test_what_did_not_change_is_not_verified_again(folder: Path, worker: Worker) -> None:
    repository = ModelRepository(folder, worker)
    before = repository.bundle("tiny")
    network = folder / "tiny" / "1" / "model.onnx"
    status = network.stat()
    damaged = bytearray(network.read_bytes())
    damaged[-1] ^= 1
    with network.open("r+b") as file:
        file.write(damaged)
    os.utime(network, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not repository.refresh()  # it could not be seen from outside, so nobody looked inside
    assert repository.bundle("tiny") is before


def test_a_folder_that_is_away_changes_nothing(folder: Path, worker: Worker) -> None:
    repository = ModelRepository(folder, worker)
    folder.rename(folder.with_name("away"))
    assert not repository.refresh()
    assert repository.bundle("tiny")
    folder.with_name("away").rename(folder)


def test_the_default_marker_chooses_the_version_and_a_wrong_one_is_reported(
    folder: Path, tiny_bundle: Bundle, worker: Worker
) -> None:
    place(tiny_bundle, folder / "tiny" / "2")
    marker = folder / "tiny" / "default"
    marker.write_text("1\n")
    repository = ModelRepository(folder, worker)
    assert repository.model("tiny").version == "1"
    assert repository.bundle("tiny", "2").manifest.version == "2"
    marker.write_text("3")
    assert repository.refresh()
    assert repository.model("tiny").version == "2"
    assert [error.subject for error in repository.refused] == ["tiny/default"]


def test_a_request_ends_on_the_network_it_began_with_which_is_unloaded_after_it(
    folder: Path, tiny_bundle: Bundle, worker: Worker
) -> None:
    repository = ModelRepository(folder, worker)
    predictor = repository.predictor(repository.bundle("tiny"))
    with worker.networks.acquire(predictor.bundle, CancelToken()) as network:
        shutil.rmtree(folder / "tiny" / "1")
        place(tiny_bundle, folder / "tiny" / "2")
        assert repository.refresh()
        engine = network.engine
        engine.finish(engine.start(network.room()))
        assert repository.predictor(repository.bundle("tiny")).bundle.manifest.version == "2"
        assert worker.networks.bytes > 0
    assert worker.networks.bytes == 0


def test_the_folder_is_watched(folder: Path, tiny_bundle: Bundle, worker: Worker) -> None:
    repository = ModelRepository(folder, worker)
    repository.follow(0.05, warm_up=False)
    place(tiny_bundle, folder / "tiny" / "10")
    deadline = time.monotonic() + 60
    while repository.bundle("tiny").manifest.version != "10" and time.monotonic() < deadline:
        time.sleep(0.02)
    repository.close()
    assert repository.bundle("tiny").manifest.version == "10"


def test_networks_are_in_memory_before_the_shelf_is_warm_and_new_ones_soon_after(
    folder: Path, tiny_bundle: Bundle, worker: Worker
) -> None:
    place(tiny_bundle, folder / "broken" / "1")
    repository = ModelRepository(folder, worker)
    (folder / "broken" / "1" / "model.onnx").write_bytes(b"no network")
    repository.follow(0.05, warm_up=True)
    until(lambda: repository.warm)
    one = worker.networks.bytes
    assert one > 0 and worker.networks.loads == 1
    place(tiny_bundle, folder / "another" / "1")
    until(lambda: worker.networks.loads == 2)
    repository.close()
    assert worker.networks.bytes == 2 * one


def test_a_network_ahead_of_its_time_takes_no_other_ones_place(
    folder: Path, tiny_bundle: Bundle
) -> None:
    place(tiny_bundle, folder / "another" / "1")
    worker = Worker(NetworkCache(budget=network_bytes(tiny_bundle, 1)))
    repository = ModelRepository(folder, worker)
    repository.follow(0, warm_up=True)
    until(lambda: repository.warm)
    assert (worker.networks.loads, worker.networks.unloads) == (1, 0)
    repository.close()
    worker.close()


def test_an_older_reading_of_the_folder_never_takes_a_newer_ones_place(
    folder: Path, tiny_bundle: Bundle, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watcher and a request look at one time; the one that began first may end last."""
    repository = ModelRepository(folder, worker)
    began, go_on = threading.Event(), threading.Event()
    read = Catalogue.read

    def slow_at_first(root: Path, before: Catalogue | None = None) -> Catalogue:
        found = read(root, before)
        if not began.is_set():
            began.set()
            go_on.wait(60)
        return found

    monkeypatch.setattr(Catalogue, "read", slow_at_first)
    older = threading.Thread(target=repository.refresh)
    older.start()
    assert began.wait(60)
    place(tiny_bundle, folder / "tiny" / "2")
    newer = threading.Thread(target=repository.refresh)
    newer.start()
    newer.join(0.5)  # unlocked, it ends here and the older one after it
    go_on.set()
    for thread in (older, newer):
        thread.join(60)
    assert repository.bundle("tiny").manifest.version == "2"


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_model_replaced_before_its_network_was_loaded_is_served_anew_not_refused(
    folder: Path, tiny_bundle: Bundle, worker: Worker
) -> None:
    repository = ModelRepository(folder, worker)
    old = repository.predictor(repository.bundle("tiny")).bundle.digest
    root = folder / "tiny" / "1"
    content = root.joinpath("manifest.json").read_text()
    shutil.rmtree(root)
    place(tiny_bundle, root)
    root.joinpath("manifest.json").write_text(content.replace('"demo":true', '"demo":false'))

    def work(predictor: Predictor) -> str:
        if predictor.bundle.digest == old:
            raise InvalidBundle("changed", remedy="none")
        return predictor.bundle.digest

    assert repository.serve(repository.bundle("tiny"), work) != old


@pytest.mark.parametrize("fault", [PermissionError, OSError, FileNotFoundError])
def test_a_bundle_that_cannot_be_read_is_refused_alone_and_served_when_it_can_be(
    folder: Path,
    tiny_bundle: Bundle,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    fault: type[OSError],
) -> None:
    place(tiny_bundle, folder / "locked" / "1")
    locked = folder / "locked" / "1" / "model.onnx"
    with monkeypatch.context() as system:
        system.setattr(Path, "open", failing(Path.open, locked, fault))
        repository = ModelRepository(folder, worker)
        assert repository.bundle("tiny")
        assert [error.subject for error in repository.refused] == ["locked/1"]
        assert fault.__name__ in repository.refused[0].problem
        assert not repository.refresh()  # nothing new: it is not told again
    assert repository.refresh()  # neither its files nor their times have changed
    assert repository.bundle("locked") and not repository.refused


@pytest.mark.parametrize("step", ["iterdir", "stat", "open"])
def test_a_folder_that_cannot_be_looked_through_takes_no_other_away(
    folder: Path,
    tiny_bundle: Bundle,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    place(tiny_bundle, folder / "locked" / "1")
    root = folder / "locked" / "1"
    wanted = {"iterdir": root, "stat": root / "model.onnx", "open": root / "manifest.json"}
    with monkeypatch.context() as system:
        usual = getattr(Path, step)
        system.setattr(Path, step, failing(usual, wanted[step], PermissionError))
        repository = ModelRepository(folder, worker)
        assert list(repository.catalogue.bundles) == ["tiny"]
    assert repository.refresh()
    assert list(repository.catalogue.bundles) == ["locked", "tiny"]


def failing(usual: Callable[..., Any], path: Path, fault: type[OSError]) -> Callable[..., Any]:
    """What the system says of one path, and what it usually says of all others."""

    def asked(self: Path, *given: Any, **named: Any) -> Any:
        if self == path:
            raise fault(5, "not now")
        return usual(self, *given, **named)

    return asked


def test_a_share_that_fails_during_warm_up_ends_no_thread_and_is_tried_again(
    folder: Path, tiny_bundle: Bundle, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = worker.networks.prepare
    faults: list[Exception] = [OSError(5, "the share is away"), ValueError("a bug")]

    def once_away(bundle: Bundle) -> None:
        if faults:
            raise faults.pop()
        prepare(bundle)

    monkeypatch.setattr(worker.networks, "prepare", once_away)
    repository = ModelRepository(folder, worker)
    repository.follow(0.02, warm_up=True)
    until(lambda: repository.warm)
    until(lambda: worker.networks.loads == 1)
    place(tiny_bundle, folder / "tiny" / "2")
    until(lambda: repository.bundle("tiny").manifest.version == "2")
    repository.close()


def test_a_bundle_that_is_lent_keeps_its_network_whatever_takes_its_place(
    folder: Path, tiny_bundle: Bundle, worker: Worker
) -> None:
    repository = ModelRepository(folder, worker)
    with repository.acquire("tiny") as bundle:
        worker.networks.prepare(bundle)
        shutil.rmtree(folder / "tiny" / "1")
        place(tiny_bundle, folder / "tiny" / "2")
        assert repository.refresh()
        assert repository.serve(bundle, lambda predictor: predictor.bundle) is bundle
        with worker.networks.acquire(bundle, CancelToken()):
            assert worker.networks.loads == 1
    assert worker.networks.bytes == 0
