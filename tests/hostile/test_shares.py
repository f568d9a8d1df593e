"""What strangers and forgers can make an agent compute and keep is capped, and whoever is known keeps a share of his own.

In the fake world, where the clock stands still: nothing is refilled while a test looks on.
"""

import itertools
from typing import Any

import pytest
from fake_world import START, End, FakeClock, Link, make_identity

from handfast import gatekeeper, proofs
from handfast.budget import Budget
from handfast.conversation.model import Role, Settings, State
from handfast.crypto.keys import Secret, signature_holds
from handfast.session import v1 as session

Line = dict[str, Any]

FLOOD = 1_000
AT_ONCE = Settings(reconnect_every=0.0)

_numbers = itertools.count()


class Verifications:
    """Counts how many signatures are verified."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(session, "signature_holds", self._verify)

    def _verify(self, *proof: Any) -> bool:
        self.count += 1
        return signature_holds(*proof)


async def acquainted(*names: str) -> tuple[FakeClock, list[End], Link]:
    """Ends who know each other in both roles, and are ready for the next conversation."""
    clock = FakeClock()
    ends = [End(name, clock, AT_ONCE) for name in names]
    link = Link(*ends)
    await link.register()
    await link.advance(clock, 5, register_every=None)
    assert all(end.closed(role) == len(ends) - 1 for end in ends for role in Role)
    return clock, ends, link


def good_confirm(victim: End, sender: str | None = None) -> Line:
    """A `confirm` of somebody new that is perfect in itself, under his own id or another one."""
    stranger = make_identity(f"stranger {next(_numbers)}")
    nonce = f"{next(_numbers):030x}aa"
    hs = session.make_hs(
        "response", nonce, stranger.exchange_key.public, stranger.signing_key, victim.clock.now(), None
    )
    line = {"to": victim.id, "from": sender or stranger.agent_id, "intent": "confirm"}
    return line | {"my_nonce": nonce, "hs": hs}


def broken_confirm(victim: End, sender: str | None = None) -> Line:
    """One whose signature does not hold."""
    line = good_confirm(victim, sender)
    line["my_nonce"] = line["hs"]["nonce"] = f"{next(_numbers):030x}bb"
    return line


async def converses(link: Link, one: End, other: End) -> bool:
    """Whether, without any time passing, a conversation closes in both directions."""
    before = [(end, role, end.closed(role)) for end in (one, other) for role in Role]
    for author, hearer in ((one, other), (other, one)):
        await hearer.receive({"to": None, "intent": "register", "from": author.id})
        await link.settle()
    return all(end.closed(role) > count for end, role, count in before)


async def test_however_many_strangers_forge_so_many_signatures_are_verified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, (alice, bob), link = await acquainted("alice", "bob")
    verified = Verifications(monkeypatch)
    for _ in range(FLOOD):
        await alice.receive(broken_confirm(alice))
    burst, per_second = proofs.FAILED_BY_STRANGERS
    assert verified.count == burst
    clock.seconds += 3
    for _ in range(FLOOD):
        await alice.receive(broken_confirm(alice))
    assert verified.count == burst + 3 * per_second
    assert await converses(link, alice, bob)


async def test_while_strangers_come_at_the_cap_known_peers_converse_at_once() -> None:
    _, (alice, bob), link = await acquainted("alice", "bob")
    for _ in range(FLOOD):
        await alice.receive({"to": None, "intent": "register", "from": good_confirm(alice)["from"]})
        await alice.receive(good_confirm(alice))
        alice.take()
    begun = [outcome for outcome in alice.outcomes if outcome.after is State.INIT_EXCHANGE]
    assert len(begun) < FLOOD / 2, "the cap was reached"
    assert await converses(link, alice, bob)


async def test_forgeries_under_one_known_id_leave_the_others_their_shares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, (alice, bob, carol), link = await acquainted("alice", "bob", "carol")
    verified = Verifications(monkeypatch)
    for _ in range(FLOOD):
        await alice.receive(broken_confirm(alice, sender=carol.id))
    assert verified.count == proofs.FAILED_BY_KNOWN[0] + proofs.FAILED_BY_EACH[0]
    assert await converses(link, alice, bob)
    assert not await converses(link, alice, carol), "it cannot be told from the forgeries"
    # when they end, that pair goes on, too
    before = carol.closed(Role.INITIATOR), carol.closed(Role.RESPONDER)
    await link.advance(clock, 60)
    assert carol.closed(Role.INITIATOR) > before[0] + 2
    assert carol.closed(Role.RESPONDER) > before[1] + 2


async def test_a_peer_has_a_share_of_its_own_when_all_others_are_forged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, (alice, bob, carol), link = await acquainted("alice", "bob", "carol")
    verified = Verifications(monkeypatch)
    for _ in range(FLOOD):
        await alice.receive(broken_confirm(alice, sender=carol.id))
    flooded = verified.count
    for _ in range(proofs.FAILED_BY_EACH[0] - 1):
        await alice.receive(broken_confirm(alice, sender=bob.id))
    assert verified.count == flooded + proofs.FAILED_BY_EACH[0] - 1
    assert await converses(link, alice, bob)
    for _ in range(FLOOD):
        await alice.receive(broken_confirm(alice, sender=bob.id))
    assert not await converses(link, alice, bob)


async def test_who_is_known_in_one_role_is_no_stranger_in_the_other() -> None:
    clock = FakeClock()
    alice, bob = End("alice", clock, AT_ONCE), End("bob", clock, AT_ONCE)
    link = Link(alice, bob)
    await bob.receive({"to": None, "intent": "register", "from": alice.id})
    await link.settle()
    assert (alice.closed(Role.INITIATOR), alice.closed(Role.RESPONDER)) == (1, 0)
    for _ in range(FLOOD):
        await alice.receive(good_confirm(alice))
        await alice.receive(broken_confirm(alice))
        alice.take()
    await alice.receive({"to": None, "intent": "register", "from": bob.id})
    await link.settle()
    assert alice.closed(Role.RESPONDER) == 1


async def test_so_many_newcomers_are_kept_and_then_few_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatekeeper, "NEWCOMERS", (3, 0.1))
    clock, (alice, bob), link = await acquainted("alice", "bob")

    async def meets(number: int) -> bool:
        newcomer = End(f"newcomer {number}", clock, AT_ONCE)
        await newcomer.receive({"to": None, "intent": "register", "from": alice.id})
        await Link(alice, newcomer).settle()
        return newcomer.closed(Role.RESPONDER) == 1

    assert [await meets(number) for number in range(4)] == [True, True, False, False]  # bob was the first
    assert len(alice.store.pins) == 3  # type: ignore[attr-defined]
    assert await converses(link, alice, bob)
    clock.seconds += 10
    assert [await meets(number) for number in range(4, 6)] == [True, False]


async def test_a_conversation_without_end_leaves_rows_for_so_many_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gatekeeper, "TURNS_OF_A_CONVERSATION", 5)
    clock = FakeClock()
    endless, alice = End("endless", clock, Settings(exchanges=1_000)), End("alice", clock)
    link = Link(endless, alice)
    await alice.receive({"to": None, "intent": "register", "from": endless.id})
    await link.settle()
    assert len(alice.delivered(Role.RESPONDER)) == 5
    assert len(alice.store.envelopes) == 5  # type: ignore[attr-defined]
    await link.advance(clock, 40, register_every=None)
    assert await alice.state(Role.RESPONDER, endless) is State.RESP_READY
    assert alice.store.envelopes == set()  # type: ignore[attr-defined]


def test_a_budget_can_be_asked_without_being_used() -> None:
    budget = Budget(1, 1.0, 0.0)
    assert [budget.is_spent(0.0), budget.is_spent(0.0)] == [False, False]
    assert budget.take(0.0) == 0
    assert [budget.is_spent(0.5), budget.is_spent(1.0)] == [True, False]
    assert budget.take(1.0) == 0, "asking held nothing back"


async def test_a_stranger_who_is_answered_has_no_more_verified_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, (alice, bob), link = await acquainted("alice", "bob")
    stranger = make_identity("insistent")
    await alice.receive({"to": None, "intent": "register", "from": stranger.agent_id})
    (confirm,) = alice.take()
    verified = Verifications(monkeypatch)
    # each proves the handshake anew, and holds an envelope that does not open
    sec = session.seal({"message": ""}, Secret(bytes(32)), stranger.signing_key, bytes(12), START, None)
    line = {"to": alice.id, "from": stranger.agent_id, "intent": "request", "sec": sec}
    for number in range(FLOOD):
        nonce = f"{number:030x}cc"
        hs = session.make_hs(
            "init", nonce, stranger.exchange_key.public, stranger.signing_key, alice.clock.now(), None
        )
        await alice.receive(line | {"your_nonce": confirm["my_nonce"], "my_nonce": nonce, "hs": hs})
    assert verified.count == 2 * proofs.FAILED_BY_STRANGERS[0]
    assert await converses(link, alice, bob)
