"""The Summoner side: hooks, states, the eight routes and the two senders, each a few lines around the driver.

Only documented names of the SDK are used, so the agent runs on the official one unchanged. What a message means is
decided by the table in `handfast.conversation`; nothing here does.
"""

import time
from typing import Any, Optional

from handfast.congestion import RegisterPace
from handfast.conversation.model import Role, State, Verdict, role_of
from handfast.driver import Driver
from handfast.errors import PeerError, Reason, StorageError
from handfast.wire.messages import parse_message
from handfast.wire.text import printable
from reporting import Reporter
from summoner.client import SummonerClient
from summoner.protocol import Direction, Event, Move, Node, Stay

ROUTES = {
    Role.RESPONDER: (
        "resp_ready --> resp_confirm",
        "resp_confirm --> resp_exchange",
        "resp_exchange --> resp_finalize",
        "resp_finalize --> resp_ready",
    ),
    Role.INITIATOR: (
        "init_ready --> init_exchange",
        "init_exchange --> init_finalize_propose",
        "init_finalize_propose --> init_finalize_close",
        "init_finalize_close --> init_ready",
    ),
}

# The background sender looks this often whether something is due; what a message triggers never waits for it.
TICK_SECONDS = 0.25
REGISTER_EVERY_SECONDS = 1.0
# A newcomer is greeted sooner. Both waits grow with the number of peers around.
REGISTER_GAP_SECONDS = 0.25
# After the last conversation that was asked for, others have so long to end theirs.
PARTING_SECONDS = 5.0

# What is no message at all; everything else that is refused concerns a peer.
_NOISE = (Reason.MALFORMED, Reason.FORMAT, Reason.ENCODING, Reason.VERSION, Reason.TOO_LARGE)

# The states of version 2 that the first generation's routes do not know are shown as those that they stand before.
_SHOWN = {State.INIT_HS: State.INIT_EXCHANGE, State.RESP_HALF: State.RESP_CONFIRM}


class Wiring:
    """Everything the Summoner client calls.

    Args:
        client: with its flow activated and its arrow style set.
        trigger: the class that the TRIGGERS file yields.
        own_id: our agent id.
        driver: runs the conversations.
        reporter: tells people and programs.
        conversations: after how many closed ones to leave; None: never.
    """

    def __init__(
        self,
        client: SummonerClient,
        trigger: Any,
        own_id: str,
        driver: Driver,
        reporter: Reporter,
        conversations: int | None,
    ) -> None:
        self.client = client
        self.trigger = trigger
        self.own_id = own_id
        self.driver = driver
        self.reporter = reporter
        self.conversations = conversations
        self._register_pace = RegisterPace(REGISTER_EVERY_SECONDS, REGISTER_GAP_SECONDS)

    def attach(self) -> None:
        """Register every handler with the client."""
        client, trigger = self.client, self.trigger
        client.hook(direction=Direction.RECEIVE)(self.admit)
        client.hook(direction=Direction.SEND)(self.stamp)
        client.upload_states()(self.upload)
        client.download_states()(self.download)
        for role, routes in ROUTES.items():
            for route in routes:
                client.receive(route=route)(self._handler(role))
        client.send(route="/all --> /all", multi=True, on_triggers={trigger.ok})(self.answers)
        client.send(route="sending", multi=True, every=TICK_SECONDS)(self.background)

    async def admit(self, payload: Any) -> Optional[dict]:
        """RECEIVE hook: a relayed line becomes a message for us, or goes no further."""
        if not isinstance(payload, dict) or "content" not in payload:
            if isinstance(payload, str) and payload.startswith("Warning:"):
                self.reporter.trouble("relay", f"the relay says: {payload}")
            return None
        content, address = payload["content"], payload.get("remote_addr")
        try:
            message = parse_message(content, self.own_id)
        except PeerError as refusal:
            await self._refuse(content, refusal)
            return None
        if message is None:
            return None
        is_newcomer = self.reporter.heard(message.sender)
        self._register_pace.heard(message.sender, time.monotonic(), is_newcomer=is_newcomer)
        return {"message": message, "address": printable(address, 64) if isinstance(address, str) else None}

    async def stamp(self, payload: Any) -> Optional[dict]:
        """SEND hook: every message says who it is from."""
        return payload | {"from": self.own_id} if isinstance(payload, dict) else None

    async def upload(self, payload: Any) -> dict[str, str]:
        """Where both roles stand towards the author of this message."""
        if not isinstance(payload, dict) or "message" not in payload:
            return {}  # the runtime passes a line on unchanged where a hook has failed
        peer_id = payload["message"].sender
        try:
            states = [(await self.driver.state(role, peer_id)).state for role in Role]
            return {f"{role}:{peer_id}": _shown(state) for role, state in zip(Role, states, strict=True)}
        except StorageError as error:
            self.reporter.trouble("storage", f"the database failed: {error}")
            return {}

    async def download(self, states: dict[Optional[str], list[Node]]) -> None:
        """The runtime's verdict, peer by peer; the row is the truth, so a difference is only noted."""
        for key, nodes in states.items():
            if key is None or not nodes:
                continue
            role, peer_id = key.split(":", 1)
            try:
                state = (await self.driver.state(Role(role), peer_id)).state
            except StorageError as error:
                self.reporter.trouble("storage", f"the database failed: {error}")
                return
            if _shown(state) not in {str(node) for node in nodes}:
                self.client.logger.debug("%s: the flow says %s, the database %s", key, nodes, state)

    async def answers(self) -> list[dict]:
        """Queued sender: what the last messages led to leaves at once."""
        return self._take()

    async def background(self) -> list[dict]:
        """Timed sender: what no message triggers, that is `register`, repetitions, and leaving."""
        try:
            await self.driver.tick()
        except StorageError as error:
            self.reporter.trouble("storage", f"the database failed: {error}")
        payloads = self._take()
        if self._is_done(bool(payloads)):
            await self.client.quit()
        if not self.driver.winding_down and self._register_pace.is_due(time.monotonic()):
            payloads.append(self.driver.register())
        return payloads

    def _handler(self, role: Role) -> Any:
        async def handle(payload: Any) -> Optional[Event]:
            message = payload["message"]
            if message.intent != "register" and role_of(message) is not role:
                return None
            try:
                outcome = await self.driver.receive(role, message, payload["address"])
            except StorageError as error:
                self.reporter.trouble("storage", f"the database failed: {error}")
                return Stay(self.trigger.error)
            if outcome.verdict is Verdict.IGNORED:
                return Stay(self.trigger.ignore)
            if outcome.verdict is Verdict.REFUSED:
                return Stay(self.trigger.error)
            return (Stay if outcome.after is outcome.before else Move)(self.trigger.ok)

        return handle

    async def _refuse(self, content: Any, refusal: PeerError) -> None:
        if refusal.reason in _NOISE:
            self.reporter.trouble("noise", "dropped a line that is no message of this conversation")
            return
        try:
            await self.driver.refuse(content, refusal.reason)
        except StorageError as error:
            self.reporter.trouble("storage", f"the database failed: {error}")

    def _take(self) -> list[dict]:
        payloads = list(self.driver.outgoing)
        self.driver.outgoing.clear()
        return payloads

    def _is_done(self, just_sent: bool) -> bool:
        if self.conversations is None or self.reporter.closed < self.conversations:
            return False
        # peers in the middle of a conversation get a moment to end it, and the last words must leave
        return self.driver.wind_down(PARTING_SECONDS) and not just_sent


def _shown(state: State) -> str:
    return str(_SHOWN.get(state, state))
