"""Control messages that are forged, and messages in states in which they mean nothing."""

from cases_time import World
from catalogue import WORLD, chapter
from stage import NOTHING, Payload, ScriptedPeer, Stage, new_nonce, register_of

from handfast.conversation.model import Role, State

case = chapter("Conversation")


def towards_the_responder(peer: ScriptedPeer) -> list[Payload]:
    """Everything that an initiator can say, with nonces and references that are made up."""
    return [
        peer.message("reconnect", your_ref=new_nonce()),
        peer.message(
            "request", your_nonce=new_nonce(), my_nonce=new_nonce(), sec=peer.sealed({"message": "x"})
        ),
        peer.message("conclude", your_nonce=new_nonce(), my_ref=new_nonce()),
        peer.message("close", your_ref=new_nonce(), my_ref=new_nonce()),
    ]


def towards_the_initiator(peer: ScriptedPeer) -> list[Payload]:
    return [
        peer.message(
            "respond", your_nonce=new_nonce(), my_nonce=new_nonce(), sec=peer.sealed({"message": "x"})
        ),
        peer.message("finish", your_ref=new_nonce(), my_ref=new_nonce()),
    ]


@case(
    "state-responder",
    "in each state of a responder, every message of an initiator with made-up nonces and references",
    "ignored in each; the conversation closes as if nothing had been",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await stage.attacker.say(*towards_the_responder(peer))
    await peer.meet()
    await stage.attacker.say(*towards_the_responder(peer))
    await peer.ask(peer.first_request())
    await stage.attacker.say(*towards_the_responder(peer))
    finish = await peer.conclude()
    await stage.attacker.say(*towards_the_responder(peer))
    await peer.close(finish)
    await stage.attacker.say(*towards_the_responder(peer))
    await peer.say("reconnect", your_ref=finish["my_ref"])
    await peer.hear("confirm")
    assert stage.victim.count("refused", peer=peer.id) == 0
    assert len(await peer.delivered()) == 1


@case(
    "state-initiator",
    "in each state of an initiator, every message of a responder with made-up nonces and references",
    "ignored in each; the conversation closes as if nothing had been",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await stage.attacker.say(*towards_the_initiator(peer))
    await peer.invite()
    await stage.attacker.say(*towards_the_initiator(peer), peer.confirm())
    conclude = await peer.answer_until_conclude()
    await stage.attacker.say(*towards_the_initiator(peer), peer.confirm())
    await peer.finish(conclude)
    await stage.attacker.say(*towards_the_initiator(peer))
    assert stage.victim.count("refused", peer=peer.id) == 0
    assert len(await peer.delivered()) == 4


@case(
    "state-order",
    "the right nonce in the wrong order: `conclude` before the first request, request after `conclude`",
    "ignored",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.meet()
    await peer.say("conclude", your_nonce=peer.echo, my_ref=new_nonce())
    await peer.say("close", your_ref=peer.echo, my_ref=peer.echo)
    await peer.ask(peer.first_request())
    finish = await peer.conclude()
    await stage.attacker.say(peer.next_request())
    await peer.say("conclude", your_nonce=peer.echo, my_ref=new_nonce())
    await peer.close(finish)
    assert len(await peer.delivered()) == 1


@case(
    "forged-null-references",
    "`reconnect`, `finish` and `close` with null, empty or absent references to a peer who holds none",
    "dropped",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    for nothing in NOTHING:
        await peer.say("reconnect", your_ref=nothing)
        await peer.say("finish", your_ref=nothing, my_ref=nothing)
        await peer.say("close", your_ref=nothing, my_ref=nothing)
    await peer.say("reconnect")
    assert stage.victim.count("closed", peer=peer.id) == 0
    await peer.begin()
    await peer.end()


@case(
    "forged-for-others",
    "messages for somebody else, and `register` that is addressed to the victim",
    "not listened to",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await stage.attacker.say(peer.confirm(to=stage.honest.id), register_of(peer.id) | {"to": stage.victim.id})
    await stage.attacker.say(peer.confirm(to=None), peer.confirm(to=[stage.victim.id]), peer.confirm(to=""))
    await stage.assert_unharmed()
    assert not [p for p in stage.attacker.heard if p["from"] == stage.victim.id and p["to"] == peer.id]


@case(
    "forged-control-honest",
    "`conclude`, `finish`, `close` and `reconnect` under the honest peer's id with made-up values, 100 of each",
    "ignored; the honest pair goes on",
)
async def _(stage: Stage) -> None:
    forger = stage.peer()
    forger.id = stage.honest.id
    refused = stage.victim.count("refused", peer=stage.honest.id)
    for _ in range(100):
        await stage.attacker.say(*towards_the_responder(forger), *towards_the_initiator(forger))
    await stage.assert_unharmed()
    assert stage.victim.count("refused", peer=stage.honest.id) == refused


@case(
    "forged-register-storm",
    "the honest peer's `register`, 500 times",
    "the pair goes on",
)
async def _(stage: Stage) -> None:
    await stage.attacker.say(*[register_of(stage.honest.id)] * 500)


@case(
    "forged-conclude-in-time",
    "`conclude` under the peer's id with the nonce that everybody has just seen",
    "that conversation ends early, by timers; the next one closes",
    WORLD,
)
async def _(world: World) -> None:
    await world.cut_at("respond")
    respond = next(line for line in reversed(world.link.recorded) if line["intent"] == "respond")
    forged = {
        "to": respond["from"],
        "from": respond["to"],
        "intent": "conclude",
        "your_nonce": respond["my_nonce"],
    }
    await world.link.put(None, forged | {"my_ref": "a" * 32})
    assert len(world.alice.delivered()) + len(world.bob.delivered()) == len(world.unique_deliveries())


@case(
    "forged-finish-in-time",
    "`finish` with the reference that everybody has just seen in `conclude`",
    "the initiator counts it as closed; the pair reconnects by its timers",
    WORLD,
)
async def _(world: World) -> None:
    await world.cut_at("conclude")
    conclude = next(line for line in reversed(world.link.recorded) if line["intent"] == "conclude")
    forged = {
        "to": conclude["from"],
        "from": conclude["to"],
        "intent": "finish",
        "your_ref": conclude["my_ref"],
    }
    await world.link.put(None, forged | {"my_ref": "b" * 32})


@case(
    "forged-close-in-time",
    "`close` with both references that everybody has just seen",
    "closed, as the initiator wished anyway",
    WORLD,
)
async def _(world: World) -> None:
    await world.cut_at("finish")
    finish = next(line for line in reversed(world.link.recorded) if line["intent"] == "finish")
    forged = {"to": finish["from"], "from": finish["to"], "intent": "close"}
    await world.link.put(None, forged | {"your_ref": finish["my_ref"], "my_ref": finish["your_ref"]})


@case(
    "forged-reconnect-in-time",
    "`reconnect` with the reference that everybody has seen, under the peer's id, every second for a minute",
    "answered by a `confirm`, which the peer takes or leaves; never wedged",
    WORLD,
)
async def _(world: World) -> None:
    for _ in range(60):
        for finish in [line for line in world.link.recorded if line["intent"] == "finish"][-2:]:
            forged = {
                "to": finish["from"],
                "from": finish["to"],
                "intent": "reconnect",
                "your_ref": finish["my_ref"],
            }
            await world.link.put(None, forged)
        await world.link.advance(world.clock, 1)


@case(
    "replay-everything",
    "every line ever said, a second, half a minute and two minutes later",
    "no state changes for good, nothing is delivered or closed by it",
    WORLD,
)
async def _(world: World) -> None:
    await world.ready()
    delivered = len(world.alice.delivered()) + len(world.bob.delivered())
    recorded = list(world.link.recorded)
    world.link.fate = lambda line: 0
    for delay in (1, 30, 120):
        world.clock.seconds += delay
        for line in recorded:
            await world.link.put(None, line)
    assert len(world.alice.delivered()) + len(world.bob.delivered()) == delivered
    for end, other in ((world.alice, world.bob), (world.bob, world.alice)):
        assert await end.state(Role.INITIATOR, other) is State.INIT_READY
    world.link.fate = lambda line: 1
