"""Keeps libraries from quoting what they read, in logs and warnings."""

from __future__ import annotations

import logging

from pydicom import config

_QUOTING = ("dicomweb_client", "pydicom", "pynetdicom", "urllib3", "httpx", "httpcore")


def silence_libraries() -> None:
    """Silence every library that would write UIDs, names or addresses of studies.

    Values that break a rule of DICOM are passed on as they are: an archive is full of them, and
    pydicom's warnings quote them.
    """
    for name in _QUOTING:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    config.settings.reading_validation_mode = config.IGNORE
    config.settings.writing_validation_mode = config.IGNORE
