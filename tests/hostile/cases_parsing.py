"""Lines that are no messages, bytes that are no lines, and headers that are not what they should be."""

import json

from catalogue import chapter
from stage import Stage, new_nonce, register_of, wrapped

case = chapter("Framing and parsing")

DEEP = b"[" * 20_000 + b"]" * 20_000


def typed(payload: bytes, types: bytes = b"null") -> bytes:
    return b'{"_version": "1.3.0", "_payload": ' + payload + b', "_type": ' + types + b"}"


@case("parse-scalars", "lines that are JSON, but no objects: `5`, `null`, `[]`, a string", "dropped")
async def _(stage: Stage) -> None:
    await stage.attacker.raw(b"5", b"null", b"[]", b"true", b'"from to intent"', b"1.5", b'""', b"")


@case(
    "parse-not-json",
    "lines that are no JSON: half an object, NUL bytes, control sequences of terminals",
    "dropped",
)
async def _(stage: Stage) -> None:
    await stage.attacker.raw(
        b"{", b"\x00" * 100, b"\x1b[2J\x1b]0;owned\x07", b"\\", b"}{", b"'", b"\xef\xbb\xbf{}"
    )


@case("parse-deep", "20 000 brackets in each other: bare, as payload, as types, as `hs`", "dropped")
async def _(stage: Stage) -> None:
    peer = stage.peer()
    message = json.dumps(peer.message("confirm", my_nonce=new_nonce())).encode()
    await stage.attacker.raw(
        DEEP, typed(DEEP), typed(b"{}", DEEP), typed(message[:-1] + b', "hs": ' + DEEP + b"}")
    )


@case(
    "parse-huge-line", "a line of 10 MB, and one a byte longer than the relay's limit", "dropped by the relay"
)
async def _(stage: Stage) -> None:
    await stage.attacker.raw(b"x" * 10_000_000, b"y" * 65_537)


@case("parse-numbers", "integers of 5 000 digits, `1e400`, NaN and infinities, bare and inside", "dropped")
async def _(stage: Stage) -> None:
    numbers = [b"9" * 5_000, b"1e400", b"NaN", b"-Infinity", b"-0"]
    await stage.attacker.raw(*numbers, *(typed(number, b'"int"') for number in numbers))
    await stage.attacker.raw(*(typed(b'{"to": %s, "from": %s, "intent": %s}' % (n, n, n)) for n in numbers))


@case(
    "parse-repeated-members",
    "objects that name a member twice, `from` and `to` among them",
    "dropped, or one meaning",
)
async def _(stage: Stage) -> None:
    await stage.attacker.raw(b'{"a": 1, "a": 2}', typed(b'{"from": "a", "from": "b"}', b'{"from": "str"}'))
    own, other = stage.peer().id.encode(), stage.honest.id.encode()
    await stage.attacker.raw(
        typed(b'{"to": null, "intent": "register", "from": "%s", "from": "%s"}' % (own, other))
    )


@case(
    "parse-types",
    "`_version`, `_payload` and `_type` that are missing, of other types or contradict each other",
    "dropped",
)
async def _(stage: Stage) -> None:
    await stage.attacker.raw(
        b'{"_version": [], "_payload": {}, "_type": "int"}',
        b'{"_version": "1.3.0", "_payload": {}}',
        b'{"_version": "1.3.0", "_type": "dict"}',
        b'{"_version": "99.0.0", "_payload": {"to": null}, "_type": {"to": "int"}}',
        b'{"_version": "1.3.0", "_payload": {"to": "x"}, "_type": {"to": {"x": ["int"]}}}',
        b'{"_version": "1.3.0", "_payload": [1, 2], "_type": ["int"]}',
    )


@case(
    "parse-wrapper-forged",
    "the relay's own wrapper inside a line, with another `remote_addr`",
    "dropped; the wrapper is data",
)
async def _(stage: Stage) -> None:
    register = wrapped(register_of(stage.peer().id)).decode()
    await stage.attacker.raw(
        b'{"remote_addr": 5, "content": {}}',
        json.dumps({"remote_addr": "127.0.0.1:1", "content": register}).encode(),
        json.dumps(
            {"content": json.dumps({"content": register, "remote_addr": "x"}), "remote_addr": "y"}
        ).encode(),
    )


@case(
    "parse-notice-forged",
    "the relay's notices (`Warning: Server is shutting down.`) as lines of a peer",
    "taken as data",
)
async def _(stage: Stage) -> None:
    await stage.attacker.raw(
        b"Warning: Server is shutting down.",
        b'"Warning: Server disconnected."',
        b"/quit",
        b'{"_payload": "Warning: You have been disconnected due to inactivity.", "_version": "1.3.0", "_type": "str"}',
    )


@case(
    "parse-headers",
    "each header of a message in turn a number, list, object, null, long, NUL, surrogate, true",
    "dropped",
)
async def _(stage: Stage) -> None:
    values = [5, [], {}, None, "x" * 20_000, "\ud800", "\x00", "\x1b[31mred", True, -1.5, {"$gt": ""}]
    whole = stage.peer().message(
        "request", your_nonce="a" * 32, my_nonce="b" * 32, my_ref="1", your_ref="2", sec={"envelope": {}}
    )
    await stage.attacker.say(*(whole | {name: value} for name in whole for value in values))


@case(
    "parse-ids",
    "ids in upper case, without dashes, in braces, with spaces or look-alike characters",
    "dropped",
)
async def _(stage: Stage) -> None:
    own = stage.peer().id
    forms = [
        own.upper(),
        own.replace("-", ""),
        f"{{{own}}}",
        f" {own}",
        f"{own}\n",
        f"urn:uuid:{own}",
        "０" + own[1:],
    ]
    await stage.attacker.say(*(register_of(form) for form in forms))
    await stage.attacker.say(stage.peer().message("confirm") | {"to": stage.victim.id.upper()})


@case(
    "parse-nonces",
    "nonces and references that are too long, empty, in upper case or hold other characters",
    "dropped",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.meet()
    for bad in ("", "A" * 32, "a" * 31, "a" * 33, "a" * 31 + "\n", "'; DROP TABLE pin; --"):
        await stage.attacker.say(peer.first_request(my_nonce=bad), peer.first_request(your_nonce=bad))
    for bad in ("", "a" * 129, "a b", "a\n", "ä", "'); --"):
        await peer.say("conclude", your_nonce=peer.echo, my_ref=bad)
        await peer.say("reconnect", your_ref=bad)
    await peer.ask(peer.first_request())
    assert len(await peer.delivered()) == 1


@case(
    "parse-surrogates",
    "lone surrogates and control characters in every text that is kept or shown",
    "escaped in logs",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    await peer.begin()
    sec = peer.sealed({"message": "\x1b[31mred\x07 \ud800 \u202egnp"})
    await peer.ask(peer.next_request(sec=sec))
    assert (await peer.delivered())[-1] == "\x1b[31mred\x07 \ud800 \u202egnp"


@case(
    "frame-relay-garbage",
    "the relay itself sends bytes that are no frames: noise, NULs, invalid UTF-8, half wrappers",
    "dropped",
)
async def _(stage: Stage) -> None:
    for raw in (
        b"\xff\xfe\x00\x80" * 50,
        b"\x00" * 500,
        b'{"remote_addr":"',
        b'{"content":5,"remote_addr":[]}',
        b"\r\r",
    ):
        stage.relay.say(raw + b"\n")


@case("frame-relay-endless", "the relay sends 5 MB without a line end", "skipped")
async def _(stage: Stage) -> None:
    stage.relay.say(b'{"content":"' + b"z" * 5_000_000 + b'"}\n')


@case(
    "frame-relay-notices",
    "the relay says a thousand times that it is shutting down, and does not",
    "a few log lines, not a thousand",
)
async def _(stage: Stage) -> None:
    before = stage.victim.log.count("\n")
    stage.relay.say(b"Warning: Server is shutting down.\n" * 1_000)
    await stage.assert_unharmed()
    assert stage.victim.log.count("Warning:") <= 3
    assert stage.victim.log.count("\n") - before < 200
