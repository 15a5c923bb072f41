"""What somebody probably meant who misspelt a word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The one of ``words`` that ``word`` is most like; None where none is near."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return near[0] if near else None
