"""What the demo found out: conversations put together from what was overheard and what the agents reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db_sdk import Database
from handfast.cli.demo.eavesdropper import Eavesdropper, Overheard, conversations, is_closed
from handfast.cli.demo.processes import AgentProcess, DemoFailed, Event
from handfast.cli.snapshot import Snapshot
from handfast.conversation.model import Role, State

# the states in which both sides have had their say, and no nonce is of use any more
_AT_REST = {str(state) for state in (State.INIT_READY, State.RESP_READY, State.INIT_FINALIZE_CLOSE)}


class Agent(AgentProcess):
    """One of the two agents.

    Attributes:
        say, reply: what it says as initiator and as responder.
        database: open for reading, once the agent has made it.
        most_nonces: the largest number of nonces that was seen in it.
    """

    def __init__(self, name: str, say: str, reply: str) -> None:
        super().__init__(name)
        self.say = say
        self.reply = reply
        self.database: Database | None = None
        self.most_nonces = 0

    def with_peer(self, event: str, role: Role, peer: "Agent") -> list[Event]:
        """Events of one role towards one peer."""
        return self.find(event, role=str(role), peer=peer.id)


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation in one direction, closed by both.

    Attributes:
        initiator, responder: who.
        messages: as overheard.
        questions, answers: what the responder and what the initiator opened, in order.
        closed_at: when the responder accepted the `close`, in seconds since 1970 UTC.
    """

    initiator: Agent
    responder: Agent
    messages: Sequence[Overheard]
    questions: Sequence[str]
    answers: Sequence[str]
    closed_at: float

    @property
    def confirm(self) -> Overheard:
        """The message that opens it."""
        return next(line for line in self.messages if line.intent == "confirm")

    @property
    def is_reconnect(self) -> bool:
        """Whether a `reconnect` asked for it."""
        return self.messages[0].intent == "reconnect"

    @property
    def seconds(self) -> float:
        """From the `confirm` on the relay to the accepted `close`."""
        return self.closed_at - self.confirm.at

    @property
    def exchange_keys(self) -> list[str]:
        """The X25519 keys that the two brought."""
        return [key for line in self.messages if (key := line.exchange_key) is not None]


@dataclass(frozen=True, slots=True)
class Results:
    """Everything, when all is over.

    Attributes:
        eve: with all that she heard.
        talks: the first of either direction, then the second of either.
        snapshots: what each agent's database holds, by its name.
        seconds: how long the demo took.
    """

    eve: Eavesdropper
    talks: Sequence[Talk]
    snapshots: Mapping[str, Snapshot]
    seconds: float

    @property
    def meeting_seconds(self) -> float:
        """From the start of the second agent, about to connect, to the close of both directions' first talks."""
        first, second = self.talks[:2]
        began = first.responder.find("started")[0]["t"]
        return float(max(first.closed_at, second.closed_at) - began)

    @property
    def sealed(self) -> int:
        """How many messages were sealed, delivered and opened."""
        return sum(len(talk.questions) + len(talk.answers) for talk in self.talks)

    @property
    def exchange_keys(self) -> list[str]:
        """All X25519 keys that were used."""
        return [key for talk in self.talks for key in talk.exchange_keys]

    def check(self) -> None:
        """Raise a DemoFailed unless everything that is told is true."""
        texts = {text for talk in self.talks for text in (talk.initiator.say, talk.responder.reply)}
        if self.eve.readable(texts):
            raise DemoFailed("a message went over the relay in the clear")
        if len(set(self.exchange_keys)) != len(self.exchange_keys):
            raise DemoFailed("an X25519 key was used twice")
        for talk in self.talks:
            if {*talk.questions} != {talk.initiator.say} or {*talk.answers} != {talk.responder.reply}:
                raise DemoFailed(
                    f"{talk.initiator.name} and {talk.responder.name} did not hear what was said"
                )
            pins = self.snapshots[talk.initiator.name].pins
            if [(pin.peer_id, pin.fingerprint) for pin in pins] != [(talk.responder.id, talk.confirm.signer)]:
                raise DemoFailed(f"{talk.initiator.name} did not pin the key of {talk.responder.name} alone")
        for name, snapshot in self.snapshots.items():
            if snapshot.audit.first_broken is not None:
                raise DemoFailed(f"the audit log of {name} is broken")
            under_way = {str(one.state) for one in snapshot.conversations} - _AT_REST
            if snapshot.totals["nonces"] and not under_way:
                raise DemoFailed(f"the database of {name} holds nonces after all conversations have closed")


def find_talk(eve: Eavesdropper, initiator: Agent, responder: Agent, number: int) -> Talk | None:
    """The conversation with this number (1 for the first) that one led with the other; None until both closed it."""
    overheard = [one for one in conversations(eve.heard, initiator.id, responder.id) if is_closed(one)]
    closed = responder.with_peer("closed", Role.RESPONDER, initiator)
    by_initiator = initiator.with_peer("closed", Role.INITIATOR, responder)
    if min(len(overheard), len(closed), len(by_initiator)) < number:
        return None
    end = closed[number - 1]["t"]
    begin = closed[number - 2]["t"] if number > 1 else 0.0

    def between(events: list[Event]) -> list[str]:
        return [str(event["message"]) for event in events if begin < event["t"] <= end]

    return Talk(
        initiator,
        responder,
        overheard[number - 1],
        between(responder.with_peer("delivered", Role.RESPONDER, initiator)),
        between(initiator.with_peer("delivered", Role.INITIATOR, responder)),
        end,
    )
