"""The conformance statement of ``docs/dicom.md``, held against what we offer and ask for."""

from __future__ import annotations

import re
from pathlib import Path

from pydicom.uid import UID

from brainmvp_clients.pacs.association_gate import (
    MAX_ASSOCIATIONS_PER_ADDRESS,
    MAX_PENDING_CONNECTIONS,
    MAX_REQUEST_BYTES,
    REQUEST_TIMEOUT_S,
)
from brainmvp_clients.pacs.dimse import FIND, GET, MOVE
from brainmvp_clients.pacs.storage_scp import IMAGES, SYNTAXES, storage_entity

PAGE = Path(__file__).parents[3] / "docs" / "dicom.md"
STATEMENT = PAGE.read_text().partition("## Conformance")[2]


def test_every_class_that_is_asked_for_or_taken_is_stated() -> None:
    taken = {context.abstract_syntax for context in storage_entity("X").supported_contexts}
    for uid in {FIND, GET, MOVE, *IMAGES, *taken}:
        assert f"| {uid} |" in STATEMENT, UID(uid).name


def test_every_transfer_syntax_that_is_taken_is_stated() -> None:
    words = re.sub(r"[\s,;]+", " ", STATEMENT)
    names = {
        "1.2.840.10008.1.2": "Implicit VR Little Endian",
        "1.2.840.10008.1.2.1": "Explicit and Implicit VR",
        "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
        "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
        "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
        "1.2.840.10008.1.2.4.81": "near-lossless",
        "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
        "1.2.840.10008.1.2.4.91": "and lossy",
        "1.2.840.10008.1.2.5": "RLE",
    }
    for uid in (syntax for group in SYNTAXES for syntax in group):
        assert names[uid] in words


def test_the_limits_that_are_stated_are_the_entitys() -> None:
    entity = storage_entity("X")
    limits = (
        entity.maximum_pdu_size, entity.maximum_associations, MAX_ASSOCIATIONS_PER_ADDRESS,
        entity.network_timeout,
        REQUEST_TIMEOUT_S, MAX_REQUEST_BYTES >> 10, MAX_PENDING_CONNECTIONS,
    )  # fmt: skip
    stated = re.findall(
        r"PDU ([\d,]+) bytes; up to (\d+) assoc.*? (\d+) of one address.*?after (\d+) s"
        r".*?has (\d+) s to ask.*?most (\d+) KiB; (\d+) connections",
        re.sub(r"\s+", " ", STATEMENT),
    )
    assert [tuple(int(text.replace(",", "")) for text in found) for found in stated] == [limits]
