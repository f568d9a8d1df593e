"""Sealed messages that are repeated, moved, altered, hollow, or absent."""

import hashlib
import secrets
from typing import Any

from catalogue import chapter
from stage import Payload, ScriptedPeer, Stage

from handfast.crypto.aead import aes_seal
from handfast.wire.text import b64decode, b64encode, canonical_json

case = chapter("Transport")


def sealed_bytes(peer: ScriptedPeer, plaintext: bytes, digest: bytes | None = None) -> Payload:
    """A signed envelope around any bytes, with any hash."""
    digest = digest or hashlib.sha256(plaintext).digest()
    nonce = secrets.token_bytes(12)
    envelope: dict[str, Any] = {
        "nonce": b64encode(nonce),
        "ciphertext": b64encode(aes_seal(peer.key.reveal(), nonce, plaintext, digest)),
        "hash": b64encode(digest),
        "ts": "2026-01-01T00:00:00",
    }
    return {"envelope": envelope, "sig": b64encode(peer.signing.sign(canonical_json(envelope)))}


async def refused_then_on(stage: Stage, peer: ScriptedPeer, reason: str, *secs: Any) -> None:
    """Each `sec` in a next request is refused with that reason, nothing is delivered, and the conversation ends well."""
    delivered = len(await peer.delivered())
    for number, sec in enumerate(secs, 1):
        await stage.attacker.say(peer.next_request(sec=sec))
        await peer.refused(reason, number)
    assert len(await peer.delivered()) == delivered
    await peer.end()
    assert len(await peer.delivered()) == delivered + 1


@case(
    "sec-replayed",
    "the `sec` of an earlier turn in a new request with a new nonce",
    "refused: `sec_replayed`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.meet()
    first = peer.first_request()
    await peer.ask(first)
    await refused_then_on(stage, peer, "sec_replayed", first["sec"])


@case("sec-message-replayed", "a whole earlier request again, once it is no longer the last one", "ignored")
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.meet()
    first = peer.first_request()
    await peer.ask(first)
    await peer.ask(peer.next_request())
    await stage.attacker.say(first, first | {"your_nonce": peer.echo})
    await peer.refused("nonce_replayed")
    await peer.end()
    assert len(await peer.delivered()) == 3


@case(
    "sec-other-intent",
    "the victim's own `sec` of a respond, as the peer's next request",
    "refused: `sec_bad_signature`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    respond = await peer.begin()
    await refused_then_on(stage, peer, "sec_bad_signature", respond["sec"])


@case(
    "sec-other-peer",
    "the honest peer's recorded `sec` in somebody else's conversation",
    "refused: `sec_bad_signature`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.begin()
    await refused_then_on(stage, peer, "sec_bad_signature", stage.heard_from_honest("request")["sec"])


@case(
    "sec-other-conversation",
    "a `sec` of the peer's own, sealed in his conversation in the other direction",
    "refused: `sec_does_not_open`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.invite()
    answer = peer.answer()
    await peer.begin()
    await refused_then_on(stage, peer, "sec_does_not_open", answer["sec"])


@case("sec-plaintext", "requests and responds with a plain `message` and no `sec`", "refused: `plaintext`")
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.begin()
    request = peer.next_request(message="How are you?")
    del request["sec"]
    await stage.attacker.say(request)
    await peer.refused("plaintext")
    await peer.end()
    await peer.invite()
    answer = peer.answer(message="I am OK!")
    del answer["sec"]
    await stage.attacker.say(answer)
    await peer.refused("plaintext", 2)
    assert "How are you?" not in (await peer.delivered())
    assert "I am OK!" not in (await peer.delivered())


@case(
    "sec-broken-beside-plaintext",
    "a broken `sec` beside a plain `message`",
    "refused; the plain one is never looked at",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.begin()
    broken: tuple[Any, ...] = ({}, None, [], "sec", {"envelope": {}, "sig": ""})
    for number, sec in enumerate(broken, 1):
        await stage.attacker.say(peer.next_request(sec=sec, message="plain"))
        await peer.refused("sec_malformed", number)
    good = peer.next_request(message="plain")
    await peer.ask(good)
    assert "plain" not in (await peer.delivered())
    await peer.end()


@case("sec-missing", "a request with neither `sec` nor `message`", "refused: `sec_missing`")
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.begin()
    request = peer.next_request()
    del request["sec"]
    await stage.attacker.say(request)
    await peer.refused("sec_missing")
    await peer.end()


@case(
    "sec-altered",
    "one bit of nonce, ciphertext, hash or signature is another, or the time, or a member is added",
    "refused: `sec_bad_signature`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.begin()
    sec = peer.sealed({"message": "never to be read"})
    envelope = sec["envelope"]

    def flipped(text: str) -> str:
        raw = bytearray(b64decode(text))
        raw[len(raw) // 2] ^= 4
        return b64encode(bytes(raw))

    altered = [
        sec | {"envelope": envelope | {name: flipped(envelope[name])}}
        for name in ("nonce", "ciphertext", "hash")
    ]
    altered += [
        sec | {"envelope": envelope | {"ts": "2026-01-01T00:00:00"}},
        sec | {"envelope": envelope | {"x": 1}},
    ]
    await refused_then_on(stage, peer, "sec_bad_signature", *altered, sec | {"sig": flipped(sec["sig"])})


@case(
    "sec-altered-and-signed",
    "the peer signs an envelope whose ciphertext or hash he has altered himself",
    "refused: `sec_does_not_open`, `sec_hash_mismatch`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.begin()
    sec = sealed_bytes(peer, b'{"message":"x"}')
    envelope = sec["envelope"] | {"ciphertext": b64encode(bytes(40))}
    signed = {"envelope": envelope, "sig": b64encode(peer.signing.sign(canonical_json(envelope)))}
    await stage.attacker.say(peer.next_request(sec=signed))
    await peer.refused("sec_does_not_open")
    await refused_then_on(stage, peer, "sec_hash_mismatch", sealed_bytes(peer, b'{"message":"x"}', bytes(32)))


@case(
    "sec-not-json",
    "an authentic envelope that holds no JSON, a member twice, NaN, or 10 000 brackets",
    "refused: `sec_not_json`",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.begin()
    inside = (
        b"",
        b"\xff\xfe",
        b'{"message":1,"message":2}',
        b'{"message":NaN}',
        b'{"message":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    )
    await refused_then_on(
        stage, peer, "sec_not_json", *(sealed_bytes(peer, plaintext) for plaintext in inside)
    )


@case("sec-hollow", "an authentic envelope that holds no `message`, or no object", "refused: `sec_malformed`")
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.begin()
    inside = (b"{}", b"[]", b"5", b'{"Message":1}')
    await refused_then_on(
        stage, peer, "sec_malformed", *(sealed_bytes(peer, plaintext) for plaintext in inside)
    )


@case(
    "sec-largest",
    "the largest message that fits a line, from a peer who may say it",
    "delivered and answered",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.begin()
    large = "x" * 39_000
    await peer.ask(peer.next_request(sec=peer.sealed({"message": large})))
    assert (await peer.delivered())[-1] == large
    await peer.end()
