"""What became of an event: as it is told to whoever listens, to the audit log, and to the store."""

from dataclasses import dataclass, replace

from handfast.budget import Budget
from handfast.conversation.effects import Closed, Effect, GaveUp, PinKey, PinPeer, Rekeyed, SessionOpened
from handfast.conversation.model import PeerState, Role, State, Step, Verdict
from handfast.errors import Reason
from handfast.identity.names import fingerprint
from handfast.trust.decision import Change

# A hostile peer can be refused as fast as it can write; what is kept and told of that is bounded: a burst, then so many a
# second. Refusals over who a key belongs to are counted apart: noise must not hide that somebody poses as a known peer.
REFUSALS_TOLD = (50, 2.0)
_ABOUT_WHO = frozenset({Reason.KEY_CHANGED, Reason.KEY_UNDER_TWO_IDS, Reason.OWN_KEY_REFLECTED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event, told after its commit.

    Attributes:
        peer_id, role: the pair it concerned.
        event: what it was: an intent, "timer", "restart" or "submit".
        before, after: the pair's state.
        effects: what was committed; empty unless the verdict is `ACCEPTED`.
        verdict, reason: as in `Step`.
        failure: what the user's dialogue raised, where that was the reason.
    """

    peer_id: str
    role: Role
    event: str
    before: State
    after: State
    effects: tuple[Effect, ...]
    verdict: Verdict
    reason: Reason | None = None
    failure: BaseException | None = None


def outcome_of(before: PeerState, event: str, taken: Step) -> Outcome:
    """The outcome of a step that an event (an intent, "timer", …) led to."""
    return Outcome(
        before.peer_id,
        before.role,
        event,
        before.state,
        taken.state.state,
        taken.effects,
        taken.verdict,
        taken.reason,
        taken.failure,
    )


class Refusals:
    """Which refusals are told.

    Args:
        now: the present moment on a clock that never jumps, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._about_who = Budget(*REFUSALS_TOLD, now)
        self._others = Budget(*REFUSALS_TOLD, now)

    def entry(self, reason: Reason, event: str, now: float) -> dict[str, object] | None:
        """What the audit log is told of a refusal, and how many were left out before it; None where it is left out, too."""
        left_out = (self._about_who if reason in _ABOUT_WHO else self._others).take(now)
        if left_out is None:
            return None
        entry: dict[str, object] = {"reason": str(reason), "intent": event}
        return entry | {"refusals_not_listed_before": left_out} if left_out else entry


def audit_entries(before: PeerState, effects: tuple[Effect, ...]) -> list[tuple[str, dict[str, object]]]:
    """What the audit log is told of a step: names of events and their details."""
    entries: list[tuple[str, dict[str, object]]] = []
    for effect in effects:
        match effect:
            case PinKey(sign_pub):
                entries.append(("pinned", {"key": fingerprint(sign_pub), "source": "first sight"}))
            case PinPeer(decision) if decision.change is not Change.KNOWN:
                key, source = fingerprint(decision.pin.identity_public), str(decision.pin.source)
                entries.append(("pinned", {"key": key, "source": source, "change": str(decision.change)}))
            case SessionOpened(version, security, suite, resumed):
                more = {"security": security, "suite": suite, "resumed": resumed} if version > 1 else {}
                entries.append(("session", {"version": version} | more))
            case Rekeyed(generation):
                entries.append(("rekeyed", {"generation": generation}))
            case Closed(None):
                entries.append(("closed", {}))
            case Closed(messages, transcript):
                entries.append(("closed", {"messages": messages, "transcript": transcript}))
            case GaveUp(why) if before.state is not State.RESP_CONFIRM and not before.is_of_stranger:
                # a `confirm` that nobody answers is no event: anybody can make us send one
                entries.append(("gave_up", {"why": why, "state": str(before.state)}))
            case _:
                pass
    return entries


def is_a_first_pin(effect: Effect) -> bool:
    """Whether a peer was pinned that was not known before."""
    is_new = isinstance(effect, PinPeer) and effect.decision.change is Change.NEW
    return is_new or isinstance(effect, PinKey)


def durable(after: PeerState, stored: PeerState) -> PeerState:
    """What is written down of a state: of a handshake under way, nothing but the ticket that it uses."""
    if after.state is State.RESP_HALF and stored.state is State.RESP_FINALIZE:
        # the conversation is closed; what waits now is a handshake that was begun beside it
        return replace(after, state=State.RESP_READY, outgoing=None, live=None)
    if after.state in (State.INIT_HS, State.RESP_HALF):
        return replace(stored, ticket=after.ticket, ticket_used=after.ticket_used)
    return replace(after, live=None) if after.live is not None else after
