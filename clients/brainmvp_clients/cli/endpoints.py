"""From options to a run's source and sinks; what needs the ``pacs`` extra is imported late."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from brainmvp_clients.cli.batch_options import (
    ConnectionOptions,
    DestinationOptions,
    DicomStudyOptions,
    PredictionOptions,
    needs_pacs,
)
from brainmvp_clients.cli.problems import MissingExtra
from brainmvp_clients.cli.source_options import SourceOptions
from brainmvp_clients.score.batch import OpenBucket
from brainmvp_clients.score.protocols import Sink, Source
from brainmvp_clients.score.served_model import ResultSettings


@dataclass(frozen=True)
class Endpoints:
    """Where studies come from and results go; the label of the pseudonyms' key, if there is one."""

    source: Source
    sinks: tuple[Sink, ...]
    pseudonyms: str = ""
    bucket: str | None = None

    def settings(self, prediction: PredictionOptions, dicom: DicomStudyOptions) -> ResultSettings:
        """What tells this run's results from those of another run."""
        return ResultSettings(
            prediction.fill,
            prediction.probabilities,
            self.pseudonyms,
            tuple(sorted([*(sink.label for sink in self.sinks), *self._bucket_labels()])),
            dicom.asked,
            prediction.resample,
            prediction.form,
            prediction.prepare if prediction.prepare != "auto" else None,
            prediction.space,
            not_determinable=prediction.not_determinable,
            profile=prediction.profile,
        )

    def open_bucket(self) -> OpenBucket | None:
        """What opens the bucket for results, if there is to be one.

        Raises:
            MissingExtra: fsspec is not installed.
        """
        if self.bucket is None:
            return None
        try:
            from brainmvp_clients.score.bucket_sink import BucketSink
        except ModuleNotFoundError as error:
            raise MissingExtra("--bucket", "s3", f"there is no {error.name}") from None
        return partial(BucketSink, self.bucket)

    def _bucket_labels(self) -> tuple[str, ...]:
        return () if self.bucket is None else (f"bucket {self.bucket.rstrip('/')}",)


def open_endpoints(
    studies: SourceOptions,
    destinations: DestinationOptions,
    connection: ConnectionOptions,
    stack: ExitStack,
) -> Endpoints:
    """Source and sinks; ``stack`` closes them.

    Raises:
        ClientError: one of them is written wrongly, or cannot be used.
    """
    source = studies.on_disk()
    if source is None:
        with needs_pacs("brainmvp score with a PACS"):
            from brainmvp_clients.pacs.access import open_source
            from brainmvp_clients.pacs.library_logging import silence_libraries

        silence_libraries()
        source = open_source(
            connection.pacs(), studies.query(), dicomweb=studies.dicomweb, dimse=studies.dimse,
            retrieve=studies.retrieve, port=studies.scp_port, image_mb=connection.image_mb,
        )  # fmt: skip
    stack.callback(source.close)
    return endpoints_of(source, destinations, connection, stack)


def endpoints_of(
    source: Source,
    destinations: DestinationOptions,
    connection: ConnectionOptions,
    stack: ExitStack,
) -> Endpoints:
    """The source, pseudonymized if asked for, and the sinks; ``stack`` closes them.

    Raises:
        ClientError: a sink is written wrongly, or the pseudonyms have no key.
    """
    sinks: tuple[Sink, ...] = ()
    dicomweb, dimse = destinations.send_dicomweb or [], destinations.send_dimse or []
    if dicomweb or dimse:
        with needs_pacs("sending results to a PACS"):
            from brainmvp_clients.pacs.access import open_sinks

        sinks = open_sinks(connection.pacs(), dicomweb=dicomweb, dimse=dimse)
    for sink in sinks:
        stack.callback(sink.close)
    endpoints = Endpoints(source, sinks, bucket=destinations.bucket)
    if not destinations.deidentify:
        return endpoints
    with needs_pacs("--deidentify"):
        return _pseudonymized(endpoints, connection)


def _pseudonymized(endpoints: Endpoints, connection: ConnectionOptions) -> Endpoints:
    from brainmvp_clients.pacs.deidentify import Pseudonymizer
    from brainmvp_clients.pacs.pseudonyms import Pseudonyms

    pseudonyms = Pseudonyms.of(connection.secrets().pseudonym_key)
    pseudonymizer = Pseudonymizer(pseudonyms)
    return Endpoints(
        pseudonymizer.source(endpoints.source),
        tuple(map(pseudonymizer.sink, endpoints.sinks)),
        pseudonyms.label,
        endpoints.bucket,
    )
