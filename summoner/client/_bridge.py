"""`Bridge`: the bounded queue of events between the receive side and the senders of one session (section 4.9).

Also what concerns an event's data on that way: the snapshot taken at the entrance, the object handed out behind it
(section 4.11).
"""

import asyncio
import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from summoner.client._logging import LimitedLog
from summoner.client._registry import Priority, Registry
from summoner.client._user_code import name_of
from summoner.protocol.process import ParsedRoute, Sender
from summoner.protocol.validation import hook_priority_order

SKIP = object()  # in place of data: there is to be no call

_NO_SNAPSHOT = object()


@dataclass(frozen=True, eq=False, slots=True)
class BridgeEntry:
    """What a receiver returned, and where it stands."""

    priority: Priority
    route: ParsedRoute
    event: Any
    snapshot: Any

    def data_for(self, sender: Sender, log: LimitedLog) -> Any:
        """The data to call `sender` with, or `SKIP` if it cannot be copied or `when_data` does not want it."""
        data = getattr(self.event, "data", None)
        if sender.data_mode == "snapshot":
            data = _copied(data if self.snapshot is _NO_SNAPSHOT else self.snapshot)
        if data is SKIP:
            log.report(f"Sender {name_of(sender.fn)} is not called: its event's data cannot be copied")
        elif sender.when_data is not None and not _is_wanted(sender, data, log):
            return SKIP
        return data


class Bridge:
    """Entries on their way to the senders, in order, at most `maxsize` of them. Made for one producer.

    `on_entry` is told of every entry the moment it is put.
    """

    def __init__(self, maxsize: int, registry: Registry, on_entry: Callable[[BridgeEntry], None]) -> None:
        self._maxsize = maxsize
        self._registry = registry
        self._on_entry = on_entry
        self._entries: list[BridgeEntry] = []
        self._has_room = asyncio.Event()
        self._closed = False

    async def put(self, priority: Priority, route: ParsedRoute, event: Any) -> None:
        """Add an event; waits while the bridge is full, and drops the event if it is closed."""
        while len(self._entries) >= self._maxsize and not self._closed:
            self._has_room.clear()
            await self._has_room.wait()
        if not self._closed:
            entry = BridgeEntry(priority, route, event, self._snapshot(route, event))
            self._entries.append(entry)
            self._on_entry(entry)

    def take_all(self) -> list[BridgeEntry]:
        """Empty the bridge. The entries come by priority, those of one priority in the order of their arrival."""
        entries, self._entries = self._entries, []
        self._has_room.set()
        if len(entries) > 1:
            entries.sort(key=lambda entry: hook_priority_order(entry.priority))
        return entries

    def close(self) -> None:
        """Take no more events, because nobody will answer them (C9). Ends a wait in `put`."""
        self._closed = True
        self._has_room.set()

    def _snapshot(self, route: ParsedRoute, event: Any) -> Any:
        for each in self._registry.snapshot_senders:
            if each.answers(route, event):
                return _copied(getattr(event, "data", None))
        return _NO_SNAPSHOT


def _copied(data: Any) -> Any:
    if data is SKIP:
        return SKIP
    try:
        return copy.deepcopy(data)
    except Exception:  # noqa: BLE001 - objects of the agent may refuse in any way; the caller reports it
        return SKIP


def _is_wanted(sender: Sender, data: Any, log: LimitedLog) -> bool:
    try:
        verdict = sender.when_data(data)  # type: ignore[misc]  # the caller has seen that there is one
        if not inspect.isawaitable(verdict):
            return bool(verdict)
    except Exception:  # noqa: BLE001 - the agent's filter may raise anything, and costs this call only
        log.report(f"when_data of sender {name_of(sender.fn)} failed", with_traceback=True)
        return False
    if inspect.iscoroutine(verdict):
        verdict.close()
    log.report(f"when_data of sender {name_of(sender.fn)} must not be asynchronous")
    return False
