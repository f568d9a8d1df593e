"""Pins, controllers, revocations and dead keys as rows, in the transaction of whoever asks."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_world import START, make_identity

from db_sdk import Database
from handfast.adapters import trust_store
from handfast.adapters.tables import MIGRATIONS, IdentityPin
from handfast.adapters.tables import Pin as SigningKeyPin
from handfast.crypto.keys import SigningKey
from handfast.errors import PeerError, Reason, UsageError
from handfast.trust.certificate import issue_certificate, issuer_of, read_request, request_certificate
from handfast.trust.decision import Facts, Pin, Policy, Proven, Source, decide, examine
from handfast.trust.revocation import Revoked, sign_revocation_list, sign_tombstone
from handfast.trust.rotation import rotated_identity
from handfast.wire.text import b64encode

ALICE, BOB, CAROL = (make_identity(name) for name in ("alice", "bob", "carol"))
ME = ALICE.agent_id
KEY = SigningKey(b"c" * 32)
SERIAL = "ab" * 16
PIN = Pin(BOB.agent_id, BOB.identity_key.public, Source.TOFU, START, START + 1, 2, "uissuer", SERIAL)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "a.db") as opened:
        await opened.migrate(MIGRATIONS)
        yield opened


def proven(certificate: bytes | None = None, **changes: Any) -> Proven:
    bob = replace(BOB, **changes)
    return examine(bob.agent_id, bob.identity_key.public, bob.rotations, certificate)


def certificate() -> bytes:
    asked = read_request(request_certificate(BOB, "", bytes(16), START))
    return issue_certificate(asked, KEY, serial=SERIAL, now=START)


def crl(sequence: int, *entries: Revoked, key: SigningKey = KEY) -> bytes:
    return sign_revocation_list(key, entries, sequence=sequence, now=START, life=86_400)


async def write(database: Database, work: str, *arguments: Any) -> Any:
    return await database.run(lambda session: getattr(trust_store, work)(session, *arguments))


async def facts(database: Database, about: Proven) -> Facts:
    return await database.read(lambda session: trust_store.facts_about(session, ME, about))


async def test_of_a_stranger_nothing_is_known(database: Database) -> None:
    assert await facts(database, proven()) == Facts()
    assert await write(database, "find_pin", ME, BOB.agent_id) is None
    assert await write(database, "newest_crl") is None


async def test_a_pin_comes_back_as_it_was_and_is_changed_as_a_whole(database: Database) -> None:
    await write(database, "write_pin", ME, PIN)
    assert await write(database, "find_pin", ME, BOB.agent_id) == PIN
    after = replace(
        PIN, identity_public=bytes(32), source=Source.MANUAL, last_seen=START + 9, certificate_serial=None
    )
    await write(database, "write_pin", ME, after)
    assert await write(database, "find_pin", ME, BOB.agent_id) == after
    assert await database.read(lambda session: session.count(IdentityPin)) == 1
    assert await write(database, "find_pin", CAROL.agent_id, BOB.agent_id) is None


async def test_a_key_is_pinned_for_one_peer_only(database: Database) -> None:
    await write(database, "write_pin", ME, PIN)
    with pytest.raises(PeerError) as caught:
        await write(database, "write_pin", ME, replace(PIN, peer_id=CAROL.agent_id))
    assert caught.value.reason is Reason.KEY_UNDER_TWO_IDS
    assert await write(database, "find_pin", ME, CAROL.agent_id) is None
    assert (await facts(database, proven(agent_id=CAROL.agent_id))).held_by_another
    assert not (await facts(database, proven())).held_by_another


async def test_a_key_that_version_1_pinned_is_known(database: Database) -> None:
    def work(session: Any) -> None:
        key = b64encode(BOB.signing_key.public)
        session.insert(
            SigningKeyPin,
            self_id=ME,
            peer_id=BOB.agent_id,
            sign_pub=key,
            source="first sight",
            first_seen=0.0,
        )

    await database.run(work)
    assert (await facts(database, proven())) == Facts(v1_key=BOB.signing_key.public)
    assert (await facts(database, proven(agent_id=CAROL.agent_id))).held_by_another
    assert await write(database, "key_holder", ME, BOB.signing_key.public) == BOB.agent_id
    assert await write(database, "key_holder", ME, bytes(32)) is None


async def test_a_damaged_pin_matches_no_key(database: Database) -> None:
    await write(database, "write_pin", ME, PIN)
    await database.execute("UPDATE identity_pin SET identity_public = 'damaged'")
    known = await facts(database, proven())
    with pytest.raises(PeerError) as caught:
        decide(proven(), known, Policy(), own_keys=(), now=START)
    assert caught.value.reason is Reason.PIN_CONFLICT


@pytest.mark.parametrize("source", [Source.TOFU, Source.SELFCERT])
async def test_what_strangers_can_cause_is_bounded_and_costs_nobody_else_a_pin(
    database: Database, monkeypatch: pytest.MonkeyPatch, source: Source
) -> None:
    monkeypatch.setattr(trust_store, "STRANGERS_PINS_KEPT", 3)
    for number, kept in enumerate([Source.MANUAL, Source.CERT, *({Source.TOFU, Source.SELFCERT} - {source})]):
        await write(database, "write_pin", ME, a_pin(100 + number, kept))
    await write(database, "write_pin", ME, replace(a_pin(0, source), rotation_sequence=1))
    for number in range(1, 6):
        await write(database, "write_pin", ME, a_pin(number, source))
    rows = await database.execute("SELECT first_seen FROM identity_pin ORDER BY first_seen")
    # the oldest go first, and one that has followed a rotation after all others
    assert [row["first_seen"] for row in rows] == [0, 4, 5, 100, 101, 102]
    await write(database, "write_pin", ME, replace(a_pin(5, source), last_seen=9.0))
    assert len(await database.execute("SELECT 1 FROM identity_pin")) == 6


def a_pin(number: int, source: Source) -> Pin:
    peer_id = f"00000000-0000-4000-8000-{number:012d}"
    return Pin(peer_id, number.to_bytes(32, "big"), source, number, number)


# ---- controllers and revocation -----------------------------------------------------------------------------------


async def test_a_controller_is_trusted_once_and_until_it_is_not(database: Database) -> None:
    await write(database, "trust_controller", KEY.public, "acme", START)
    with pytest.raises(UsageError, match="already"):
        await write(database, "trust_controller", KEY.public, "acme again", START)
    (controller,) = await write(database, "controllers")
    assert (controller.public, controller.crl_next) == (KEY.public, None)
    assert (await facts(database, proven())).controllers == (controller,)
    await write(database, "accept_crl", crl(1, Revoked(SERIAL, None, 0, "")))
    await write(database, "distrust_controller", issuer_of(KEY.public))
    assert await write(database, "controllers") == ()
    assert (await facts(database, proven(certificate()))).revoked_serials == frozenset()


async def test_the_number_of_controllers_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust_store, "CONTROLLERS", 1)
    await write(database, "trust_controller", KEY.public, "acme", START)
    with pytest.raises(UsageError, match="remove one first"):
        await write(database, "trust_controller", BOB.signing_key.public, "bob", START)


async def test_a_list_takes_the_place_of_an_older_one_and_never_of_a_newer(database: Database) -> None:
    await write(database, "trust_controller", KEY.public, "acme", START)
    raw = crl(2, Revoked(SERIAL, None, 0, ""), Revoked(None, BOB.identity_key.public, 0, ""))
    await write(database, "accept_crl", raw)
    known = await facts(database, proven(certificate()))
    assert known.revoked_serials == {(issuer_of(KEY.public), SERIAL)}
    assert known.dead_keys == {BOB.identity_key.public}
    assert known.controllers[0].crl_next == int(START) + 86_400
    assert await write(database, "newest_crl") == (2, raw)
    for older in (crl(1), crl(2)):
        with pytest.raises(PeerError) as caught:
            await write(database, "accept_crl", older)
        assert caught.value.reason is Reason.CRL_ROLLBACK
    assert (await facts(database, proven(certificate()))) == known
    await write(database, "accept_crl", crl(3))
    known = await facts(database, proven(certificate()))
    assert (known.revoked_serials, known.dead_keys) == (frozenset(), frozenset())


async def test_a_list_of_an_untrusted_controller_or_a_forged_one_is_refused(database: Database) -> None:
    with pytest.raises(PeerError) as caught:
        await write(database, "accept_crl", crl(1))
    assert caught.value.reason is Reason.CERT
    await write(database, "trust_controller", KEY.public, "acme", START)
    raw = crl(1)
    with pytest.raises(PeerError) as caught:
        await write(database, "accept_crl", raw[:-1] + bytes([raw[-1] ^ 1]))
    assert caught.value.reason is Reason.CERT
    assert await write(database, "newest_crl") is None


async def test_one_controller_revokes_no_certificate_of_another(database: Database) -> None:
    another = SigningKey(b"d" * 32)
    for key, name in ((KEY, "acme"), (another, "other")):
        await write(database, "trust_controller", key.public, name, START)
    await write(database, "accept_crl", crl(1, Revoked(SERIAL, None, 0, ""), key=another))
    assert (await facts(database, proven(certificate()))).revoked_serials == frozenset()


async def test_a_buried_key_is_dead_for_good(database: Database) -> None:
    raw = sign_tombstone(BOB.identity_key, START)
    for _ in range(2):
        assert await write(database, "bury", raw) == BOB.identity_key.public
    assert (await facts(database, proven())).dead_keys == {BOB.identity_key.public}
    after = rotated_identity(BOB, b"1" * 32, b"2" * 32, START)
    about = examine(after.agent_id, after.identity_key.public, after.rotations, None)
    assert (await facts(database, about)).dead_keys == {BOB.identity_key.public}
    with pytest.raises(PeerError) as caught:
        await write(database, "bury", raw[:-1] + bytes([raw[-1] ^ 1]))
    assert caught.value.reason is Reason.FORMAT


async def test_the_number_of_buried_keys_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust_store, "DEAD_KEYS", 0)
    with pytest.raises(UsageError, match="no more"):
        await write(database, "bury", sign_tombstone(BOB.identity_key, START))


async def test_a_pinned_peer_is_revoked_by_its_key_its_certificate_or_its_own_word(
    database: Database,
) -> None:
    known = replace(PIN, certificate_issuer=issuer_of(KEY.public))
    await write(database, "write_pin", ME, known)
    assert not await write(database, "is_revoked", ME, known)
    await write(database, "trust_controller", KEY.public, "acme", START)
    await write(database, "accept_crl", crl(1, Revoked(SERIAL, None, 0, "")))
    assert await write(database, "is_revoked", ME, known)
    assert not await write(database, "is_revoked", ME, replace(known, certificate_serial=None))
    await write(database, "accept_crl", crl(2, Revoked(None, BOB.identity_key.public, 0, "")))
    assert await write(database, "is_revoked", ME, replace(known, certificate_serial=None))
    await write(database, "accept_crl", crl(3))
    assert not await write(database, "is_revoked", ME, known)
    await write(database, "bury", sign_tombstone(BOB.identity_key, START))
    assert await write(database, "is_revoked", ME, known)


async def test_a_peer_is_revoked_whose_pin_was_replaced_or_removed_by_hand_until_it_is_pinned_again(
    database: Database,
) -> None:
    await write(database, "write_pin", ME, PIN)
    assert not await write(database, "is_revoked", ME, PIN)
    await write(database, "write_pin", ME, replace(PIN, identity_public=KEY.public))
    assert await write(database, "is_revoked", ME, PIN)
    key = b64encode(KEY.public)
    assert not await write(database, "remove_pin", ME, PIN.peer_id, b64encode(PIN.identity_public))
    assert await write(database, "remove_pin", ME, PIN.peer_id, key)
    removed = replace(PIN, identity_public=KEY.public)
    assert await write(database, "find_pin", ME, PIN.peer_id) is None
    assert await write(database, "is_revoked", ME, removed)
    assert not await write(database, "is_revoked", PIN.peer_id, removed), "that is somebody else's pin"
    await write(database, "write_pin", ME, removed)
    assert not await write(database, "is_revoked", ME, removed)


async def test_a_pin_that_makes_room_for_another_one_revokes_nobody(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust_store, "STRANGERS_PINS_KEPT", 1)
    rotated = replace(PIN, source=Source.SELFCERT, rotation_sequence=1)
    newcomer = replace(rotated, peer_id=CAROL.agent_id, identity_public=KEY.public)
    newcomer = replace(newcomer, rotation_sequence=0)
    await write(database, "write_pin", ME, rotated)
    await write(database, "write_pin", ME, newcomer)
    assert await write(database, "find_pin", ME, newcomer.peer_id) is None
    assert not await write(database, "is_revoked", ME, newcomer)


async def test_a_peer_known_by_a_certificate_does_not_hide_its_revocation(database: Database) -> None:
    await write(database, "trust_controller", KEY.public, "acme", START)
    shown = proven(certificate())
    decision = decide(shown, await facts(database, shown), Policy(), own_keys=(), now=START)
    await write(database, "write_pin", ME, decision.pin)
    await write(database, "accept_crl", crl(1, Revoked(SERIAL, None, 0, "")))
    with pytest.raises(PeerError) as caught:
        decide(proven(), await facts(database, proven()), Policy(), own_keys=(), now=START)
    assert caught.value.reason is Reason.REVOKED


async def test_a_database_of_version_1_gets_the_tables_and_keeps_its_pins(tmp_path: Path) -> None:
    async with Database(tmp_path / "old.db") as opened:
        await opened.migrate(MIGRATIONS[:1])
        await opened.run(
            lambda session: session.insert(
                SigningKeyPin,
                self_id=ME,
                peer_id=BOB.agent_id,
                sign_pub="x",
                source="first sight",
                first_seen=0.0,
            )
        )
        assert await opened.migrate(MIGRATIONS) == [2]
        assert await opened.read(lambda session: session.count(SigningKeyPin)) == 1
        assert await opened.read(lambda session: session.count(IdentityPin)) == 0
