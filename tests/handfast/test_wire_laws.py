"""The codec of version 1's messages as laws: what is encoded is parsed as the same, and has one encoding."""

import json
from dataclasses import fields
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from handfast.wire import limits
from handfast.wire.text import b64encode
from handfast.wire.v1 import (
    Close,
    Conclude,
    Confirm,
    Finish,
    HsBlock,
    Message,
    Reconnect,
    Register,
    Request,
    Respond,
    encode_hs,
    encode_message,
    parse_hs,
    parse_message,
)

law = settings(deadline=None, max_examples=100)

ME = "11111111-1111-4111-8111-111111111111"

ids = st.uuids().map(str).filter(lambda agent_id: agent_id != ME)
nonces = st.binary(min_size=16, max_size=16).map(bytes.hex)
references = st.from_regex(rf"[A-Za-z0-9._:@-]{{1,{limits.REFERENCE_CHARACTERS}}}", fullmatch=True)
blocks = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=5,
)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Register, ids),
    st.builds(Reconnect, ids, references),
    st.builds(Confirm, ids, nonces, st.none() | blocks),
    st.builds(Request, ids, nonces, nonces, st.none() | blocks, blocks),
    st.builds(Respond, ids, nonces, nonces, blocks),
    st.builds(Conclude, ids, nonces, references),
    st.builds(Finish, ids, references, references),
    st.builds(Close, ids, references, references),
)
hs_blocks = st.builds(
    lambda kx_pub, **others: HsBlock(kx_pub=kx_pub, kx_pub_text=b64encode(kx_pub), **others),
    st.binary(min_size=32, max_size=32),
    type=st.text(max_size=8),
    nonce=st.text(max_size=40),
    timestamp=st.text(max_size=40),
    sign_pub=st.binary(min_size=32, max_size=32),
    sig=st.binary(min_size=64, max_size=64),
)


def encoded(message: Message) -> dict[str, Any]:
    """The message as it stands on a line, stamped by its author."""
    members: dict[str, Any] = {
        field.name: getattr(message, field.name) for field in fields(message) if field.name != "sender"
    }
    to = None if message.intent == "register" else ME
    return encode_message(to, message.intent, **members) | {"from": message.sender}


@law
@given(messages)
def test_a_message_that_is_encoded_is_parsed_as_the_same(message: Message) -> None:
    line = json.dumps(encoded(message))
    parsed = parse_message(json.loads(line), ME)
    assert parsed == message
    assert json.dumps(encoded(parsed)) == line


@law
@given(messages, messages)
def test_two_messages_have_two_encodings(one: Message, other: Message) -> None:
    # 1 and True are equal to Python and differ on the wire
    assert (json.dumps(encoded(one)) == json.dumps(encoded(other))) == (repr(one) == repr(other))


@law
@given(hs_blocks)
def test_an_hs_block_that_is_encoded_is_parsed_as_the_same(block: HsBlock) -> None:
    assert parse_hs(json.loads(json.dumps(encode_hs(block)))) == block
