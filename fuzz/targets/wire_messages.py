"""Any JSON value is a v1 message, a message for nobody here, or refused for one of three reasons; nothing else happens.

A message says what its members say: encoded again it is parsed to an equal one.
"""

import json
from dataclasses import fields
from typing import Any

from handfast.errors import PeerError, Reason
from handfast.wire.v1 import (
    FOR_INITIATOR,
    FOR_RESPONDER,
    Message,
    claimed_nonce,
    claimed_sign_pub,
    encode_message,
    parse_message,
)

ME = "11111111-1111-4111-8111-111111111111"
PEER = "22222222-2222-4222-8222-222222222222"
MEMBERS = (
    "from",
    "to",
    "intent",
    "your_nonce",
    "my_nonce",
    "your_ref",
    "my_ref",
    "hs",
    "sec",
    "message",
    "sign_pub",
)
IS_JSON = True
WORDS = (ME, PEER, *MEMBERS, *FOR_INITIATOR, *FOR_RESPONDER, "a" * 32, "null", "{}", "[]")

_REFUSALS = (Reason.MALFORMED, Reason.PLAINTEXT, Reason.SEC_MISSING)


def check(data: bytes) -> None:
    """Parse `data` as the content of a relayed line."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        message = parse_message(content, ME)
    except PeerError as refusal:
        assert refusal.reason in _REFUSALS
        return
    if message is None:
        assert content["from"] == ME or content["to"] not in (None, ME)
        return
    assert (message.sender, message.intent) == (content["from"], content["intent"])
    assert (message.intent == "register") == (content["to"] is None)
    nonce, key = claimed_nonce(message), claimed_sign_pub(message)
    assert nonce is None or nonce == content["my_nonce"]
    assert key is None or len(key) == 32
    if content.get("sec", "") is not None:  # an explicit null is refused when it is opened; we never write it
        assert repr(_again(message)) == repr(message)  # repr: NaN is not equal to itself


def _again(message: Message) -> Message | None:
    members: dict[str, Any] = {
        field.name: getattr(message, field.name) for field in fields(message) if field.name != "sender"
    }
    to = None if message.intent == "register" else ME
    return parse_message(encode_message(to, message.intent, **members) | {"from": message.sender}, ME)
