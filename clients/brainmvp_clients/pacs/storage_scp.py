"""Our own storage SCP: takes a PACS's images, each whole on disk before it is confirmed."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    Verification,
)

from brainmvp_clients.errors import ClientError
from brainmvp_clients.pacs.association_gate import MAX_ASSOCIATIONS, AssociationGate
from brainmvp_clients.pacs.limits import MAX_IMAGE_MB
from brainmvp_clients.pacs.tls import Tls
from brainmvp_clients.result_files import sync
from brainmvp_clients.score.private_files import touch_private

log = logging.getLogger(__name__)

IMAGES: tuple[str, ...] = (
    MRImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
)
"""What we take: MR images and nothing else."""

SYNTAXES: tuple[tuple[str, ...], ...] = (
    (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian),
    (JPEGLSLossless,),
    (JPEGLSNearLossless,),
    (JPEG2000Lossless,),
    (JPEG2000,),
    (JPEGLosslessSV1,),
    (RLELossless,),
)
"""Transfer syntaxes, in groups that are offered apart."""

SUCCESS, OUT_OF_RESOURCES, WRONG_DATA, PROCESSING_FAILURE = 0x0000, 0xA700, 0xA900, 0x0110


class Receiver:
    """Writes what arrives into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: set[str] = set()

    @property
    def count(self) -> int:
        """How many different instances arrived."""
        return len(self._names)

    def store(self, event: evt.Event) -> int:
        """Answer one C-STORE; for pynetdicom."""
        name = file_name(event)
        status = write_instance(event, self._folder / name)
        if status == SUCCESS:
            self._names.add(name)
        return status


class StorageScp:
    """Listens as ``title``; what arrives goes where it is expected, the rest is turned away."""

    def __init__(
        self,
        title: str,
        port: int,
        host: str = "",
        tls: Tls | None = None,
        image_mb: int = MAX_IMAGE_MB,
    ) -> None:
        self.title = title
        self._expected: dict[str, Receiver] = {}
        self._lock = threading.Lock()
        self._gate = start_gate(storage_entity(title), host, port, tls, self._store, image_mb)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._gate.port

    @contextmanager
    def expecting(self, series: str, into: Path) -> Iterator[Receiver]:
        """Takes a series for the time of the block."""
        receiver = Receiver(into)
        with self._lock:
            self._expected[series] = receiver
        try:
            yield receiver
        finally:
            with self._lock:
                del self._expected[series]

    def close(self) -> None:
        """Stop listening."""
        self._gate.close()

    def _store(self, event: evt.Event) -> int:
        series = str(event.dataset.get("SeriesInstanceUID", ""))
        with self._lock:
            receiver = self._expected.get(series)
        return receiver.store(event) if receiver else PROCESSING_FAILURE


def storage_entity(title: str, callers: tuple[str, ...] = ()) -> AE:
    """An entity that takes our images in every syntax, and C-ECHO."""
    entity = AE(ae_title=title)
    entity.require_called_aet = True
    entity.require_calling_aet = list(callers)
    entity.maximum_associations = MAX_ASSOCIATIONS
    entity.network_timeout, entity.dimse_timeout, entity.acse_timeout = 120, 120, 30
    for image in IMAGES:
        entity.add_supported_context(image, [syntax for group in SYNTAXES for syntax in group])
    entity.add_supported_context(Verification)
    return entity


def start_gate(
    entity: AE,
    host: str,
    port: int,
    tls: Tls | None,
    store: Callable[[evt.Event], int],
    image_mb: int = MAX_IMAGE_MB,
) -> AssociationGate:
    """The entity, listening behind its association gate.

    Args:
        image_mb: MiB that one image may have.

    Raises:
        ClientError: the port cannot be had.
    """
    context = tls.server() if tls else None
    try:
        return AssociationGate(entity, host, port, context, store, image_mb)
    except OSError as error:
        raise ClientError(
            f"port {port} cannot be listened on ({error.strerror or type(error).__name__})",
            remedy="Give another port, or stop what listens there",
        ) from None


def file_name(event: evt.Event) -> str:
    """A name that tells instances apart and says nothing about them."""
    request = event.request
    assert isinstance(request, C_STORE)
    uid = str(request.AffectedSOPInstanceUID)
    return f"{hashlib.sha256(uid.encode()).hexdigest()[:32]}.dcm"


def write_instance(event: evt.Event, path: Path) -> int:
    """Write an instance as it came; when this returns it is on disk, and the status says so."""
    try:
        write_durably(path, event.encoded_dataset())
    except OSError as error:
        log.error("an image cannot be written: %s", error.strerror or type(error).__name__)
        return OUT_OF_RESOURCES
    return SUCCESS


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all; when this returns it is on disk.

    Nobody but its owner may open it.

    Raises:
        OSError: the disk refuses it; nothing of it stays.
    """
    staging = path.with_name(f"{path.stem}-{threading.get_ident()}.partial")
    try:
        with touch_private(staging).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
        sync(path.parent)
    except OSError:
        staging.unlink(missing_ok=True)
        raise
