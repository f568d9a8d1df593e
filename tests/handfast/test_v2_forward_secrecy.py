"""All traffic is recorded, and every long-term key given away afterwards: nothing that was recorded opens.

The thief has both identity files, both databases with their keys, the tickets in them, and all lines of two conversations;
he tries everything that these allow. With one ephemeral secret more, the very same thief reads everything: the test would
notice if something of the kind were kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from v2_world import End2, Line, World2, blob, header_of, kind, packets_of

from handfast.adapters.sqlite import SqliteStore
from handfast.conversation.model import PeerState, Role
from handfast.crypto.aead import InvalidTag
from handfast.crypto.keys import ExchangeKey, Secret
from handfast.errors import PeerError
from handfast.identity import Identity
from handfast.session.v2.parties import Myself
from handfast.session.v2.responder import ConfirmSecret, read_n2
from handfast.session.v2.resumption import Ticket, make_k1, read_k1
from handfast.session.v2.schedule import Keys
from handfast.session.v2.session import Session
from handfast.session.v2.suites import CHACHA, SUITES, suites_for
from handfast.wire import limits
from handfast.wire.messages import parse_message
from handfast.wire.v2.messages import K1, K2, N1, N2, N3

SUITE = CHACHA
PACKETS = 24


@dataclass
class Loot:
    """What somebody has taken.

    Attributes:
        lines: all that was ever said.
        identities: Alice's and Bob's.
        tickets: all that stood in their databases, at any moment when these were copied.
        confirm_secrets, ephemerals: what no thief finds, because it is kept in memory only.
    """

    lines: list[Line]
    identities: dict[str, Identity]
    tickets: list[Ticket] = field(default_factory=list)
    confirm_secrets: list[ConfirmSecret] = field(default_factory=list)
    ephemerals: list[bytes] = field(default_factory=list)

    def messages(self, *kinds: type) -> Iterator[tuple[Line, object]]:
        for line in self.lines:
            message = parse_message(line, line["to"] or "")
            if isinstance(message, kinds):
                yield line, message

    def raw_secrets(self) -> set[bytes]:
        """Every 32 bytes that he has, and those that two keys agree on."""
        secrets: set[bytes] = set(self.ephemerals)
        exchange: list[ExchangeKey] = []
        for identity in self.identities.values():
            secrets |= {identity.signing_key.private_bytes(), identity.identity_key.private_bytes()}
            secrets.add(identity.database_key().reveal())
            exchange += [identity.exchange_key, *(static.key for static in identity.static_keys)]
        secrets |= {key.private_bytes() for key in exchange}
        secrets |= {key.exchange(other.public) for key in exchange for other in exchange}
        return secrets | {ticket.resumption.reveal() for ticket in self.tickets}


def me(identity: Identity, now: float) -> Myself:
    return Myself.from_identity(identity, suites_for("off", psk=False), now)


def sessions(loot: Loot, now: float) -> Iterator[Session]:
    """Every session that can be made of the loot, by every way of making one."""
    for _, n2 in loot.messages(N2):
        assert isinstance(n2, N2)
        reply = next(
            m for _, m in loot.messages(N3) if isinstance(m, N3) and m.header.your_nonce == n2.header.my_nonce
        )
        responder = me(loot.identities[str(n2.header.to)], now)
        # the responder's ephemeral follows from its confirm secret: those that he has, and all that he could take for one
        for secret in [*loot.confirm_secrets, *guessed_confirm_secrets(loot, n2)]:
            try:
                yield read_n2([secret], responder, n2, nonce=str(reply.header.my_nonce), now=now).session
            except PeerError:
                continue
    for _, k1 in loot.messages(K1):
        assert isinstance(k1, K1)
        initiator, responder = (
            me(loot.identities[k1.sender], now),
            me(loot.identities[str(k1.header.to)], now),
        )
        for ticket in loot.tickets:
            for ephemeral in loot.raw_secrets():
                yield from resumed(loot, k1, initiator, responder, ticket, ephemeral, now)


def guessed_confirm_secrets(loot: Loot, n2: N2) -> Iterator[ConfirmSecret]:
    n1 = next(
        m for _, m in loot.messages(N1) if isinstance(m, N1) and m.header.my_nonce == n2.header.your_nonce
    )
    for raw in loot.raw_secrets():
        yield ConfirmSecret(Secret(raw), n1.offer, 0.0)


def resumed(
    loot: Loot, k1: K1, initiator: Myself, responder: Myself, ticket: Ticket, ephemeral: bytes, now: float
) -> Iterator[Session]:
    try:
        attempt, _ = make_k1(initiator, ticket, k1.offer, ephemeral=ephemeral, now=now)
        for _, k2 in loot.messages(K2):
            assert isinstance(k2, K2)
            yield attempt.read_k2(k2, now)[0]
    except PeerError:
        pass
    try:
        nonce = "u" + "A" * 22
        yield read_k1(responder, ticket, k1, ephemeral=ephemeral, nonce=nonce, now=now).session
    except PeerError:
        pass


def reads(line: Line, keys: Keys | bytes) -> bool:
    """Whether a packet opens under a transport key of either direction, whatever its own name for it."""
    header, packet = header_of(line), blob(line, "b")
    counter = int.from_bytes(packet[10:18], "big")
    for key in [keys] if isinstance(keys, bytes) else [keys.send.reveal(), keys.receive.reveal()]:
        suite = SUITES[SUITE]
        try:
            suite.load(key).decrypt(suite.nonce(counter), packet[18:], packet[:18] + header)
        except InvalidTag:
            continue
        return True
    return False


def opened(loot: Loot, now: float) -> int:
    """How many of the recorded packets the loot opens."""
    keys: list[Keys | bytes] = [session._current.keys for session in sessions(loot, now)]
    keys += loot.raw_secrets()
    return sum(any(reads(line, one) for one in keys) for line in packets_of(loot.lines))


async def tickets_in(databases: dict[str, Path], identities: dict[str, Identity]) -> list[Ticket]:
    """What whoever has the files and the identities reads in them; there are no other secrets."""
    states: list[PeerState] = []
    for (agent_id, path), peer_id in zip(databases.items(), [*databases][::-1], strict=True):
        copy = SqliteStore(path, identities[agent_id])
        await copy.open()
        states += [await copy.load(role, peer_id) for role in Role]
        await copy.close()
    assert all(state.live is None and state.secret is None for state in states)
    return [state.ticket for state in states if state.ticket is not None]


@dataclass
class Memory:
    """What the two processes held, and wrote down nowhere."""

    confirm_secrets: list[ConfirmSecret] = field(default_factory=list)
    ephemerals: list[bytes] = field(default_factory=list)

    def watch(self, end: End2) -> None:
        draw = end.driver._entropy.exchange_key

        def watched() -> bytes:
            self.ephemerals.append(draw())
            return self.ephemerals[-1]

        end.driver._entropy.exchange_key = watched  # type: ignore[method-assign]


async def two_conversations(directory: Path) -> tuple[Loot, Memory, float]:
    """The loot after the second one, which was resumed; and the time."""

    def path(identity: Identity) -> Path:
        return directory / f"{identity.agent_id}.db"

    world, memory = World2(store=lambda identity: SqliteStore(path(identity), identity)), Memory()
    identities = {end.id: end.identity for end in world.ends}
    databases = {end.id: path(end.identity) for end in world.ends}
    for end in world.ends:
        await end.store.open()
        memory.watch(end)
    with mock.patch.object(limits, "GENERATION_MESSAGES_SOFT", 2):  # so that keys are renewed, too
        await world.begin()
        tickets = await tickets_in(databases, identities)
        present = world.bob.driver._announcer.present(world.clock.now(), world.clock.monotonic())
        assert present is not None
        memory.confirm_secrets = list(present.secrets)
        await world.begin_again()
        tickets += await tickets_in(databases, identities)
    assert world.closed() == (2, 2)
    assert len({ticket.ticket_id for ticket in tickets}) == 2
    assert all(end.opened() == 2 for end in world.ends)
    for end in world.ends:
        await end.store.close()
    return Loot(world.lines, identities, tickets), memory, world.clock.now()


async def test_with_every_long_term_key_and_all_databases_nothing_recorded_opens(tmp_path: Path) -> None:
    loot, _, now = await two_conversations(tmp_path)
    assert {kind(line) for line in loot.lines} >= {
        "n1",
        "n2",
        "n3",
        "k1",
        "k2",
        "request",
        "respond",
        "close",
    }
    assert len(packets_of(loot.lines)) == PACKETS
    assert len(loot.tickets) == 4
    assert opened(loot, now) == 0


async def test_with_the_ephemeral_secrets_the_same_thief_opens_the_conversations(tmp_path: Path) -> None:
    loot, memory, now = await two_conversations(tmp_path)
    # what the first handshake led to, up to the first renewal of the keys
    loot.confirm_secrets = memory.confirm_secrets
    first = opened(loot, now)
    assert 4 <= first < PACKETS // 2
    # the same of the second conversation
    loot.confirm_secrets, loot.ephemerals = [], memory.ephemerals
    assert 4 <= opened(loot, now) < PACKETS // 2
    loot.confirm_secrets = memory.confirm_secrets
    assert opened(loot, now) >= first + 4


async def test_without_the_one_ephemeral_key_of_a_resumption_all_others_are_of_no_use(tmp_path: Path) -> None:
    loot, memory, now = await two_conversations(tmp_path)
    useful = set()
    for ephemeral in memory.ephemerals:
        loot.ephemerals = [ephemeral]
        if opened(loot, now):
            useful.add(ephemeral)
    assert len(useful) == 2  # one on each side
    loot.ephemerals = [ephemeral for ephemeral in memory.ephemerals if ephemeral not in useful]
    assert len(loot.ephemerals) >= 4
    assert opened(loot, now) == 0
