"""`Registry`: the handlers an agent has registered, indexed the way the receive and send sides need them.

Registering is two steps: the decorators check, and hand over a small function that the loop runs when it comes to it
(section 4.6). Only that second step touches the indexes, always on the loop's thread.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from summoner.client._user_code import Handler, name_of
from summoner.protocol.flow import Flow
from summoner.protocol.process import Direction, ParsedRoute, Receiver, Sender, route_matches
from summoner.protocol.validation import hook_priority_order

Priority = tuple[int, ...]

_routes_match = lru_cache(maxsize=1024)(route_matches)


class WatchedFlow(Flow):
    """A flow that tells when it is switched on or off: idle senders have to notice without polling."""

    def __init__(self) -> None:
        super().__init__()
        self.on_switch: Callable[[], None] = lambda: None

    def activate(self) -> Flow:
        """Let routes be parsed and choose the handlers to run. Returns the flow."""
        super().activate()
        self.on_switch()
        return self

    def deactivate(self) -> Flow:
        """Let every receiver run for every message. Returns the flow."""
        super().deactivate()
        self.on_switch()
        return self


@dataclass(frozen=True, eq=False, slots=True)
class RoutedSender:
    """A sender and its route, `None` if that was not parsed. It is reactive if a filter of it is not empty (C12)."""

    sender: Sender
    route: ParsedRoute | None
    reactive: bool

    def answers(self, receiver_route: ParsedRoute, event: Any) -> bool:
        """Whether an event that a receiver on that route returned calls for this sender (section 4.8)."""
        if self.route is None or not self.sender.responds_to(event):
            return False
        return _routes_match(self.route, receiver_route)


class Registry:
    """Everything registered so far. The public attributes are to be read only.

    `receivers` and `parsed_routes` go by the canonical text of a route where the flow was active and could parse it,
    by its text otherwise. `on_change` is called after every registration and when the flow is switched.
    """

    def __init__(self, flow: WatchedFlow, logger: logging.Logger, loop: asyncio.AbstractEventLoop) -> None:
        self.receivers: dict[str, Receiver] = {}
        self.parsed_routes: dict[str, ParsedRoute] = {}
        self.receiver_batches: list[list[Receiver]] = []
        self.untimed_senders: list[RoutedSender] = []
        self.timed_senders: list[RoutedSender] = []
        self.snapshot_senders: list[RoutedSender] = []
        self.receive_hooks: list[Handler] = []
        self.send_hooks: list[Handler] = []
        self.upload_states: Handler | None = None
        self.download_states: Handler | None = None
        self.pending: deque[Callable[[], None]] = deque()
        self.on_change: Callable[[], None] = lambda: None
        self._flow = flow
        self._logger = logger
        self._loop = loop
        self._senders: dict[str, list[RoutedSender]] = {}
        self._hooks: dict[Direction, dict[Priority, Handler]] = {direction: {} for direction in Direction}
        flow.on_switch = self._changed

    def schedule(self, registration: Callable[[], None]) -> None:
        """Let the loop run `registration`, in the order of the calls of this method; from any thread."""
        self.pending.append(registration)
        self._loop.call_soon_threadsafe(self._register_next)

    def _register_next(self) -> None:
        self.pending.popleft()()
        self._changed()

    def _changed(self) -> None:
        self.on_change()

    def add_receiver(self, text: str, receiver: Receiver) -> None:
        """Register a receiver, in place of an earlier one on the same route (C18)."""
        key = self._index_key(text)
        if key in self.receivers:
            self._logger.warning("The receiver on route %r is replaced", key)
        self.receivers[key] = receiver
        batches: dict[Priority, list[Receiver]] = {}
        for each in self.receivers.values():
            batches.setdefault(each.priority, []).append(each)
        self.receiver_batches = [batches[priority] for priority in sorted(batches, key=hook_priority_order)]

    def add_sender(self, text: str, sender: Sender) -> None:
        """Register a sender beside those already on the route."""
        key = self._index_key(text)
        reactive = bool(sender.actions) or bool(sender.triggers)
        routed = RoutedSender(sender, self.parsed_routes.get(key), reactive)
        self._senders.setdefault(key, []).append(routed)
        everyone = [each for same_route in self._senders.values() for each in same_route]
        self.untimed_senders = [each for each in everyone if each.sender.every is None]
        self.timed_senders = [each for each in everyone if each.sender.every is not None]
        self.snapshot_senders = [each for each in everyone if each.sender.data_mode == "snapshot"]

    def add_hook(self, direction: Direction, priority: Priority, hook: Handler) -> None:
        """Register a hook, in place of an earlier one of the same direction and priority (C18)."""
        hooks = self._hooks[direction]
        if priority in hooks:
            self._logger.warning(
                "Hook %s replaces %s: same direction (%s), same priority %s",
                name_of(hook),
                name_of(hooks[priority]),
                direction.name,
                priority,
            )
        hooks[priority] = hook
        in_order = [hooks[each] for each in sorted(hooks, key=hook_priority_order)]
        if direction is Direction.RECEIVE:
            self.receive_hooks = in_order
        else:
            self.send_hooks = in_order

    def set_upload_states(self, handler: Handler) -> None:
        """Register the handler that reports the agent's states."""
        self._warn_if_replaced("upload_states", self.upload_states)
        self.upload_states = handler

    def set_download_states(self, handler: Handler) -> None:
        """Register the handler that is given the activated states."""
        self._warn_if_replaced("download_states", self.download_states)
        self.download_states = handler

    def _warn_if_replaced(self, role: str, earlier: Handler | None) -> None:
        if earlier is not None:
            self._logger.warning("The %s handler %s is replaced", role, name_of(earlier))

    def _index_key(self, text: str) -> str:
        if not self._flow.in_use:
            return text
        try:
            route = self._flow.parse_route(text)
        except ValueError as error:
            self._logger.warning("Route %r cannot be parsed, so the flow never takes it: %s", text, error)
            return text
        self.parsed_routes[str(route)] = route
        return str(route)
