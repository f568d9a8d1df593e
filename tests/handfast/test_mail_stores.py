"""What every mailbox promises, held against each store; and that what people say stands in no file unsealed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fake_world import START
from mail_world import identity_of

from handfast.adapters.memory import MemoryStore
from handfast.adapters.sqlite import SqliteStore
from handfast.conversation import gossip
from handfast.conversation.model import PeerState, Role
from handfast.mail import (
    INBOX_LETTERS,
    LETTERS_BYTES,
    LETTERS_IN_A_PACKET,
    OUTBOX_LETTERS,
    SETTLED_KEPT,
    Arrival,
    Arrived,
    Fate,
    LettersDelivered,
    LettersGivenUp,
    LettersSent,
    Marks,
    Settled,
    StreamLost,
    Took,
)
from handfast.wire.limits import FRAMES, PLAINTEXT_BYTES
from handfast.wire.v2.frames import padded_size

ALICE, BOB, CAROL = (identity_of(name, START) for name in ("alice", "bob", "carol"))
STREAM, OTHER_STREAM = b"stream 1", b"stream 2"

Store = MemoryStore | SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore(ALICE.agent_id)
        return
    opened = SqliteStore(tmp_path / "a.db", ALICE)
    await opened.open()
    yield opened
    await opened.close()


async def ask(store: Store, verb: str, *arguments: Any, **named: Any) -> Any:
    return await store.run(lambda t: getattr(t.mail, verb)(*arguments, **named))


async def post(store: Store, text: str, expires_at: float | None = None, peer: str = BOB.agent_id) -> Any:
    body = f'"{text}"'.encode()
    return await ask(store, "post", peer, body, stream=STREAM, now=START, expires_at=expires_at)


async def apply(store: Store, *effects: Any, peer: str = BOB.agent_id) -> None:
    """As a step does, in the transaction of its state."""
    state = PeerState.of_stranger(ALICE.agent_id, Role.INITIATOR, peer)
    await store.run(lambda t: t.commit(state, effects, START))


async def numbers(store: Store, now: float = START, after: int = 0) -> list[int]:
    return [letter.number for letter in await ask(store, "letters", BOB.agent_id, now, after)]


async def test_letters_are_numbered_for_each_peer_in_one_stream(store: Store) -> None:
    assert [await post(store, "a"), await post(store, "b"), await post(store, "c", peer=CAROL.agent_id)] == [
        1,
        2,
        1,
    ]
    assert await ask(store, "marks", BOB.agent_id) == Marks(STREAM, posted=2)
    assert [(one.number, one.body) for one in await ask(store, "letters", BOB.agent_id, START)] == [
        (1, b'"a"'),
        (2, b'"b"'),
    ]
    assert await ask(store, "waiting") == {BOB.agent_id: 2, CAROL.agent_id: 1}


async def test_a_letter_waits_until_it_is_done_with(store: Store) -> None:
    for text in "abcd":
        await post(store, text)
    await apply(store, LettersSent(3))
    assert await numbers(store) == [1, 2, 3, 4]
    await apply(store, LettersDelivered((1,)), LettersGivenUp(expired=(4,), unknown=(2,)))
    assert await numbers(store) == [3]
    assert await ask(store, "fates", BOB.agent_id) == {
        1: Fate.DELIVERED,
        2: Fate.UNKNOWN,
        3: Fate.WAITING,
        4: Fate.EXPIRED,
    }
    assert (await ask(store, "marks", BOB.agent_id)).sent == 3


async def test_the_first_word_about_a_letter_is_the_last(store: Store) -> None:
    await post(store, "a")
    await apply(store, LettersGivenUp(expired=(), unknown=(1,)))
    await apply(store, LettersDelivered((1,)))
    assert await ask(store, "fates", BOB.agent_id) == {1: Fate.UNKNOWN}


async def test_a_lost_stream_takes_what_was_sent_with_it_and_leaves_the_rest(store: Store) -> None:
    for text in "abc":
        await post(store, text)
    await apply(store, LettersSent(2))
    await apply(store, StreamLost(OTHER_STREAM, 2))
    assert await ask(store, "fates", BOB.agent_id) == {1: Fate.UNKNOWN, 2: Fate.UNKNOWN, 3: Fate.WAITING}
    assert await ask(store, "marks", BOB.agent_id) == Marks(OTHER_STREAM, posted=3)
    assert await post(store, "d") == 4


async def test_letters_whose_time_is_over_are_passed_over_and_then_given_up(store: Store) -> None:
    await post(store, "a", START + 1)
    await post(store, "b", START + 2)
    await post(store, "c")
    await apply(store, LettersSent(1))
    assert await ask(store, "next_expiry") == START + 1
    assert await ask(store, "overdue", BOB.agent_id, START + 2) == [1, 2]
    assert await numbers(store, START + 2) == [3]
    assert await ask(store, "expire", START + 2) == [
        Settled(BOB.agent_id, 1, Fate.UNKNOWN),
        Settled(BOB.agent_id, 2, Fate.EXPIRED),
    ]
    assert await ask(store, "next_expiry") is None
    assert await ask(store, "expire", START + 2) == []


async def test_a_packet_gets_twelve_letters_or_thirty_kibibytes(store: Store) -> None:
    for text in range(14):
        await post(store, str(text))
    assert await numbers(store) == list(range(1, 13))
    assert await numbers(store, after=12) == [13, 14]
    for peer, size, count in ((CAROL.agent_id, LETTERS_BYTES - 2, 1), ("x", LETTERS_BYTES // 2 - 2, 2)):
        for _ in range(3):
            await post(store, "x" * size, peer=peer)
        assert len(await ask(store, "letters", peer, START)) == count


def test_a_packet_of_letters_has_room_for_new_keys_and_a_revocation_list() -> None:
    member = len('{"message":,"n":9007199254740991,"s":"uAAAAAAAAAAA"}') + 4
    beside = gossip._LIST_BYTES + 4 + 256  # REKEY_INIT is 52 bytes
    assert padded_size(LETTERS_BYTES + LETTERS_IN_A_PACKET * member + beside) <= PLAINTEXT_BYTES
    assert LETTERS_IN_A_PACKET + 3 <= FRAMES


async def test_the_outbox_of_a_peer_is_bounded(store: Store) -> None:
    for _ in range(OUTBOX_LETTERS):
        assert await post(store, "x")
    assert await post(store, "x") is None
    assert await post(store, "x", peer=CAROL.agent_id) == 1
    await apply(store, LettersDelivered((1,)))
    assert await post(store, "x") == OUTBOX_LETTERS + 1


async def test_what_became_of_letters_is_forgotten_after_many_others(store: Store) -> None:
    for number in range(1, OUTBOX_LETTERS + SETTLED_KEPT + 5):
        assert await post(store, "x") == number
        if number != 2:
            await apply(store, LettersDelivered((number,)))
    fates = await ask(store, "fates", BOB.agent_id)
    assert min(fates) == 2, "which still waits"
    assert min(set(fates) - {2}) == 5


async def test_messages_are_taken_once_in_the_order_of_their_arrival(store: Store) -> None:
    await apply(store, Arrived({"n": 1}, "v2-cert"), Took(STREAM, 1))
    await apply(store, Arrived([2], "v2-pin"), peer=CAROL.agent_id)
    first = await ask(store, "take")
    assert first == Arrival(BOB.agent_id, {"n": 1}, "v2-cert")
    await ask(store, "put_back", first, START)
    await apply(store, Arrived("3", "v2-pin"))
    assert [await ask(store, "take") for _ in range(4)] == [
        first,
        Arrival(CAROL.agent_id, [2], "v2-pin"),
        Arrival(BOB.agent_id, "3", "v2-pin"),
        None,
    ]
    assert await ask(store, "marks", BOB.agent_id) == Marks(their_stream=STREAM, taken=1)


async def test_a_message_is_put_back_before_those_that_came_meanwhile(store: Store) -> None:
    await apply(store, Arrived(1, "v2-pin"))
    first = await ask(store, "take")
    await apply(store, Arrived(2, "v2-pin"), Arrived(3, "v2-pin"))
    await ask(store, "put_back", first, START)
    assert [(await ask(store, "take")).message for _ in range(3)] == [1, 2, 3]


async def test_the_inbox_has_room_for_some_of_each_peer(store: Store) -> None:
    await apply(store, *[Arrived(None, "v2-pin")] * (INBOX_LETTERS - 1))
    assert await ask(store, "room", BOB.agent_id) == 1
    assert await ask(store, "room", CAROL.agent_id) == INBOX_LETTERS


async def test_a_transaction_that_fails_posts_and_takes_nothing(store: Store) -> None:
    await apply(store, Arrived(1, "v2-pin"))

    def work(transaction: Any) -> None:
        transaction.mail.post(BOB.agent_id, b"1", stream=STREAM, now=START, expires_at=None)
        transaction.mail.take()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.run(work)
    assert await ask(store, "waiting") == {}
    assert (await ask(store, "take")).message == 1


def holds_none_of(directory: Path, word: bytes) -> bool:
    return not any(word in file.read_bytes() for file in directory.iterdir())


async def test_what_people_say_stands_in_no_file_unsealed_and_outlives_the_process(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", ALICE)
    await store.open()
    await post(store, "a whisper to bob")
    await apply(store, Arrived("a whisper from bob", "v2-pin"))
    assert holds_none_of(tmp_path, b"whisper")
    await store.close()
    again = SqliteStore(tmp_path / "a.db", ALICE)
    await again.open()
    assert [letter.body for letter in await ask(again, "letters", BOB.agent_id, START)] == [
        b'"a whisper to bob"'
    ]
    assert (await ask(again, "take")).message == "a whisper from bob"
    await again.close()


async def test_a_sealed_letter_in_another_place_is_passed_over(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", ALICE)
    await store.open()
    await post(store, "a")
    await post(store, "b")
    await apply(store, Arrived("from bob", "v2-pin"))
    await store._database.execute(
        "UPDATE mail_out SET body = (SELECT body FROM mail_out WHERE number = 2) WHERE number = 1"
    )
    await store._database.execute("UPDATE mail_in SET peer_id = ?", (CAROL.agent_id,))
    assert await numbers(store) == [2]
    assert await ask(store, "fates", BOB.agent_id) == {1: Fate.UNKNOWN, 2: Fate.WAITING}
    assert await ask(store, "take") is None
    await store.close()
