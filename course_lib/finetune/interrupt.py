"""Ctrl-C that waits for the end of the step, so that what is saved is whole."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

from course_lib.errors import Stopped

SAME_KEYPRESS = 1.0  # seconds; torchrun passes the terminal's Ctrl-C on once more


class Interrupt:
    """While entered, the first Ctrl-C only sets ``asked``; a later one stops at once.

    A ``KeyboardInterrupt`` may arrive between the optimizer's step and its record;
    a checkpoint written then would skip that record. Outside the main thread, where Python
    delivers no signals, nothing changes.
    """

    def __init__(self) -> None:
        self.asked, self._first = False, 0.0

    def __enter__(self) -> Interrupt:
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked and now - self._first > SAME_KEYPRESS:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self._first = True, now

    def __exit__(self, *exc: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)


def stopped(what: str, step: int, total: int, out: str) -> Stopped:
    """Say that ``what`` was stopped after ``step``, and how to go on from its checkpoint."""
    return Stopped(
        f"{what} was stopped after step {step} of {total}",
        checkpoint=out,
        next_step="add --resume to the same command to go on" if out else "",
    )
