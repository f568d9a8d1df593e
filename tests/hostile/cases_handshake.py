"""Handshakes that are old, somebody else's, of another kind, unasked for or incomplete."""

from typing import Any

from cases_time import World
from catalogue import WORLD, chapter
from stage import NOTHING, Stage, new_nonce

from handfast.wire.text import b64encode

case = chapter("Handshake")


@case(
    "hs-replay-in-window",
    "every line that the honest peer has said so far, at once",
    "nothing is delivered or closed by it",
)
async def _(stage: Stage) -> None:
    recorded = [
        p for p in stage.attacker.heard if p["from"] == stage.honest.id and p["to"] == stage.victim.id
    ]
    delivered = {str(event["message"]) for event in stage.victim.find("delivered")}
    await stage.attacker.say(*recorded[-300:])
    await stage.assert_unharmed()
    texts = [str(event["message"]) for event in stage.victim.find("delivered")]
    assert all(texts.count(text) == 1 for text in delivered)


@case(
    "hs-replay-own",
    "a peer's own `confirm` once more, after its conversation was closed",
    "refused: `hs_replayed`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    nonce = new_nonce()
    confirm = peer.confirm(my_nonce=nonce, hs=peer.hs("response", nonce))
    await stage.attacker.say(confirm)
    peer._derive(await peer.hear("request"))
    await peer.finish(await peer.answer_until_conclude())
    # `init_finalize_close` ends by itself, when its last `close` was repeated
    for _ in range(100):
        await stage.attacker.say(confirm)
        if stage.victim.count("refused", peer=peer.id):
            break
        await stage.assert_unharmed()
    await peer.refused("hs_replayed")


@case(
    "hs-replay-after-window",
    "a recorded `confirm` 61 seconds, an hour and a day later",
    "refused: `hs_stale`, or `hs_replayed` while it is still remembered",
    WORLD,
)
async def _(world: World) -> None:
    confirm = next(
        line for line in world.link.recorded if line["intent"] == "confirm" and line["to"] == world.alice.id
    )
    for later in (61.0, 3_600.0, 86_400.0):
        world.clock.seconds += later
        for end in (world.alice, world.bob):
            await end.driver.tick()
            end.take()
        await world.ready()
        await world.alice.receive(confirm)
        assert world.alice.refusals()[-1] in ("hs_stale", "hs_replayed")


@case(
    "hs-stalled",
    "a fresh `confirm` is withheld from its addressee and shown at the end of its life",
    "that direction waits for its timers, then goes on",
    WORLD,
)
async def _(world: World) -> None:
    await world.ready()
    world.link.fate = lambda line: 0
    world.bob.store.rows.clear()  # type: ignore[attr-defined]
    world.bob.driver = world.bob.new_driver()
    await world.bob.receive({"to": None, "intent": "register", "from": world.alice.id})
    (withheld,) = world.bob.take()
    world.clock.seconds += 59
    await world.alice.receive(withheld)
    world.alice.take()
    world.link.fate = lambda line: 1


@case(
    "hs-type-swapped",
    "`confirm` with `hs.type` init, first request with response",
    "refused: `hs_wrong_type`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    nonce = new_nonce()
    await stage.attacker.say(peer.confirm(my_nonce=nonce, hs=peer.hs("init", nonce)))
    await peer.refused("hs_wrong_type")
    await peer.meet()
    await stage.attacker.say(peer.first_request(my_nonce=nonce, hs=peer.hs("response", nonce)))
    await peer.refused("hs_wrong_type", 2)
    await peer.ask(peer.first_request())


@case(
    "hs-of-another",
    "the honest peer's recorded `hs` under another id: with its own nonce, and with another",
    "refused: `key_under_two_ids`, `hs_nonce_mismatch`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    recorded = stage.heard_from_honest("confirm")
    await peer.say("confirm", my_nonce=recorded["my_nonce"], hs=recorded["hs"])
    await peer.refused("key_under_two_ids")
    await peer.say("confirm", my_nonce=new_nonce(), hs=recorded["hs"])
    await peer.refused("hs_nonce_mismatch")


@case(
    "hs-wrong-echo",
    "a perfect first request that echoes a nonce the victim never sent, or an earlier one",
    "ignored; the right one is still accepted",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.meet()
    await stage.attacker.say(peer.first_request(your_nonce=new_nonce()))
    await stage.attacker.say(peer.first_request(your_nonce=stage.heard_from_honest("respond")["your_nonce"]))
    await peer.ask(peer.first_request())
    assert len(await peer.delivered()) == 1


@case(
    "hs-null-echo",
    "the echo null, absent, empty or a number, before and after there is a nonce to echo",
    "dropped",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    early = peer.first_request()
    for echo in NOTHING:
        await stage.attacker.say(early | {"your_nonce": echo})
    await peer.meet()
    for echo in NOTHING:
        await stage.attacker.say(peer.first_request(your_nonce=echo))
    without = peer.first_request()
    del without["your_nonce"]
    await stage.attacker.say(without)
    await peer.ask(peer.first_request())
    assert len(await peer.delivered()) == 1


@case(
    "hs-unsolicited",
    "a `confirm` to somebody who did not register, and 50 more while it is being answered",
    "one conversation, as if asked for",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    request = await peer.invite()
    for _ in range(50):
        await stage.attacker.say(peer.confirm())
    answer = peer.answer()
    await stage.attacker.say(answer)
    following = await peer.hear("request", your_nonce=answer["my_nonce"])
    assert peer.open(following) != peer.open(request)
    assert stage.victim.count("refused", peer=peer.id) == 0


@case(
    "hs-missing",
    "`confirm` and first request without `hs`, with null, and with what is no object",
    "refused: `hs_missing`, `hs_malformed`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    no_objects: tuple[Any, ...] = (None, [], {}, "hs")
    for nothing in no_objects:
        await stage.attacker.say(peer.confirm(hs=nothing))
    await peer.refused("hs_missing")
    await peer.refused("hs_malformed", 3)
    await peer.meet()
    await stage.attacker.say(peer.first_request(hs=None))
    await peer.refused("hs_missing", 2)
    await peer.ask(peer.first_request())


@case(
    "hs-altered",
    "a first request whose `hs` is right but for one member",
    "refused; the conversation goes on",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.meet()
    changes: dict[str, tuple[Any, str]] = {
        "nonce": (new_nonce(), "hs_nonce_mismatch"),
        "kx_pub": (b64encode(bytes(range(32))), "hs_bad_signature"),
        "sign_pub": (b64encode(stage.peer().signing.public), "hs_bad_signature"),
        "sig": (b64encode(bytes(64)), "hs_bad_signature"),
        "timestamp": ("tomorrow", "hs_timestamp_unreadable"),
    }
    for member, (value, reason) in changes.items():
        request = peer.first_request()
        before = stage.victim.count("refused", peer=peer.id, reason=reason)
        await stage.attacker.say(request | {"hs": request["hs"] | {member: value}})
        await peer.refused(reason, before + 1)
    await peer.ask(peer.first_request())
    await peer.end()


@case(
    "hs-times",
    "timestamps an hour old, an hour ahead, of the years 1 and 9999, of the 31st of February",
    "refused: `hs_stale`, `hs_from_the_future`, `hs_timestamp_unreadable`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    for ahead, reason in ((-3_600, "hs_stale"), (3_600, "hs_from_the_future"), (62, "hs_from_the_future")):
        nonce = new_nonce()
        await stage.attacker.say(peer.confirm(my_nonce=nonce, hs=peer.hs("response", nonce, ahead=ahead)))
        await peer.refused(reason)
    nonce = new_nonce()
    hs = peer.hs("response", nonce)
    for time, reason in (
        ("0001-01-01T00:00:00", "hs_stale"),
        ("9999-12-31T23:59:59", "hs_from_the_future"),
        ("2026-02-31T00:00:00", "hs_timestamp_unreadable"),
        ("2026-01-01T00:00:00+99:00", "hs_timestamp_unreadable"),
    ):
        before = stage.victim.count("refused", peer=peer.id, reason=reason)
        await stage.attacker.say(peer.confirm(my_nonce=nonce, hs=hs | {"timestamp": time}))
        await peer.refused(reason, before + 1)


@case(
    "hs-in-mid-conversation",
    "a second, perfect first request in the middle of a conversation, to change the key",
    "refused; the old key stays",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.begin()
    nonce = new_nonce()
    other = stage.peer()
    request = peer.next_request(my_nonce=nonce, hs=peer.hs("init", nonce, exchange=other.exchange.public))
    request["sec"] = peer.sealed({"message": "under another key"}, other.key)
    await stage.attacker.say(request)
    await peer.refused("sec_does_not_open")
    await peer.end()
