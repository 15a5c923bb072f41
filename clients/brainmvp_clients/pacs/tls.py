"""TLS for HTTP and DIMSE: whom to trust, and what to show."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from brainmvp_clients.errors import LocalFileError


@dataclass(frozen=True)
class Tls:
    """PEM files: authorities to trust instead of the system's, and our certificate with its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def client(self) -> ssl.SSLContext:
        """For connections that we open; the peer's name and certificate are always checked.

        Raises:
            LocalFileError: a file is none of its kind.
        """
        context = self._loaded(ssl.Purpose.SERVER_AUTH)
        if self.cert is not None:
            self._show(context, self.cert)
        return context

    def server(self) -> ssl.SSLContext:
        """For connections that we accept; with ``ca``, only from peers with its certificates.

        Raises:
            LocalFileError: a file is none of its kind, or our certificate is not given.
        """
        if self.cert is None:
            raise LocalFileError(
                "TLS needs a certificate to show", remedy="Give it with --cert and --key"
            )
        context = self._loaded(ssl.Purpose.CLIENT_AUTH)
        self._show(context, self.cert)
        if self.ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _loaded(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(purpose, cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise _unusable(self.ca, error) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def _show(self, context: ssl.SSLContext, cert: Path) -> None:
        try:
            context.load_cert_chain(cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise _unusable(cert, error) from None


def _unusable(path: Path | None, error: Exception) -> LocalFileError:
    return LocalFileError(
        f"cannot be used for TLS ({type(error).__name__})",
        remedy="Give PEM files: certificates, and the key that belongs to them",
        subject=str(path),
    )
