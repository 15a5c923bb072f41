"""Prometheus metrics of one service. Every label is a word of ours: no metric can hold a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from brainmvp_models import __version__
from brainmvp_models.errors import BrainMVPError

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0)
_MILLIMETRES = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)
_SIMILARITIES = (1.02, 1.04, 1.06, 1.08, 1.1, 1.15, 1.2, 1.3, 1.5)
_BRAIN_ML = (500.0, 800.0, 1000.0, 1200.0, 1400.0, 1600.0, 1800.0, 2000.0, 2300.0)
_DICE = (0.5, 0.8, 0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 1.0)
_DEGREES = (2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 90.0)
_PARTS = (0.125, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Family:
    """One metric: what the service, the docs and the dashboard call it.

    Attributes:
        kind: a counter's samples are called ``NAME_total``.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        """The names that queries use."""
        if self.kind == "counter":
            return (f"{self.name}_total",)
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


REQUESTS = Family(
    "brainmvp_requests", "counter", "Requests answered.", ("call", "method", "status")
)
REQUEST_SECONDS = Family(
    "brainmvp_request_seconds", "histogram", "Seconds of a request.", ("call",), _SECONDS
)
IN_FLIGHT = Family("brainmvp_requests_in_flight", "gauge", "Requests under way.")
PROBLEMS = Family(
    "brainmvp_problems",
    "counter",
    "Requests that ended with a problem, by its code; refused admissions are among them.",
    ("code",),
)
STUDIES = Family("brainmvp_studies", "counter", "Studies done.", ("model",))
STUDIES_IN = Family(
    "brainmvp_studies_by_precision",
    "counter",
    "Studies done, by what their network was computed in.",
    ("model", "precision"),
)
STUDIES_OF = Family(
    "brainmvp_studies_by_profile",
    "counter",
    "Studies done, by how they were cut into windows.",
    ("model", "profile"),
)
STAGE_SECONDS = Family(
    "brainmvp_stage_seconds",
    "histogram",
    "Seconds of a study's stage.",
    ("model", "stage"),
    _SECONDS,
)
STUDIES_OUTSIDE = Family(
    "brainmvp_studies_outside",
    "counter",
    "Warnings that a study is unlike those that the model was trained on, by what is unlike.",
    ("model", "kind"),
)
PREPARATIONS = Family(
    "brainmvp_preparations",
    "counter",
    "Studies by what became of their preparation: prepared, not-needed, not-asked (prepare=none, "
    "resample) or refused, with the problem's code as the reason.",
    ("outcome", "reason"),
)
PREPARATION_WARNINGS = Family(
    "brainmvp_preparation_warnings",
    "counter",
    "Warnings about a study's series or their preparation, by kind.",
    ("kind",),
)
MOVED_MM = Family(
    "brainmvp_preparation_moved_mm",
    "histogram",
    "Millimetres that a series of a raw study was brought.",
    ("modality",),
    _MILLIMETRES,
)
SIMILARITY = Family(
    "brainmvp_preparation_similarity",
    "histogram",
    "Normalised mutual information with the reference, where a series was brought; 1 is none.",
    ("modality",),
    _SIMILARITIES,
)
BRAIN_ML = Family(
    "brainmvp_preparation_brain_ml", "histogram", "Millilitres of a brain.", (), _BRAIN_ML
)
BRAIN_AGREEMENT = Family(
    "brainmvp_preparation_brain_agreement",
    "histogram",
    "Dice of the brains that were found in two series.",
    (),
    _DICE,
)
TURNED_DEGREES = Family(
    "brainmvp_preparation_turned_degrees",
    "histogram",
    "Degrees that a head was turned to lie as the atlas does.",
    (),
    _DEGREES,
)
ATLAS_COVERED = Family(
    "brainmvp_preparation_atlas_covered",
    "histogram",
    "Share of the atlas's brain that every series of a study shows.",
    (),
    _DICE,
)
WINDOWS = Family("brainmvp_windows", "counter", "Windows that the engine has done.", ("model",))
BATCH_FILL = Family(
    "brainmvp_batch_fill",
    "histogram",
    "How full a batch was, of the most windows it may hold.",
    ("model",),
    _PARTS,
)
BATCH_SECONDS = Family(
    "brainmvp_batch_seconds", "histogram", "Seconds of a batch.", ("model",), _SECONDS
)
ENGINES_REPLACED = Family(
    "brainmvp_engines_replaced", "counter", "Engines that failed and were replaced.", ("model",)
)
ENGINES_HUNG = Family(
    "brainmvp_engines_hung", "gauge", "Engines that were left behind and do not come back."
)
WAITING = Family("brainmvp_windows_waiting", "gauge", "Windows that wait for the engine.")
ADMITTED = Family("brainmvp_admitted", "gauge", "Predictions under way or waiting.")
STUDY_BYTES = Family(
    "brainmvp_study_memory_bytes", "gauge", "Memory that the studies at work are counted as."
)
STUDY_BUDGET = Family(
    "brainmvp_study_memory_budget_bytes", "gauge", "Memory that studies may take together."
)
NETWORK_BYTES = Family(
    "brainmvp_network_memory_bytes", "gauge", "Memory that the loaded networks are counted as."
)
NETWORK_LOADS = Family("brainmvp_network_loads", "counter", "Networks loaded.")
NETWORK_UNLOADS = Family("brainmvp_network_unloads", "counter", "Networks unloaded.")
MODELS = Family("brainmvp_models", "gauge", "Models that are served.")
MODELS_REFUSED = Family("brainmvp_models_refused", "gauge", "Bundles that are refused.")
READY = Family("brainmvp_ready", "gauge", "1 while the service takes studies.")
JOB_STATES = ("waiting", "running")
JOBS = Family(
    "brainmvp_jobs",
    "gauge",
    f"Jobs of all owners that are not over: {', '.join(JOB_STATES)}.",
    ("state",),
)
JOBS_OLDEST = Family(
    "brainmvp_jobs_oldest_seconds",
    "gauge",
    "How long the job has waited that waits longest; 0 where none waits.",
)
JOBS_GIVEN_BACK = Family(
    "brainmvp_jobs_given_back",
    "counter",
    "Jobs of workers that were gone for good, put into the queue again by this process.",
)
QUOTA_REFUSED = Family(
    "brainmvp_quota_refused",
    "counter",
    "Requests refused because their caller's quota is used up: studies, bytes.",
    ("quota",),
)
QUOTA_UNCOUNTED = Family(
    "brainmvp_quota_uncounted",
    "counter",
    "Times that a quota was not counted because the jobs' database was away.",
)
BUILD = Family("brainmvp_build_info", "gauge", "The version that runs; always 1.", ("version",))

FAMILIES = (
    REQUESTS, REQUEST_SECONDS, IN_FLIGHT, PROBLEMS, STUDIES, STUDIES_IN, STUDIES_OF, STAGE_SECONDS,
    WINDOWS, BATCH_FILL, BATCH_SECONDS, ENGINES_REPLACED, ENGINES_HUNG, WAITING, ADMITTED,
    STUDY_BYTES, STUDY_BUDGET, NETWORK_BYTES, NETWORK_LOADS, NETWORK_UNLOADS, MODELS,
    MODELS_REFUSED, READY, JOBS, JOBS_OLDEST, JOBS_GIVEN_BACK, BUILD, PREPARATIONS,
    PREPARATION_WARNINGS, MOVED_MM, SIMILARITY, BRAIN_ML, BRAIN_AGREEMENT, TURNED_DEGREES,
    ATLAS_COVERED, QUOTA_REFUSED, QUOTA_UNCOUNTED, STUDIES_OUTSIDE,
)  # fmt: skip
"""Every metric of ours; those of the process come from the Prometheus client."""

Reading = Callable[[], float | Mapping[str, float]]
"""A number as it is now, or one for each value of the only label."""


class Metrics:
    """The metrics of one service; told what happens, and read by :meth:`text`."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = _counter(REQUESTS, registry)
        self._seconds = _histogram(REQUEST_SECONDS, registry)
        self._in_flight = Gauge(IN_FLIGHT.name, IN_FLIGHT.help, registry=registry)
        self._problems = _counter(PROBLEMS, registry)
        self._studies = _counter(STUDIES, registry)
        self._studies_in = _counter(STUDIES_IN, registry)
        self._studies_of = _counter(STUDIES_OF, registry)
        self._outside = _counter(STUDIES_OUTSIDE, registry)
        self._stages = _histogram(STAGE_SECONDS, registry)
        self._windows = _counter(WINDOWS, registry)
        self._fill = _histogram(BATCH_FILL, registry)
        self._batches = _histogram(BATCH_SECONDS, registry)
        self._replaced = _counter(ENGINES_REPLACED, registry)
        self._preparations = _counter(PREPARATIONS, registry)
        self._warnings = _counter(PREPARATION_WARNINGS, registry)
        self._moved = _histogram(MOVED_MM, registry)
        self._similarity = _histogram(SIMILARITY, registry)
        self._brain_ml = _histogram(BRAIN_ML, registry)
        self._agreement = _histogram(BRAIN_AGREEMENT, registry)
        self._turned = _histogram(TURNED_DEGREES, registry)
        self._quota_refused = _counter(QUOTA_REFUSED, registry)
        self._quota_uncounted = _counter(QUOTA_UNCOUNTED, registry)
        self._covered = _histogram(ATLAS_COVERED, registry)
        build = Gauge(BUILD.name, BUILD.help, BUILD.labels, registry=registry)
        build.labels(__version__).set(1)

    def read_from(self, readings: Mapping[Family, Reading]) -> None:
        """Take these numbers whenever the metrics are read."""
        self.registry.register(_Readings(readings))

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def request_began(self) -> None:
        """A request has come."""
        self._in_flight.inc()

    def request_done(
        self, call: str, method: str, status: int, problem: str | None, seconds: float
    ) -> None:
        """A request was answered, or its client has left."""
        self._in_flight.dec()
        self._requests.labels(call, method, str(status)).inc()
        self._seconds.labels(call).observe(seconds)
        if problem is not None:
            self._problems.labels(problem).inc()

    def quota_refused(self, quota: str) -> None:
        """A request was refused because its caller's quota of that name is used up."""
        self._quota_refused.labels(quota).inc()

    def quota_not_counted(self) -> None:
        """The database that counts quotas did not answer."""
        self._quota_uncounted.inc()

    def batch_done(self, model: str, windows: int, capacity: int, seconds: float) -> None:
        """A batch came back from the engine."""
        self._windows.labels(model).inc(windows)
        self._fill.labels(model).observe(windows / capacity)
        self._batches.labels(model).observe(seconds)

    def engine_replaced(self, model: str) -> None:
        """An engine failed, and a fresh one took its place."""
        self._replaced.labels(model).inc()

    def study_done(
        self, model: str, seconds: Mapping[str, float], precision: str, profile: str
    ) -> None:
        """A study was brought through all stages: its network in ``precision``, by ``profile``."""
        self._studies.labels(model).inc()
        self._studies_in.labels(model, precision).inc()
        self._studies_of.labels(model, profile).inc()
        for stage, spent in seconds.items():
            self._stages.labels(model, stage).observe(spent)

    def study_outside(self, model: str, kind: str) -> None:
        """A study is unlike those that the model was trained on, in this way."""
        self._outside.labels(model, kind).inc()

    def preparation_ended(self, outcome: str, reason: str) -> None:
        """A study was prepared, taken as it is, or refused with a problem of that code."""
        self._preparations.labels(outcome, reason).inc()

    def preparation_warned(self, kind: str) -> None:
        """The reader of a result is warned of a study's series."""
        self._warnings.labels(kind).inc()

    def series_moved(self, modality: str, mm: float, similarity: float) -> None:
        """A series was brought so far, and fits the reference so well."""
        self._moved.labels(modality).observe(mm)
        self._similarity.labels(modality).observe(similarity)

    def brain_measured(self, ml: float, agreement: float | None) -> None:
        """A brain has so many mL, and two series agree on it so well."""
        self._brain_ml.observe(ml)
        if agreement is not None:
            self._agreement.observe(agreement)

    def head_turned(self, degrees: float) -> None:
        """A head was turned so far, to lie as the atlas does."""
        self._turned.observe(degrees)

    def atlas_covered(self, share: float) -> None:
        """Every series shows so much of the atlas's brain, 0 to 1."""
        self._covered.observe(share)


class _Readings(Collector):
    """Numbers that somebody else keeps."""

    def __init__(self, readings: Mapping[Family, Reading]) -> None:
        self._readings = readings

    def describe(self) -> Iterable[Metric]:
        """The families, without reading them."""
        return [_family(family) for family in self._readings]

    def collect(self) -> Iterator[Metric]:
        """The numbers as they are now."""
        for family, read in self._readings.items():
            try:
                value = read()
            except BrainMVPError:  # the others are there while a database is away
                continue
            metric = _family(family)
            pairs = value.items() if isinstance(value, Mapping) else [("", value)]
            for label, number in pairs:
                metric.add_metric([label] if family.labels else [], number)
            yield metric


def _family(family: Family) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    return kind(family.name, family.help, labels=family.labels)


def _counter(family: Family, registry: CollectorRegistry) -> Counter:
    return Counter(family.name, family.help, family.labels, registry=registry)


def _histogram(family: Family, registry: CollectorRegistry) -> Histogram:
    return Histogram(
        family.name, family.help, family.labels, registry=registry, buckets=family.buckets
    )
