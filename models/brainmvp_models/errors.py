"""Every error a user can cause, as one tree.

::

    BrainMVPError
    ├── InvalidInput            the study itself is at fault
    │   ├── InvalidVolume       a file is no usable volume
    │   ├── VolumeTooLarge      a file claims more voxels than allowed
    │   ├── StudyTooLarge       a study that would need more memory than there is
    │   ├── InvalidArchive      a zip that is damaged, encrypted or not safe
    │   ├── ArchiveTooLarge     a zip that unpacks to more than allowed
    │   ├── GridMismatch        two volumes do not lie on one grid
    │   ├── UnknownModality     a name that is no modality, or one the model does not take
    │   ├── DuplicateModality   one modality given twice
    │   ├── MixedStudy          files of several patients or studies
    │   ├── NothingIdentified   no series of a study can be told to be a needed modality
    │   ├── MissingModality     too few modalities for the model or the fill policy
    │   ├── TemplateMismatch    the fill policy does not fit the study
    │   ├── NoBrain             a series in which no brain can be found
    │   ├── ImplausibleBrain    a brain that is too small, too large or cut off
    │   ├── RegistrationFailed  a series that does not fit the study's other series
    │   ├── NotProved           a profile that the bundle has no proof of
    │   └── UnwritableObject    a DICOM object that cannot be made for the study
    ├── InvalidTask             a task file does not validate
    ├── InvalidPopulation       whom the studies are of is not said as it must be
    ├── InvalidRules            a file of identification rules does not validate
    ├── InvalidDatalist         a list of training or test cases that cannot be used
    ├── TrainingFailed          a training that cannot begin here, or whose loss is not finite
    ├── InvalidBundle           a bundle whose schema or digests do not hold
    ├── UnknownModel            a model name or version that is not served
    ├── InvalidCheckpoint       a file torch refuses, or one that does not fit its task
    ├── ParityFailed            an exported network differs from its checkpoint
    ├── InvalidSettings         a setting that does not exist or does not fit
    ├── EngineUnavailable       a runtime that is not installed, or that refuses the network
    ├── EngineFailed            a runtime that threw, hung or gave nonsense, twice
    ├── UnknownJob              a job that is not, or no longer, there
    ├── DuplicateJob            an idempotency key that was used for something else
    ├── JobsUnavailable         the jobs' database does not answer or is damaged
    ├── StorageFailed           a file that cannot be read or written
    ├── Overloaded              the service has enough to do
    │   ├── TooManyRequests     one client asks for more than its share
    │   │   └── QuotaExceeded   and has used up what it may in a time
    │   └── OutOfMemory         the memory is full
    └── StudyStopped            a study that was not finished, by no fault of its own
        ├── StudyCancelled      whoever asked for it no longer wants it
        ├── StudyTimedOut       it took longer than it may
        └── ServiceClosing      the service ends

Each carries three plain sentences' worth: the *subject* (a modality, a file, a model), the
*problem* and the *remedy*. Messages never hold pixel data; a subject given over HTTP is the name
of the part, never the name of the uploaded file.
"""

from __future__ import annotations

from typing import ClassVar


class BrainMVPError(Exception):
    """An error with a subject, a problem and a remedy, fit to be shown to a user as it is."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, problem: str, *, remedy: str, subject: str = "") -> None:
        super().__init__(problem, remedy, subject)
        self.problem = problem
        self.remedy = remedy
        self.subject = subject

    def __str__(self) -> str:
        start = f"{self.subject}: " if self.subject else ""
        return f"{start}{self.problem}. {self.remedy}."

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.problem, self.remedy, self.subject))


def _rebuild(kind: type[BrainMVPError], problem: str, remedy: str, subject: str) -> BrainMVPError:
    return kind(problem, remedy=remedy, subject=subject)


class InvalidInput(BrainMVPError):
    """The study is at fault."""

    code = "invalid-input"
    title = "The study cannot be used"


class InvalidVolume(InvalidInput):
    """A file that is no usable three-dimensional volume."""

    code = "invalid-volume"
    title = "A file is not a usable volume"


class VolumeTooLarge(InvalidInput):
    """A file whose header claims more voxels than the limit."""

    code = "volume-too-large"
    title = "A volume is too large"


class InvalidArchive(InvalidInput):
    """A zip that is damaged, encrypted, empty, or holds links or paths to elsewhere."""

    code = "invalid-archive"
    title = "The archive cannot be used"


class ArchiveTooLarge(InvalidInput):
    """A zip that holds more than is allowed."""

    code = "archive-too-large"
    title = "The archive is too large"


class StudyTooLarge(InvalidInput):
    """A study that would need more memory than the service may use."""

    code = "study-too-large"
    title = "The study is too large"


class GridMismatch(InvalidInput):
    """Two volumes of one study lie on different grids."""

    code = "grid-mismatch"
    title = "The volumes do not share one grid"


class UnknownModality(InvalidInput):
    """A name that is no modality, or a modality that the model has no channel for."""

    code = "unknown-modality"
    title = "Unknown modality"


class DuplicateModality(InvalidInput):
    """The same modality was given more than once."""

    code = "duplicate-modality"
    title = "A modality was given twice"


class MixedStudy(InvalidInput):
    """The files belong to more than one patient or study."""

    code = "mixed-study"
    title = "The files belong to more than one study"


class NothingIdentified(InvalidInput):
    """No series is known to be a modality of the model, or one that is needed is damaged."""

    code = "nothing-identified"
    title = "The study's series cannot be used"


class MissingModality(InvalidInput):
    """Fewer modalities than the model requires, or than the fill policy can make up for."""

    code = "missing-modality"
    title = "A needed modality is missing"


class TemplateMismatch(InvalidInput):
    """The fill policy asks for something the study's grid or the bundle cannot give."""

    code = "template-mismatch"
    title = "The missing modalities cannot be filled this way"


class NoBrain(InvalidInput):
    """A series that shows no brain, or no series to look for one in."""

    code = "no-brain"
    title = "No brain was found"


class ImplausibleBrain(InvalidInput):
    """A brain whose volume is no human's, or of which a large part lies outside the images."""

    code = "implausible-brain"
    title = "The brain that was found cannot be right"


class RegistrationFailed(InvalidInput):
    """A series that shows another head, or too little of this one, or was not brought onto it."""

    code = "registration-failed"
    title = "A series does not fit the others"


class UnwritableObject(InvalidInput):
    """A DICOM object that cannot be made: the source lacks a UID, or has one that is not valid."""

    code = "unwritable-object"
    title = "A DICOM object cannot be written"


class NotProved(InvalidInput):
    """A profile was asked for that the bundle has no proof of."""

    code = "not-proved"
    title = "The bundle may not be run this way"


class InvalidTask(BrainMVPError):
    """A task file that does not exist, does not parse or does not validate."""

    code = "invalid-task"
    title = "The task file is not valid"


class InvalidPopulation(BrainMVPError):
    """A description of whom a list's studies are of that does not parse or validate."""

    code = "invalid-population"
    title = "What the studies are is not said as it must be"


class InvalidDatalist(BrainMVPError):
    """A datalist or BIDS folder that does not parse, or whose cases do not hold."""

    code = "invalid-datalist"
    title = "The list of cases cannot be used"


class InvalidRules(BrainMVPError):
    """A file of identification rules that does not exist, does not parse or does not validate."""

    code = "invalid-rules"
    title = "The identification rules are not valid"


class TrainingFailed(BrainMVPError):
    """A training that cannot begin on this machine, or cannot go on."""

    code = "training-failed"
    title = "The training cannot go on"


class InvalidBundle(BrainMVPError):
    """A bundle whose manifest, files or digests do not hold."""

    code = "invalid-bundle"
    title = "The bundle is not valid"


class UnknownModel(BrainMVPError):
    """A model name or version that is not served."""

    code = "unknown-model"
    title = "No such model"


class InvalidCheckpoint(BrainMVPError):
    """A checkpoint that cannot be read safely or does not fit its task."""

    code = "invalid-checkpoint"
    title = "The checkpoint cannot be used"


class ParityFailed(BrainMVPError):
    """The exported network does not reproduce its checkpoint."""

    code = "parity-failed"
    title = "The export does not reproduce the checkpoint"


class InvalidSettings(BrainMVPError):
    """A setting that does not exist, or whose value does not fit."""

    code = "invalid-settings"
    title = "The settings are not valid"


class EngineUnavailable(BrainMVPError):
    """A runtime that is not installed, has no device, or refuses the network."""

    code = "engine-unavailable"
    title = "The engine is not available"


class EngineFailed(BrainMVPError):
    """A runtime that threw, hung or gave values that are not finite, also at the second try."""

    code = "engine-failed"
    title = "The engine failed"


class UnknownJob(BrainMVPError):
    """A job that is not there, no longer there, or somebody else's."""

    code = "unknown-job"
    title = "No such job"


class DuplicateJob(BrainMVPError):
    """An idempotency key that was used for something else."""

    code = "duplicate-job"
    title = "The key belongs to another job"


class JobsUnavailable(BrainMVPError):
    """The jobs' database does not answer, or is damaged."""

    code = "jobs-unavailable"
    title = "Jobs are not available"


class StorageFailed(BrainMVPError):
    """A file that cannot be read or written."""

    code = "storage-failed"
    title = "The storage failed"


class Overloaded(BrainMVPError):
    """The service has enough to do; ``retry_after_s`` is when to ask again."""

    code = "overloaded"
    title = "The service is busy"
    retry_after_s: int = 10


class TooManyRequests(Overloaded):
    """One client has more requests under way than its share."""

    code = "too-many-requests"
    title = "Too many requests at once"


class QuotaExceeded(TooManyRequests):
    """A caller has used up what it may ask for in a time: studies an hour, or bytes a day.

    Args:
        retry_after_s: seconds until there is room for the same request.
    """

    code = "quota-exceeded"
    title = "The quota is used up"

    def __init__(
        self, problem: str, *, remedy: str, subject: str = "", retry_after_s: int = 3600
    ) -> None:
        super().__init__(problem, remedy=remedy, subject=subject)
        self.retry_after_s = retry_after_s


class OutOfMemory(Overloaded):
    """The memory is full; what of the study could not be done is not the study's fault."""

    code = "out-of-memory"
    title = "The service is out of memory"

    @classmethod
    def for_study(cls) -> OutOfMemory:
        """What is told of a study that found the memory full, whatever was estimated."""
        return cls(
            "there was no memory left for the study",
            remedy="Send it again when the service is less busy; tell the operator",
        )


class StudyStopped(BrainMVPError):
    """A study that was not finished, by no fault of its own."""

    code = "study-stopped"
    title = "The study was not finished"


class StudyCancelled(StudyStopped):
    """Whoever asked for the study no longer wants it."""

    code = "study-cancelled"
    title = "The study was cancelled"


class StudyTimedOut(StudyStopped):
    """The study took longer than it may."""

    code = "study-timed-out"
    title = "The study took too long"


class ServiceClosing(StudyStopped):
    """The service ends before the study does."""

    code = "service-closing"
    title = "The service is closing"
