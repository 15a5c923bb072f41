"""Whether a study may go on: its client may leave, its time may run out, the service may close."""

from __future__ import annotations

import time

from brainmvp_models.errors import BrainMVPError, StudyTimedOut


class CancelToken:
    """Whether a study is cancelled: asked before each stage and window, requested from any thread.

    Args:
        seconds: how long the study may take from now; None for as long as it likes. The clock is
            monotonic: setting the machine's clock changes nothing.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._reason: BrainMVPError | None = None

    def request(self, reason: BrainMVPError) -> None:
        """Let the study end with ``reason``; the first one counts."""
        if self._reason is None:
            self._reason = reason

    @property
    def reason(self) -> BrainMVPError | None:
        """Why the study must not go on; None if it may."""
        if (
            self._reason is None
            and self._deadline is not None
            and time.monotonic() > self._deadline
        ):
            self._reason = StudyTimedOut(
                f"the study took longer than the {self._seconds:g} s it may take",
                remedy="Send it again when the service is less busy, or ask for a higher limit",
            )
        return self._reason

    def check(self) -> None:
        """Return if the study may go on.

        Raises:
            BrainMVPError: the reason why it may not.
        """
        if self.reason is not None:
            raise self.reason
