"""What a command says when it cannot write where it was told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainmvp_models.errors import StorageFailed


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A block that writes to a folder.

    Raises:
        StorageFailed: it cannot.
    """
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"cannot be written: {error.strerror or type(error).__name__}",
            remedy="Name a folder that can be written and has room",
            subject=str(folder),
        ) from None
