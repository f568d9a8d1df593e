"""`Intent`: what the user asked the client to do next, and the event that ends every wait when it is asked."""

import asyncio
from typing import Any

from summoner.protocol.process import ClientIntent

_RANK = {ClientIntent.TRAVEL: 0, ClientIntent.ABORT: 1, ClientIntent.QUIT: 2}


class Intent:
    """At most one wish is pending; quitting outranks everything else, and nothing but `clear` takes a wish back.

    It outlives sessions, so that what is asked while none is up is honoured by the next one (C5). `event` is set
    while a wish is pending and serves as the stop event of the session. `asked_by` is the task that asked.
    """

    def __init__(self) -> None:
        self.pending: ClientIntent | None = None
        self.asked_by: asyncio.Task[Any] | None = None
        self.event = asyncio.Event()

    def request(self, wish: ClientIntent) -> None:
        """Ask for the session to end, and for what to do then."""
        if self.pending is None or _RANK[wish] > _RANK[self.pending]:
            self.pending = wish
            self.asked_by = asyncio.current_task()
        self.event.set()

    def clear(self) -> None:
        """Forget the wish: it has been granted."""
        self.pending = self.asked_by = None
        self.event.clear()
