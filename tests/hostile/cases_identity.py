"""Keys that prove nothing, keys that are somebody else's, and ids whose key is another one today."""

import asyncio
import contextlib
import sqlite3

from catalogue import chapter
from stage import Stage, new_nonce

from handfast.adapters.files import new_identity
from handfast.wire.text import b64decode, b64encode

case = chapter("Identity and keys")

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
# the X25519 points of small order, and their encodings beyond the prime (RFC 7748, section 6.1; known since curve25519's paper)
WEAK_X25519 = [
    n.to_bytes(32, "little")
    for n in (
        0, 1, P - 1, P, P + 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
]  # fmt: skip
# y coordinates on edwards25519: the neutral element, order 2, order 4, order 8
WEAK_ED25519 = [
    *(n.to_bytes(32, "little") for n in (1, P - 1, 0)),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]
NOT_CANONICAL_ED25519 = [n.to_bytes(32, "little") for n in (P, P + 1, 2**255 - 1)]
# R the neutral element, S zero: under a key of order 1 this signs every message there is
UNIVERSAL_SIGNATURE = b"\x01" + bytes(63)


def pins(stage: Stage) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(stage.victim.database())) as database:
        return dict(database.execute("SELECT peer_id, sign_pub FROM pin"))


@case(
    "key-x25519-small-order",
    "a `confirm` with each of the seven X25519 keys that force a known secret",
    "refused: `weak_key`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    for public in WEAK_X25519:
        nonce = new_nonce()
        await peer.say("confirm", my_nonce=nonce, hs=peer.hs("response", nonce, exchange=public))
    await peer.refused("weak_key", len(WEAK_X25519))


@case(
    "key-ed25519-small-order",
    "a `confirm` signed with a key of small order, whose one signature fits every text",
    "refused: `weak_key`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    for public in WEAK_ED25519:
        forged = {"sign_pub": b64encode(public), "sig": b64encode(UNIVERSAL_SIGNATURE)}
        nonce = new_nonce()
        await peer.say("confirm", my_nonce=nonce, hs=peer.hs("response", nonce) | forged)
    await peer.refused("weak_key", len(WEAK_ED25519))


@case("key-ed25519-not-canonical", "signing keys written beyond the prime", "refused: `weak_key`")
async def _(stage: Stage) -> None:
    peer = stage.peer()
    for public in NOT_CANONICAL_ED25519:
        nonce = new_nonce()
        hs = peer.hs("response", nonce) | {
            "sign_pub": b64encode(public),
            "sig": b64encode(UNIVERSAL_SIGNATURE),
        }
        await peer.say("confirm", my_nonce=nonce, hs=hs)
    await peer.refused("weak_key", len(NOT_CANONICAL_ED25519))


@case(
    "key-signature-malleable",
    "a good signature with the group's order added to its S",
    "refused: `hs_bad_signature`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    nonce = new_nonce()
    hs = peer.hs("response", nonce)
    signature = b64decode(hs["sig"], 64)
    s = int.from_bytes(signature[32:], "little") + ORDER
    await peer.say(
        "confirm", my_nonce=nonce, hs=hs | {"sig": b64encode(signature[:32] + s.to_bytes(32, "little"))}
    )
    await peer.refused("hs_bad_signature")


@case(
    "key-encodings",
    "the same key in other texts: trailing bits, no padding, spaces, URL alphabet, wrong sizes",
    "refused: `hs_malformed`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    nonce = new_nonce()
    hs = peer.hs("response", nonce)
    text = hs["kx_pub"]
    last = chr(ord(text[-2]) + 1)
    for other in (
        text[:-2] + last + "=",
        text[:-1],
        text + "\n",
        f" {text}",
        text.replace("=", ""),
        b64encode(bytes(31)),
        "",
    ):
        await peer.say("confirm", my_nonce=nonce, hs=hs | {"kx_pub": other})
    await peer.refused("hs_malformed", 7)


@case(
    "key-own-confirm-reflected",
    "the victim's own `confirm`, as if a peer had said it",
    "refused: `own_key_reflected`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    confirm = await peer.meet()
    await peer.say("confirm", my_nonce=confirm["my_nonce"], hs=confirm["hs"])
    await peer.refused("own_key_reflected")


@case(
    "key-own-request-reflected",
    "the victim's own `hs` and `sec` of a request, as another's first request",
    "refused: `own_key_reflected`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    request = await peer.invite()
    confirm = await peer.meet()
    await peer.say(
        "request",
        your_nonce=confirm["my_nonce"], my_nonce=request["my_nonce"], hs=request["hs"], sec=request["sec"],
    )  # fmt: skip
    await peer.refused("own_key_reflected")
    assert (await peer.delivered()) == []


@case(
    "key-own-lines-reflected",
    "every line the victim said so far, unchanged, under its own id",
    "not listened to",
)
async def _(stage: Stage) -> None:
    refusals = stage.victim.count("refused")
    own = [payload for payload in stage.attacker.heard if payload["from"] == stage.victim.id][-200:]
    await stage.attacker.say(*own)
    await stage.assert_unharmed()
    assert stage.victim.count("refused") == refusals


@case(
    "key-exchange-reflected",
    "the victim's own X25519 key of this very handshake, signed by the peer",
    "refused: `sec_does_not_open`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    confirm = await peer.meet()
    nonce = new_nonce()
    hs = peer.hs("init", nonce, exchange=b64decode(confirm["hs"]["kx_pub"], 32))
    await stage.attacker.say(peer.first_request(my_nonce=nonce, hs=hs))
    await peer.refused("sec_does_not_open")
    await peer.ask(peer.first_request())


@case(
    "key-under-two-ids",
    "a key that is pinned for one id speaks under a second",
    "refused: `key_under_two_ids`",
)
async def _(stage: Stage) -> None:
    peer, second = stage.peer(), stage.peer()
    await peer.begin()
    await peer.end()
    second.signing = peer.signing
    await stage.attacker.say(second.confirm())
    await second.refused("key_under_two_ids")
    await second.meet()
    await stage.attacker.say(second.first_request())
    await second.refused("key_under_two_ids", 2)
    assert second.id not in pins(stage)


@case(
    "key-changed",
    "a known id proves a session with another key, in both roles",
    "refused: `key_changed`; the pin stays",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.begin()
    finish = await peer.conclude()
    await peer.close(finish)
    pinned = pins(stage)[peer.id]
    peer.signing = new_identity().signing_key
    await stage.attacker.say(peer.confirm())
    await peer.refused("key_changed")
    for _ in range(10):  # the victim may have others to serve first
        await peer.say("reconnect", your_ref=finish["my_ref"])
        with contextlib.suppress(TimeoutError):
            peer._derive(await asyncio.wait_for(peer.hear("confirm"), 2))
            break
    await stage.attacker.say(peer.first_request())
    await peer.refused("key_changed", 2)
    assert pins(stage)[peer.id] == pinned


@case(
    "key-honest-id-taken",
    "a stranger's key under the honest peer's id, again and again",
    "never accepted; the honest pair goes on",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    peer.id = stage.honest.id
    pinned = pins(stage)[stage.honest.id]
    refused = {"peer": peer.id, "reason": "key_changed"}
    for _ in range(400):
        # which of them meets the victim's initiator between two conversations is chance
        await stage.attacker.say(peer.confirm())
        await asyncio.sleep(0.01)
        if stage.victim.count("refused", **refused):
            break
    assert stage.victim.count("refused", **refused) >= 1
    assert pins(stage)[stage.honest.id] == pinned


@case("key-unproven", "an `hs` that is proven, and no envelope under its session key", "nothing is pinned")
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.invite()
    await stage.attacker.say(peer.answer(sec=stage.heard_from_honest("request")["sec"]))
    await peer.refused("sec_bad_signature")
    assert peer.id not in pins(stage)


@case(
    "key-first-come-two-keys",
    "two keys prove sessions for one new id at the same time, one in each role",
    "one is pinned, the other refused: `key_changed`",
)
async def _(stage: Stage) -> None:
    peer, double = stage.peer(), stage.peer()
    double.id = peer.id
    await double.invite()
    await peer.begin()
    await stage.attacker.say(double.answer())
    await double.refused("key_changed")
    assert pins(stage)[peer.id] == b64encode(peer.signing.public)
    await peer.end()
