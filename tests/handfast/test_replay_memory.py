"""What a store remembers against replays, held against a plain model: nonces, envelopes and accepted handshakes.

A message that repeats any of them is refused whole and leaves nothing; what is refused once is refused for as long as it
could pass; another peer's or the other role's are nobody's business.
"""

import asyncio
import tempfile
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from fake_world import START, make_identity
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from handfast.adapters.memory import MemoryStore
from handfast.adapters.sqlite import SqliteStore
from handfast.conversation.effects import Effect, ForgetNonces, RecordEnvelope, RecordNonce, RememberHandshake
from handfast.conversation.model import PeerState, Role
from handfast.errors import PeerError, Reason
from handfast.wire.text import b64encode
from handfast.wire.v1 import Confirm

ALICE = make_identity("alice")
PEERS = [make_identity(name) for name in ("bob", "carol")]
NONCES = [digit * 32 for digit in "abc"]

Pair = tuple[Role, str]
pairs = st.tuples(st.sampled_from(Role), st.sampled_from([peer.agent_id for peer in PEERS]))
nonces = st.sampled_from(NONCES)


class ReplayMemory(RuleBasedStateMachine):
    """Messages of two peers in both roles, with few nonces, so that they repeat."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.place = tempfile.TemporaryDirectory()
        self.now = START
        self.received: set[tuple[Pair, str]] = set()
        self.envelopes: set[tuple[Pair, str]] = set()
        self.handshakes: dict[tuple[str, str], float] = {}
        self.store = self.open()

    def open(self) -> MemoryStore | SqliteStore:
        return MemoryStore(ALICE.agent_id)

    def run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(what)

    def teardown(self) -> None:
        self.run(self.store.close())
        self.loop.close()
        self.place.cleanup()

    def commit(self, pair: Pair, *effects: Effect) -> Reason | None:
        """Why the store refuses a message with these effects; None where it keeps them."""
        key = next(b64encode(peer.signing_key.public) for peer in PEERS if peer.agent_id == pair[1])
        state = replace(PeerState.of_stranger(ALICE.agent_id, *pair), peer_sign_pub=key)
        try:
            self.run(self.store.run(lambda transaction: transaction.commit(state, effects, self.now)))
        except PeerError as refusal:
            return refusal.reason
        return None

    @rule(pair=pairs, nonce=nonces, envelope=nonces)
    def a_turn(self, pair: Pair, nonce: str, envelope: str) -> None:
        expected = (
            Reason.SEC_REPLAYED
            if (pair, envelope) in self.envelopes
            else Reason.NONCE_REPLAYED
            if (pair, nonce) in self.received
            else None
        )
        assert self.commit(pair, RecordEnvelope(envelope), RecordNonce("received", nonce)) == expected
        if expected is None:
            self.received.add((pair, nonce))
            self.envelopes.add((pair, envelope))

    @rule(pair=pairs, nonce=nonces, lasts=st.sampled_from([1.0, 60.0, 4000.0]))
    def a_handshake(self, pair: Pair, nonce: str, lasts: float) -> None:
        name = pair[1], nonce
        if name in self.handshakes and self.handshakes[name] <= self.now:
            return  # past its time it is refused as stale; whether it is still remembered is the store's choice
        known = name in self.handshakes
        repeated = (pair, nonce) in self.received
        expected = Reason.HS_REPLAYED if known else Reason.NONCE_REPLAYED if repeated else None
        outcome = self.commit(
            pair, RememberHandshake(nonce, self.now + lasts), RecordNonce("received", nonce)
        )
        assert outcome == expected
        if expected is None:
            self.received.add((pair, nonce))
            self.handshakes[name] = self.now + lasts

    @rule(pair=pairs, nonce=nonces)
    def we_send(self, pair: Pair, nonce: str) -> None:
        assert self.commit(pair, RecordNonce("sent", nonce)) is None

    @rule(pair=pairs)
    def a_conversation_ends(self, pair: Pair) -> None:
        assert self.commit(pair, ForgetNonces()) is None
        self.received = {entry for entry in self.received if entry[0] != pair}
        self.envelopes = {entry for entry in self.envelopes if entry[0] != pair}

    @rule(seconds=st.sampled_from([0.5, 30.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def it_knows_what_it_has_seen(self) -> None:
        for role in Role:
            for peer in PEERS:
                for nonce in NONCES:
                    hs = {
                        "sign_pub": b64encode(peer.signing_key.public)
                    }  # a store may pass over what has none
                    message = Confirm(peer.agent_id, nonce, hs)
                    facts = self.run(
                        self.store.run(
                            lambda transaction, role=role, message=message: transaction.facts(role, message)
                        )
                    )
                    assert facts.nonce_seen == (((role, peer.agent_id), nonce) in self.received)
                    until = self.handshakes.get((peer.agent_id, nonce))
                    if until is None or until > self.now:
                        assert facts.handshake_seen == (until is not None)


class ReplayMemoryOnDisk(ReplayMemory):
    """The same on disk, where it also survives a restart."""

    def open(self) -> SqliteStore:
        store = SqliteStore(Path(self.place.name) / "a.db", ALICE)
        self.run(store.open())
        return store

    @rule()
    def restarts(self) -> None:
        self.run(self.store.close())
        self.store = self.open()


class TestInMemory(ReplayMemory.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


class TestOnDisk(ReplayMemoryOnDisk.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
