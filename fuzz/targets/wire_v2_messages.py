"""Any JSON value is a message of version 2, a message for nobody here, or refused for one of four reasons.

A message has one encoding: encoded again it is parsed to an equal one, with an equal header digest.
"""

import json

from handfast.errors import PeerError, Reason
from handfast.wire.text import b64url_encode
from handfast.wire.v2.messages import (
    FOR_INITIATOR,
    FOR_RESPONDER,
    K1,
    N2,
    digest_of,
    encode_message,
    is_v2,
    parse_message,
)

ME = "11111111-1111-4111-8111-111111111111"
PEER = "22222222-2222-4222-8222-222222222222"
IS_JSON = True
WORDS = (
    *(
        "from",
        "to",
        "intent",
        "your_nonce",
        "my_nonce",
        "your_ref",
        "my_ref",
        "hs",
        "sec",
        "v",
        "t",
        "o",
        "s",
        "m",
        "i",
    ),
    *("g", "gd", "b", "offer", "register", "confirm", "reconnect", *FOR_INITIATOR, *FOR_RESPONDER, ME, PEER),
    *(b64url_encode(bytes(size)) for size in (16, 22, 26, 34, 80)),
)

_REFUSALS = (Reason.FORMAT, Reason.ENCODING, Reason.VERSION, Reason.TOO_LARGE)


def check(data: bytes) -> None:
    """Parse `data` as the content of a relayed line."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return
    claims = is_v2(content)
    try:
        message = parse_message(content, ME)
    except PeerError as refusal:
        assert refusal.reason in _REFUSALS
        return
    if message is None:
        assert content["from"] == ME or content["to"] not in (None, ME)
        return
    assert claims
    assert (message.sender, message.header.intent) == (content["from"], content["intent"])
    again = parse_message(encode_message(message) | {"from": message.sender}, ME)
    assert again == message
    assert again is not None
    assert again.header.digest() == message.header.digest()
    if isinstance(message, N2 | K1):
        assert isinstance(again, N2 | K1)
        assert digest_of(again) == digest_of(message)
