"""What the demo found out: conversations put together from what was overheard and what the agents reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db_sdk import Database
from handfast.audit import Report
from handfast.cli.demo.attempts import Attempt
from handfast.cli.demo.eavesdropper import Eavesdropper, Overheard, conversations, is_closed
from handfast.cli.demo.processes import AgentProcess, DemoFailed, Event
from handfast.cli.snapshot import Conversation, PinnedKey, Snapshot
from handfast.conversation.model import Role
from handfast.identity.names import fingerprint
from handfast.wire.text import b64decode


class Agent(AgentProcess):
    """One of the two agents.

    Attributes:
        say, reply: what it says as initiator and as responder.
        database: open for reading, once the agent has made it.
    """

    def __init__(self, name: str, say: str, reply: str) -> None:
        super().__init__(name)
        self.say = say
        self.reply = reply
        self.database: Database | None = None

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
        sessions: what the initiator and what the responder reported of the session.
        delivered_at: when the responder had opened the first question, in seconds since 1970 UTC.
        closed_at: when the responder accepted the `close`.
    """

    initiator: Agent
    responder: Agent
    messages: Sequence[Overheard]
    questions: Sequence[str]
    answers: Sequence[str]
    sessions: tuple[Event, Event]
    delivered_at: float
    closed_at: float

    @property
    def is_resumed(self) -> bool:
        """Whether both took it up by a ticket."""
        return all(session["resumed"] for session in self.sessions)

    @property
    def is_post_quantum(self) -> bool:
        """Whether ML-KEM took part in the key exchange."""
        return self.messages[0].is_post_quantum

    @property
    def seconds_to_first_message(self) -> float:
        """From the first word of the handshake on the relay to the first question opened."""
        return self.delivered_at - self.messages[0].at

    @property
    def seconds(self) -> float:
        """From the first word of the handshake on the relay to the accepted `close`."""
        return self.closed_at - self.messages[0].at

    @property
    def exchange_keys(self) -> list[bytes]:
        """The X25519 keys that the two made for it."""
        return [key for line in self.messages if (key := line.exchange_key) is not None]


@dataclass(frozen=True, slots=True)
class Ending:
    """What is left of an agent that has ended.

    Attributes:
        snapshot: what its database holds.
        log: what verifying its audit log found, against the signed end of it that the peer keeps.
        transcripts: of the conversations it has closed, with their number of messages, by role; oldest first.
        stored_keys: how many session keys its database holds.
    """

    snapshot: Snapshot
    log: Report
    transcripts: Mapping[str, Sequence[tuple[int, str]]]
    stored_keys: int


@dataclass(frozen=True, slots=True)
class Results:
    """Everything, when all is over.

    Attributes:
        eve: with all that she heard.
        talks: the first of either direction, then the second of either.
        attempts: what she tried on `victim`.
        victim: one of the agents.
        endings: what is left of each agent, by its name.
        seconds: how long the demo took.
    """

    eve: Eavesdropper
    talks: Sequence[Talk]
    attempts: Sequence[Attempt]
    victim: Agent
    endings: Mapping[str, Ending]
    seconds: float

    @property
    def second_to_start(self) -> Agent:
        """The agent that found the other one there."""
        talk = self.talks[0]
        return max((talk.initiator, talk.responder), key=lambda agent: float(agent.find("started")[0]["t"]))

    @property
    def meeting_seconds(self) -> float:
        """From the start of the second agent, about to connect, to the close of both directions' first talks."""
        began = self.second_to_start.find("started")[0]["t"]
        return float(max(talk.closed_at for talk in self.talks[:2]) - began)

    @property
    def sealed(self) -> int:
        """How many messages were sealed, delivered and opened."""
        return sum(len(talk.questions) + len(talk.answers) for talk in self.talks)

    @property
    def exchange_keys(self) -> list[bytes]:
        """All X25519 keys that were made."""
        return [key for talk in self.talks for key in talk.exchange_keys]

    def check(self) -> None:
        """Raise a DemoFailed unless everything that is told is true."""
        texts = {text for talk in self.talks for text in (talk.initiator.say, talk.responder.reply)}
        if self.eve.readable(texts):
            raise DemoFailed("a message went over the relay in the clear")
        if len(set(self.exchange_keys)) != len(self.exchange_keys):
            raise DemoFailed("an X25519 key was used twice")
        for talk in self.talks[:2]:
            self._check_direction(talk.initiator, talk.responder)
        self._check_attempts()

    def _check_direction(self, agent: Agent, peer: Agent) -> None:
        ending, other = self.endings[agent.name], self.endings[peer.name]
        pins = identity_pins(ending.snapshot)
        if len(ending.snapshot.pins) != 1 or list(pins) != [peer.id]:
            raise DemoFailed(f"{agent.name} did not pin the key of {peer.name} alone")
        if any(line.shows(b64decode(str(pins[peer.id].sign_pub), 32)) for line in self.eve.heard):
            raise DemoFailed(f"the identity key of {peer.name} went over the relay in the clear")
        if other.log.fault is not None:
            raise DemoFailed(f"the audit log of {peer.name} is broken")
        if other.log.key is None or fingerprint(other.log.key) != pins[peer.id].fingerprint:
            raise DemoFailed(f"{peer.name} did not sign its audit log with the key that {agent.name} knows")
        if other.log.signed_to < other.log.last - 1:
            raise DemoFailed(f"the end of the audit log of {peer.name} is not signed")
        if ending.stored_keys:
            raise DemoFailed(f"the database of {agent.name} holds session keys")
        count = len(self.talks) // 2
        ours, theirs = ending.transcripts[Role.INITIATOR][:count], other.transcripts[Role.RESPONDER][:count]
        if len(ours) < count or ours != theirs:
            raise DemoFailed(f"{agent.name} and {peer.name} do not remember the same conversation")

    def _check_attempts(self) -> None:
        expected = sorted(str(one.answer) for one in self.attempts if one.answer is not None)
        refused = sorted(str(event["reason"]) for event in self.victim.find("refused"))
        if refused != expected:
            raise DemoFailed(f"{self.victim.name} refused {refused}, not {expected}")
        known = {agent.id for talk in self.talks for agent in (talk.initiator, talk.responder)}
        for name in ("session", "delivered"):
            if any(event["peer"] not in known for event in self.victim.find(name)):
                raise DemoFailed(f"{self.victim.name} has talked with a stranger")
        if any(line.message.get("to") == self.eve.identity.agent_id for line in self.eve.heard):
            raise DemoFailed(f"{self.victim.name} has answered eve")


def check_talk(talk: Talk, *, is_again: bool) -> None:
    """Raise a DemoFailed unless the two heard what was said, in a session as it should be.

    Args:
        talk: closed.
        is_again: whether they have talked before.
    """
    names = f"{talk.initiator.name} and {talk.responder.name}"
    if {*talk.questions} != {talk.initiator.say} or {*talk.answers} != {talk.responder.reply}:
        raise DemoFailed(f"{names} did not hear what was said")
    if any(session["version"] != 2 or session["security"] != "v2-selfcert" for session in talk.sessions):
        raise DemoFailed(f"{names} were not sure of each other")
    if talk.is_resumed is not is_again or (talk.messages[0].kind == "k1") is not is_again:
        raise DemoFailed(f"{names} did not {'use a ticket' if is_again else 'begin anew'}")


def identity_pins(snapshot: Snapshot) -> dict[str, PinnedKey]:
    """The pins of version 2, by the peer's id."""
    return {str(pin.peer_id): pin for pin in snapshot.pins if pin.version == 2}


def tickets(snapshot: Snapshot) -> list[Conversation]:
    """The roles that hold a good ticket."""
    return [one for one in snapshot.conversations if one.ticket is not None and not one.ticket.used]


def find_talk(eve: Eavesdropper, initiator: Agent, responder: Agent, number: int) -> Talk | None:
    """The conversation with this number (1 for the first) that one led with the other; None until both closed it."""
    overheard = [one for one in conversations(eve.heard, initiator.id, responder.id) if is_closed(one)]
    asked = initiator.with_peer("session", Role.INITIATOR, responder)
    accepted = responder.with_peer("session", Role.RESPONDER, initiator)
    closed = responder.with_peer("closed", Role.RESPONDER, initiator)
    by_initiator = initiator.with_peer("closed", Role.INITIATOR, responder)
    if min(len(overheard), *map(len, (asked, accepted, closed, by_initiator))) < number:
        return None
    end = closed[number - 1]["t"]
    begin = closed[number - 2]["t"] if number > 1 else 0.0

    def between(events: list[Event]) -> list[Event]:
        return [event for event in events if begin < event["t"] <= end]

    questions = between(responder.with_peer("delivered", Role.RESPONDER, initiator))
    answers = between(initiator.with_peer("delivered", Role.INITIATOR, responder))
    return Talk(
        initiator,
        responder,
        overheard[number - 1],
        [str(event["message"]) for event in questions],
        [str(event["message"]) for event in answers],
        (asked[number - 1], accepted[number - 1]),
        questions[0]["t"] if questions else end,
        end,
    )
