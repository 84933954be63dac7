"""Ctrl-C and SIGTERM as a question that the loop asks between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from .. import progress


class Request:
    """Whether the user wants the run to stop."""

    def __init__(self) -> None:
        self.stop = False


@contextmanager
def watched() -> Iterator[Request]:
    """Note the first SIGINT or SIGTERM instead of obeying it; a second one is obeyed at once.

    Outside the main thread signals cannot be caught, and the request stays unset.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        request.stop = True
        restore()
        progress.say("stopping after this step; once more to stop at once")

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
