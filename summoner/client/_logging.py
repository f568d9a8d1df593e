"""`LimitedLog`: what a peer or a fast loop may write into the log, bounded and made printable."""

import asyncio
import logging
import traceback
from dataclasses import dataclass

from summoner.logger import printable

_RECORDS_PER_WINDOW = 5
_WINDOW_SECONDS = 10.0


@dataclass(slots=True)
class _Window:
    start: float
    records: int = 0
    suppressed: int = 0


class LimitedLog:
    """Logs the first few records of a kind in each stretch of ten seconds, and counts the rest.

    Kinds come from the program and its handlers, never from a peer. Details and tracebacks, which may carry a
    peer's text, are escaped.
    """

    def __init__(self, logger: logging.Logger, loop: asyncio.AbstractEventLoop) -> None:
        self.logger = logger
        self._loop = loop
        self._windows: dict[str, _Window] = {}

    def report(
        self, kind: str, detail: object = "", *, level: int = logging.WARNING, with_traceback: bool = False
    ) -> None:
        """Log what happened, and the traceback of the exception being handled if that is wanted."""
        now = self._loop.time()
        window = self._windows.get(kind)
        if window is None or now >= window.start + _WINDOW_SECONDS:
            suppressed = window.suppressed if window else 0
            self._windows[kind] = window = _Window(now)
            if suppressed:
                self.logger.log(level, "%d more like the following were not logged", suppressed)
        if window.records >= _RECORDS_PER_WINDOW:
            window.suppressed += 1
            return
        window.records += 1
        text = f"{kind}: {printable(str(detail))}" if detail else kind
        if with_traceback:
            text += "\n" + "\n".join(map(printable, traceback.format_exc().rstrip().split("\n")))
        self.logger.log(level, "%s", text)
