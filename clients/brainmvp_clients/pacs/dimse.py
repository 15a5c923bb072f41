"""A PACS over DIMSE (PS3.7): C-FIND finds, C-GET or C-MOVE fetches, C-STORE stores."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydicom import Dataset, dcmread
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from brainmvp_clients.errors import ClientError
from brainmvp_clients.pacs.query import Query, is_uid
from brainmvp_clients.pacs.storage_scp import IMAGES, SYNTAXES, Receiver, StorageScp
from brainmvp_clients.pacs.tls import Tls
from brainmvp_clients.pacs.transfer import (
    MR,
    Instance,
    PacsRefused,
    check_whole,
    confirm,
    fetched_files,
    instances_of,
)
from brainmvp_clients.score.retry import Unavailable
from brainmvp_clients.score.study_files import Study, StudyFiles

FIND = StudyRootQueryRetrieveInformationModelFind
GET = StudyRootQueryRetrieveInformationModelGet
MOVE = StudyRootQueryRetrieveInformationModelMove
SUCCESS, PENDING = 0x0000, (0xFF00, 0xFF01)
_FEW = 500
"""Studies of one answer; after fewer, more days are asked for at once."""
_MOST_DAYS = 64
_BUSY = frozenset({0xA700, 0xA701, 0xA702, 0x0122})
"""Out of resources, and storage refused for now."""
_PEER = re.compile(
    r"(?P<title>[^@\s\\][^@\\]{0,15})@(?P<host>[^@:\s]+|\[[0-9a-fA-F:]+\]):(?P<port>\d+)"
)


@dataclass(frozen=True)
class Peer:
    """A PACS's application entity."""

    title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Peer:
        """``TITLE@HOST:PORT``.

        Raises:
            ClientError: it is none.
        """
        found = _PEER.fullmatch(text)
        if found is None or not 0 < int(found["port"]) < 1 << 16:
            raise ClientError("is no peer", remedy="Write it as TITLE@HOST:PORT", subject=text[:80])
        return cls(found["title"], found["host"].strip("[]"), int(found["port"]))

    def __str__(self) -> str:
        return f"{self.title}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Caller:
    """Who we are when we call: our title, and TLS where the peer speaks it."""

    title: str = "BRAINMVP"
    tls: Tls | None = None

    @contextmanager
    def associate(
        self,
        peer: Peer,
        contexts: list[PresentationContext],
        on_store: Callable[[evt.Event], int] | None = None,
    ) -> Iterator[Association]:
        """An association for the time of the block.

        Raises:
            Unavailable: nobody answers, or the peer has no room.
            PacsRefused: the peer does not want us.
        """
        entity = AE(ae_title=self.title)
        entity.connection_timeout, entity.acse_timeout = 15, 30
        entity.dimse_timeout, entity.network_timeout = 300, 300
        entity.requested_contexts = contexts
        roles = [build_role(uid, scp_role=True) for uid in IMAGES]
        association = entity.associate(
            peer.host,
            peer.port,
            ae_title=peer.title,
            ext_neg=roles if on_store else None,  # type: ignore[arg-type]
            evt_handlers=[(evt.EVT_C_STORE, on_store)] if on_store else [],
            tls_args=(self.tls.client(), peer.host) if self.tls else None,
        )
        try:
            _check(association)
            yield association
        finally:
            if association.is_established:
                association.release()
            else:
                association.abort()


class Dimse:
    """What we ask of one PACS."""

    def __init__(self, peer: Peer, caller: Caller) -> None:
        self.peer, self._caller = peer, caller

    def find(self, level: str, keys: Mapping[str, str]) -> list[Dataset]:
        """The answers to a query, together.

        Raises:
            ClientError: the PACS does not answer it.
        """
        return list(self.answers(level, keys))

    def answers(self, level: str, keys: Mapping[str, str]) -> Iterator[Dataset]:
        """The answers to a query of the study root (PS3.4, C.6.2), as they come.

        Raises:
            ClientError: the PACS does not answer it.
        """
        asked = Dataset()
        asked.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(asked, keyword, value)
        with self._caller.associate(self.peer, [build_context(FIND)]) as association:
            for status, answer in association.send_c_find(asked, FIND):
                if _pending(status) and answer is not None:
                    yield answer

    def series(self, study: str) -> list[Dataset]:
        """The MR series of a study."""
        keys = {
            "StudyInstanceUID": study,
            "SeriesInstanceUID": "",
            "Modality": MR,
            "NumberOfSeriesRelatedInstances": "",
        }
        return [item for item in self.find("SERIES", keys) if item.get("Modality", MR) == MR]

    def get(self, study: str, series: str, into: Path) -> int:
        """Fetch a series over the association that asks for it."""
        receiver = Receiver(into)
        contexts = [build_context(GET), *image_contexts()]
        with self._caller.associate(self.peer, contexts, receiver.store) as association:
            for status, _ in association.send_c_get(_series_level(study, series), GET):
                _pending(status)
        return receiver.count

    def move(self, study: str, series: str, into: Path, scp: StorageScp) -> int:
        """Have a series sent to our own storage SCP."""
        with (
            scp.expecting(series, into) as receiver,
            self._caller.associate(self.peer, [build_context(MOVE)]) as association,
        ):
            wanted = _series_level(study, series)
            for status, _ in association.send_c_move(wanted, scp.title, MOVE):
                _pending(status)
        return receiver.count

    def store(self, instances: tuple[Instance, ...]) -> None:
        """Store objects and make sure that they are there."""
        kinds = sorted({(item.sop_class, item.transfer_syntax) for item in instances})
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in kinds]
        with self._caller.associate(self.peer, contexts) as association:
            for instance in instances:
                try:
                    status = association.send_c_store(dcmread(instance.path))
                except ValueError:
                    raise PacsRefused(
                        "the PACS takes no objects of a kind that the result has",
                        remedy="Let it accept the SOP classes in docs/dicom.md",
                    ) from None
                _pending(status)
        confirm(instances, self._there)

    def _there(self, instance: Instance) -> bool:
        keys = {
            "StudyInstanceUID": instance.study,
            "SeriesInstanceUID": instance.series,
            "SOPInstanceUID": instance.instance,
        }
        return bool(self.find("IMAGE", keys))


class DimseSource:
    """The studies of a PACS that match a query; their MR series are fetched.

    By C-MOVE, ``scp`` is our end of it, and the PACS must know its title and address.
    """

    dicom = True

    def __init__(self, pacs: Dimse, query: Query, scp: StorageScp | None = None) -> None:
        self._pacs, self._query, self._scp = pacs, query, scp

    def studies(self) -> Iterator[Study]:
        """By study date, a few days at a time, then by UID."""
        uids: Iterable[str] | None = self._query.uids
        if uids is None:
            uids = self._by_date()
        for uid in islice(uids, self._query.limit):
            yield Study(uid, uid)

    def _by_date(self) -> Iterator[str]:
        """C-FIND knows no pages: a day is asked for, then twice as many while few are found."""
        days = 1
        rest: Query | None = self._query
        while rest is not None:
            part, rest = rest.first_days(days)
            found = self._of(part)
            yield from found
            days = min(2 * days, _MOST_DAYS) if len(found) < _FEW else 1

    def _of(self, query: Query) -> list[str]:
        """The UIDs that one C-FIND finds, by date."""
        keys = {"StudyDate": "", **query.keys(), "StudyInstanceUID": ""}
        found = {
            (str(answer.get("StudyDate", "")), str(answer.get("StudyInstanceUID", "")))
            for answer in self._pacs.answers("STUDY", keys)
        }
        return [uid for _, uid in sorted(found) if is_uid(uid) and query.takes(uid)]

    def fetch(self, study: Study, into: Path) -> StudyFiles:
        """Every MR series, whole."""
        for number, series in enumerate(self._pacs.series(study.key), start=1):
            folder = into / f"{number:03d}"
            folder.mkdir()
            uid = series.SeriesInstanceUID
            if self._scp is None:
                got = self._pacs.get(study.key, uid, folder)
            else:
                got = self._pacs.move(study.key, uid, folder, self._scp)
            check_whole(got, series)
        return fetched_files(into)

    def close(self) -> None:
        """Close our own port, if there is one."""
        if self._scp is not None:
            self._scp.close()


class DimseSink:
    """Results stored by C-STORE and confirmed by C-FIND."""

    dicom = True

    def __init__(self, pacs: Dimse) -> None:
        self._pacs = pacs
        self.label = f"dimse {pacs.peer}"

    def deliver(self, study: Study, result: Path) -> None:
        """Store the result's DICOM objects; their UIDs make a repeat replace them."""
        self._pacs.store(instances_of(result))

    def close(self) -> None:
        """Nothing is held."""


def image_contexts() -> list[PresentationContext]:
    """Every image class we take; compressed syntaxes apart, so that none shuts out another."""
    return [build_context(image, list(syntaxes)) for image in IMAGES for syntaxes in SYNTAXES]


def _series_level(study: str, series: str) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = "SERIES"
    asked.StudyInstanceUID = study
    asked.SeriesInstanceUID = series
    return asked


def _check(association: Association) -> None:
    if association.is_established:
        return
    if association.is_rejected:
        # PS3.8, table 9-21: transient, or a reason that stays.
        answer = association.acceptor.primitive
        if answer is not None and getattr(answer, "result", None) == 0x02:
            raise Unavailable("the PACS has no room for us now", remedy="Send fewer at once")
        raise PacsRefused(
            "the PACS does not know us or its title is another",
            remedy="Let it know our title (--aet) and check its own",
        )
    if association.rejected_contexts and not association.accepted_contexts:
        raise PacsRefused(
            "the PACS grants us nothing of what we ask",
            remedy="Let it know our title (--aet), and allow us to find, fetch and store",
        )
    raise Unavailable(
        "the PACS cannot be reached, hangs up, or TLS with it fails",
        remedy="Check its address, that it runs and knows our title (--aet), and --dimse-tls, "
        "--ca, --cert and --key",
    )


def _pending(status: Dataset) -> bool:
    """Whether more is to come; warnings are as good as success (PS3.7, annex C).

    Raises:
        Unavailable: the connection broke off, or the PACS has no room.
        PacsRefused: it failed.
    """
    if "Status" not in status:
        raise Unavailable(
            "the PACS broke off",
            remedy="See that it knows our title (--aet) and what we may do, and look at its log",
        )
    code = int(status.Status)
    if code in PENDING:
        return True
    if code in _BUSY:
        raise Unavailable(f"the PACS has no room (0x{code:04X})", remedy="Send fewer at once")
    if code != SUCCESS and code >> 12 != 0xB and code != 0x0001:
        raise PacsRefused(
            f"the PACS failed (status 0x{code:04X})", remedy="Look at the log of the PACS"
        )
    return False
