"""A heap of files, told apart: which of them is which modality of one study.

NIfTI files are told by the words in their names, DICOM series by their headers; zips are unpacked
first. What somebody has named himself is not asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from brainmvp_models.dicom_start import is_dicom
from brainmvp_models.errors import DuplicateModality, InvalidVolume, NothingIdentified
from brainmvp_models.modality import Modality
from brainmvp_models.names import name_evidence
from brainmvp_server.imaging.archive import ArchiveLimits, Unpacked, is_zip, unpack
from brainmvp_server.imaging.file_starts import is_packed_dicom, is_tar, is_volume
from brainmvp_server.imaging.formats.pair import paired
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.sources import Source, outline

if TYPE_CHECKING:
    from brainmvp_server.imaging.dicom.files import Scanned
    from brainmvp_server.imaging.dicom.series import Sorted
    from brainmvp_server.imaging.identify.identify_study import IdentifiedStudy

Check = Callable[[], None]
"""Raises the reason why a study may not go on."""
_ANY_SIZE = Limits(voxels=1 << 62)


def _goes_on() -> None:
    """For studies that nobody can end."""


@dataclass(frozen=True)
class IntakeOptions:
    """How a study is to be told apart.

    Attributes:
        assigned: by series number, label or Series Instance UID, or by a NIfTI file's label; None
            leaves a series or file out.
        b_value: the diffusion weighting that is wanted, s/mm².
        rules: a site's own file of rules.
        fallback: whether dcm2niix is asked about what is no volume by its attributes.
        stand_ins: modalities for which a steady-state series may stand, as the model's task says.
    """

    assigned: Mapping[str, Modality | None] = field(default_factory=dict)
    b_value: float = 1000.0
    rules: Path | None = None
    fallback: bool = False
    stand_ins: tuple[Modality, ...] = ()


@dataclass(frozen=True)
class NamedFile:
    """A NIfTI file of a heap: its place in it, and what its name says, if anything.

    Attributes:
        words: those of the vocabulary that its name says; none of them is a patient's.
        reason: why its name says no modality.
        assigned: whether the user said what it is; ``words`` is empty then.
    """

    place: int
    modality: Modality | None
    words: tuple[str, ...]
    path: Path = field(repr=False)
    assigned: bool = False
    reason: str = ""

    @property
    def label(self) -> str:
        """What the file is called in findings and assignments."""
        return f"file {self.place}"


@dataclass(frozen=True)
class DamagedFile:
    """A DICOM file of a heap that cannot be read: its place in it, and why."""

    place: int
    reason: str


@dataclass(frozen=True)
class Intake:
    """What a heap holds.

    Attributes:
        nifti: in the order they came.
        dicom: the identified study; None where there is no DICOM.
        unread: DICOM files that are damaged.
        other: how many files are no images.
    """

    nifti: tuple[NamedFile, ...]
    dicom: IdentifiedStudy | None
    unread: tuple[DamagedFile, ...] = ()
    other: int = 0

    def sources(self) -> dict[Modality, Source]:
        """The source of each modality.

        Raises:
            DuplicateModality: two NIfTI files, or a file and a series, are named as one.
        """
        found: dict[Modality, Source] = {}
        for file in self.nifti:
            if file.modality in found:
                same = (one.label for one in self.nifti if one.modality is file.modality)
                raise _named_twice(file.modality, f"{' and '.join(same)} are")
            if file.modality is not None:
                found[file.modality] = file.path
        for modality, stack in (self.dicom.chosen if self.dicom else {}).items():
            if modality in found:
                raise _named_twice(modality, "a file and a series are")
            found[modality] = stack
        return found


def take_in(
    files: Iterable[Unpacked],
    folder: Path,
    options: IntakeOptions = IntakeOptions(),
    limits: ArchiveLimits = ArchiveLimits(),
    check: Check = _goes_on,
) -> Intake:
    """Tell a heap of files apart; zips among them are unpacked into ``folder``.

    Args:
        check: called before each file is looked into; raises where nobody waits any more.

    Raises:
        InvalidArchive, ArchiveTooLarge: see :func:`unpack`.
        MixedStudy: the DICOM files belong to several patients or studies.
        NothingIdentified: an assignment names no series.
        InvalidRules: the site's rules do not validate.
    """
    nifti: list[NamedFile] = []
    rest: dict[Path, int] = {}
    unread: list[DamagedFile] = []
    assigned = dict(options.assigned)
    unpacked = paired(_unpacked(files, folder, limits, check), folder)
    place = 0  # among images alone: what else lies in a folder is not always sent
    for file in unpacked:
        check()
        volume = is_volume(file.path)
        place += volume or is_dicom(file.path)
        if is_tar(file.path):
            place += not volume
            unread.append(DamagedFile(place, "it is a tar archive; unpack it, send a zip instead"))
        elif not volume:
            rest[file.path] = place
        elif is_packed_dicom(file.path):
            unread.append(DamagedFile(place, "it is compressed by gzip; decompress it (gunzip)"))
        else:
            nifti.append(_named_file(place, file, assigned))
    if not rest and not assigned:
        return Intake(tuple(nifti), None, tuple(unread))
    from brainmvp_server.imaging.dicom.files import scan
    from brainmvp_server.imaging.identify.identify_study import identify_study
    from brainmvp_server.imaging.identify.rules import load_rules

    scanned = scan(_checked(rest, check))
    study = None
    if scanned.instances or assigned:
        study = identify_study(
            _sorted(scanned, folder, options),
            load_rules(options.rules),
            assigned=assigned,
            b_value=options.b_value,
            stand_ins=options.stand_ins,
        )
    unread += (DamagedFile(rest[one.path], one.reason) for one in scanned.unread)
    return Intake(tuple(nifti), study, tuple(unread), scanned.other)


def chosen_for(
    intake: Intake, wanted: Sequence[Modality], named: Mapping[Modality, Source]
) -> dict[Modality, Source]:
    """What a model is to be given: what was named, and what of its modalities was found.

    The volume with the smallest voxels comes first, so that results lie on its grid, unless
    somebody named volumes: then the first of those does.

    Raises:
        NothingIdentified: nothing was found, or something is there for a modality that would have
            to be filled, but cannot be used.
        DuplicateModality: see :meth:`Intake.sources`.
        InvalidVolume: a NIfTI file's header gives its voxels no place.
    """
    found = intake.sources()
    sources = dict(named)
    for modality in wanted:
        if modality in found and modality not in named:
            sources[modality] = found[modality]
        if modality not in sources:
            _check_none_missed(intake, modality)
    if not sources:
        raise NothingIdentified(
            "none of the files is known to be a modality that the model takes",
            remedy="See what was found with /v1/studies/identify, or name the parts by modality",
        )
    if named:
        return sources
    return dict(sorted(sources.items(), key=lambda item: _voxel_ml(*item)))


def _check_none_missed(intake: Intake, modality: Modality) -> None:
    """Refuse to go on without a modality that is there, or may be.

    Raises:
        NothingIdentified: a series of it is set aside, or files are damaged.
    """
    missed = intake.dicom.missed(modality) if intake.dicom else ()
    if missed:
        first = missed[0]
        only = f"series {first.label} is the only {modality}"
        if len(missed) > 1:
            only = f"series {', '.join(one.label for one in missed)} are {modality}, none is used"
        leave_out = " and ".join(f"assign={one.label}:none" for one in missed)
        raise NothingIdentified(
            f"{only}, and {first.reason}" if len(missed) == 1 else f"{only}: {first.reason}",
            remedy=f"{first.remedy}, or leave it out with {leave_out}: {modality} then "
            "counts as missing, and is filled where the model allows it",
            subject=modality.value,
        )
    if intake.unread:
        first_unread = intake.unread[0]
        raise NothingIdentified(
            f"files that cannot be read: {len(intake.unread)}, and there is no {modality}: they "
            f"may be it; the first is file {first_unread.place}: {first_unread.reason}",
            remedy="Repair these files, or leave them out of the study",
            subject=modality.value,
        )


def opened(
    parts: Mapping[Modality, Path],
    scratch: Path,
    options: IntakeOptions = IntakeOptions(),
    check: Check = _goes_on,
) -> dict[Modality, Source]:
    """What parts named by their modality hold; zips among them are unpacked into ``scratch``.

    Args:
        check: as for :func:`take_in`.

    Raises:
        InvalidInput: one of its kinds; see :func:`one_series`.
    """
    sources: dict[Modality, Source] = {}
    for modality, part in parts.items():
        inside = scratch / f"{modality.value}-files"
        inside.mkdir()
        sources[modality] = one_series(part, modality, inside, options, check)
    return sources


def one_series(
    part: Path,
    modality: Modality,
    folder: Path,
    options: IntakeOptions = IntakeOptions(),
    check: Check = _goes_on,
) -> Source:
    """What a part named by its modality holds: a NIfTI file, or one series as a zip or one object.

    Args:
        check: as for :func:`take_in`.

    Raises:
        InvalidArchive, ArchiveTooLarge, MixedStudy: see :func:`take_in`.
        InvalidVolume: it holds no volume, or several.
    """
    from brainmvp_server.imaging.dicom.files import scan

    if is_zip(part):
        inside = unpack(part, folder, subject=modality.value, check=check)
        files = [f.path for f in paired(inside, folder)]
        volumes = [path for path in files if is_volume(path)]
        if len(volumes) == 1:
            return volumes[0]
    elif is_dicom(part):
        files = [part]
    else:
        return part
    scanned = scan(_checked(files, check))
    if scanned.unread:
        raise InvalidVolume(
            f"{len(scanned.unread)} of its {len(files)} files are damaged: "
            f"{scanned.unread[0].reason}",
            remedy="Repair these files, or send the series again, whole",
            subject=modality.value,
        )
    study = _sorted(scanned, folder, options)
    stacks = list(study.stacks)
    if modality == Modality.DWI:
        stacks.sort(key=lambda s: abs((s.header.b_value or 0.0) - options.b_value))
        del stacks[1:]
    if len(stacks) == 1:
        return stacks[0]
    reasons = "; ".join(aside.reason for aside in study.set_aside[:3])
    raise InvalidVolume(
        f"it holds {len(stacks)} volumes" if stacks else f"it holds no volume ({reasons})",
        remedy="Send the files of one series, or all of them as files=",
        subject=modality.value,
    )


def _sorted(scanned: Scanned, folder: Path, options: IntakeOptions) -> Sorted:
    from brainmvp_server.imaging.dicom.series import sort_series

    study = sort_series(scanned.instances, scanned.beside)
    if not options.fallback:
        return study
    from brainmvp_server.imaging.dicom.fallback import with_fallback

    return with_fallback(study, folder)


def _named_file(place: int, file: Unpacked, assigned: dict[str, Modality | None]) -> NamedFile:
    """A file as the user says, which is then taken from ``assigned``; else as its name says."""
    said = name_evidence(file.name)
    modality = Modality(said.modality) if said.modality else None
    one = NamedFile(place, modality, said.words, file.path, reason=said.reason)
    if one.label not in assigned:
        return one
    return NamedFile(place, assigned.pop(one.label), (), file.path, assigned=True)


def _checked(files: Iterable[Path], check: Check) -> Iterator[Path]:
    for file in files:
        check()
        yield file


def _unpacked(
    files: Iterable[Unpacked], folder: Path, limits: ArchiveLimits, check: Check
) -> Iterable[Unpacked]:
    for number, file in enumerate(files):
        if not is_zip(file.path):
            yield file
            continue
        inside = folder / f"zip-{number:06d}"
        inside.mkdir()
        yield from unpack(file.path, inside, limits, subject="files", check=check)


def _named_twice(modality: Modality, what: str) -> DuplicateModality:
    return DuplicateModality(
        f"{what} named as this modality",
        remedy="Send one visit at a time, or name the one that is meant: the part "
        f"{modality} of a request, --{modality} of the command",
        subject=modality.value,
    )


def _voxel_ml(modality: Modality, source: Source) -> float:
    """The size of a voxel, by its header; those of equal size keep their own order."""
    return round(outline(source, modality, _ANY_SIZE).grid.voxel_ml, 7)
