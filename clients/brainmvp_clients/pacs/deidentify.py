"""Between a PACS and a server that must not know whose studies they are.

Going out, every image is de-identified by ``profile``; coming back, results are given the patient,
the study and the UIDs that they belong to. Pixels are not changed: a face is still a face, and
images marked as holding burned-in text are left out.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

from pydicom import DataElement, Dataset, FileMetaDataset, dcmread
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag

from brainmvp_clients.errors import ClientError
from brainmvp_clients.pacs.profile import (
    EDITION,
    SAFE_PRIVATE,
    Action,
    action_for,
    cleaned,
    is_harmless,
)
from brainmvp_clients.pacs.pseudonyms import Pseudonyms
from brainmvp_clients.score.nifti import without_text
from brainmvp_clients.score.protocols import Sink, Source
from brainmvp_clients.score.study_files import Study, StudyFiles, UnusableStudy

log = logging.getLogger(__name__)

METHOD = f"brainmvp {EDITION}"
PROFILE = (
    Code("113100", "DCM", "Basic Application Confidentiality Profile"),
    Code("113105", "DCM", "Clean Descriptors Option"),
    Code("113111", "DCM", "Retain Safe Private Option"),
)
RESTORED = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""What results take over from the study that they belong to."""

_MARKS = (
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
)
_REMEMBERED = 256
_DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y"}
_NUMBERS = frozenset({"DS", "IS", "FD", "FL", "SS", "US", "SL", "UL", "SV", "UV"})
_TEXTS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"})


@dataclass
class Identity:
    """Whose study it is: the values that results take over, and the UIDs behind the pseudonyms."""

    values: dict[str, str | None] = field(default_factory=dict)
    uids: dict[str, str] = field(default_factory=dict)


class Pseudonymizer:
    """Wraps a source, so that its studies come under pseudonyms, and sinks, which restore names."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._identities: OrderedDict[str, Identity] = OrderedDict()
        self._lock = Lock()

    def source(self, inner: Source) -> Source:
        """The source, its studies under pseudonyms."""
        return _PseudonymizedSource(inner, self)

    def sink(self, inner: Sink) -> Sink:
        """The sink, fed with results under their real names."""
        return _RestoringSink(inner, self)

    def name(self, name: str) -> str:
        """What a study is called."""
        return self._pseudonyms.name(name, "study")

    def pseudonymize(self, study: Study, study_files: StudyFiles, into: Path) -> StudyFiles:
        """De-identified copies of a study's files.

        Raises:
            UnusableStudy: nothing is left.
        """
        identity, brain = Identity(), study_files.brain
        if study_files.dicom:
            files = tuple(
                self._pseudonymized(path, into, n, identity) for n, path in _numbered(study_files)
            )
            study_files = StudyFiles(files=tuple(path for path in files if path), dicom=True)
        else:
            volumes = {name: without_text(path, into) for name, path in study_files.volumes.items()}
            study_files = StudyFiles(volumes=volumes)
        if brain is not None:
            study_files = replace(study_files, brain=without_text(brain, into))
        with self._lock:
            self._identities[study.key] = identity
            self._identities.move_to_end(study.key)
            while len(self._identities) > _REMEMBERED:
                self._identities.popitem(last=False)
        return study_files

    def restore(self, study: Study, dataset: Dataset) -> None:
        """Give an object back its patient, study and UIDs."""
        with self._lock:
            identity = self._identities[study.key]
        _restore_uids(dataset, identity.uids)
        for keyword, value in identity.values.items():
            if value is None:
                dataset.pop(keyword, None)
            else:
                setattr(dataset, keyword, value)
        for keyword in _MARKS:
            dataset.pop(keyword, None)
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID

    def _pseudonymized(
        self, path: Path, into: Path, number: int, identity: Identity
    ) -> Path | None:
        dataset = dcmread(path)
        if dataset.get("BurnedInAnnotation") == "YES":
            return None
        if not identity.values:
            identity.values = {word: _value(dataset, word) for word in RESTORED}
        pseudonymize(dataset, self._pseudonyms, identity.uids)
        target = into / f"{number:06d}.dcm"
        dataset.save_as(target, enforce_file_format=True)
        return target


def pseudonymize(dataset: Dataset, pseudonyms: Pseudonyms, uids: dict[str, str]) -> None:
    """De-identify a dataset in place; ``uids`` gains the real UID behind each pseudonym."""
    patient = str(dataset.get("PatientID", "") or dataset.get("PatientName", ""))
    syntax = dataset.file_meta.TransferSyntaxUID
    _walk(dataset, pseudonyms, uids)
    dataset.PatientID = pseudonyms.name(patient, "patient")
    dataset.PatientName = dataset.PatientID
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    dataset.DeidentificationMethodCodeSequence = [_item(code) for code in PROFILE]
    dataset.preamble = b"\0" * 128
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def _walk(dataset: Dataset, pseudonyms: Pseudonyms, uids: dict[str, str]) -> None:
    for tag in list(dataset.keys()):
        if tag.is_private:
            if not _is_safe(dataset, tag):
                del dataset[tag]
            continue
        action = action_for(tag)
        if action is Action.REMOVE:
            del dataset[tag]
            continue
        element = dataset[tag]
        if action is not None:
            _apply(action, element, pseudonyms, uids)
        elif element.VR == "SQ":
            for item in element.value:
                _walk(item, pseudonyms, uids)


def _apply(
    action: Action, element: DataElement, pseudonyms: Pseudonyms, uids: dict[str, str]
) -> None:
    if element.is_empty:
        return
    if action is Action.UID or (element.VR == "UI" and action is Action.DUMMY):
        many = element.VM > 1
        real = [str(uid) for uid in element.value] if many else [str(element.value)]
        false = [pseudonyms.uid(uid) for uid in real]
        uids.update(zip(false, real, strict=True))
        element.value = false if many else false[0]
    elif action is Action.CLEAN:
        element.value = cleaned(str(element.value))
    elif action is Action.DUMMY:
        element.value = _dummy(element)
    else:
        element.clear()


def _dummy(element: DataElement) -> object:
    """A value that says nothing and is valid (type 1 attributes must have one)."""
    if element.VR in _DUMMIES:
        return _DUMMIES[element.VR]
    if element.VR in _NUMBERS:
        return 0
    if element.VR in _TEXTS:
        return "REMOVED"
    return element.empty_value


def _is_safe(dataset: Dataset, tag: BaseTag) -> bool:
    """Whether a private attribute is kept, or is the creator of one."""
    if tag.is_private_creator:
        kept = {(group, creator) for group, creator, _ in SAFE_PRIVATE}
        return (tag.group, str(dataset[tag].value)) in kept
    creator = dataset.get(BaseTag((tag.group << 16) | (tag.element >> 8)))
    value = str(creator.value) if creator is not None else ""
    safe = (tag.group, value, tag.element & 0xFF) in SAFE_PRIVATE
    return safe and is_harmless(dataset[tag].value)


def _restore_uids(dataset: Dataset, uids: dict[str, str]) -> None:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _restore_uids(item, uids)
        elif element.VR == "UI" and not element.is_empty:
            if element.VM > 1:
                element.value = [uids.get(str(uid), uid) for uid in element.value]
            else:
                element.value = uids.get(str(element.value), element.value)


def _value(dataset: Dataset, keyword: str) -> str | None:
    return str(dataset.get(keyword) or "") if keyword in dataset else None


def _numbered(study_files: StudyFiles) -> Iterator[tuple[int, Path]]:
    return enumerate(study_files.files, start=1)


def _item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code[:3]
    return item


class _PseudonymizedSource:
    def __init__(self, inner: Source, pseudonymizer: Pseudonymizer) -> None:
        self._inner, self._pseudonymizer = inner, pseudonymizer

    @property
    def dicom(self) -> bool:
        """As the source behind it."""
        return self._inner.dicom

    def studies(self) -> Iterator[Study]:
        """The same studies, in the same order."""
        for study in self._inner.studies():
            yield Study(study.key, self._pseudonymizer.name(study.name), behind=study)

    def fetch(self, study: Study, into: Path) -> StudyFiles:
        """De-identified copies; the originals are gone when this returns."""
        with tempfile.TemporaryDirectory(dir=into.parent) as behind:
            study_files = self._inner.fetch(study.behind or study, Path(behind))
            try:
                return self._pseudonymizer.pseudonymize(study, study_files, into)
            except ClientError:
                raise
            except Exception as error:
                # What a library says of a broken file can quote it.
                log.error("an image cannot be de-identified: %s", type(error).__name__)
                raise UnusableStudy(
                    f"an image cannot be de-identified ({type(error).__name__})",
                    remedy="Look at the study in the PACS",
                ) from None

    def close(self) -> None:
        self._inner.close()


class _RestoringSink:
    def __init__(self, inner: Sink, pseudonymizer: Pseudonymizer) -> None:
        self._inner, self._pseudonymizer = inner, pseudonymizer
        self.label = inner.label

    @property
    def dicom(self) -> bool:
        """As the sink behind it."""
        return self._inner.dicom

    def deliver(self, study: Study, result: Path) -> None:
        """Deliver a copy of the result with its objects restored."""
        with tempfile.TemporaryDirectory(dir=result.parent) as scratch:
            copy = Path(scratch, "result")
            shutil.copytree(result, copy)
            for path in sorted(copy.glob("*.dcm")):
                dataset = dcmread(path)
                self._pseudonymizer.restore(study, dataset)
                dataset.save_as(path, enforce_file_format=True)
            self._inner.deliver(study, copy)

    def close(self) -> None:
        self._inner.close()
