"""A received line has a payload or `RecoveryError`, whatever it says, and soon: the fuzzer ends a slow one.

A payload that can be sent arrives as it was sent; what was recovered once is not recovered further.
"""

import json

from summoner.protocol.payload import RecoveryError, recover_with_types, wrap_with_types
from summoner.utils import fully_recover_json

IS_JSON = False
WORDS = (
    *(
        '{"remote_addr":"a:1","content":',
        '{"_version":"1.3.0","_payload":',
        ',"_type":',
        '"str"',
        '"int"',
        '"float"',
    ),
    *(
        '"bool"',
        '"null"',
        "NaN",
        "1e400",
        '\\"',
        "\\\\",
        "\\u005c",
        "[[[[[[[[",
        '{"a":',
        "}",
        '"1"',
        "9" * 30,
    ),
)


def check(data: bytes) -> None:
    """Recover the line `data`; send what comes of it, and receive that."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    try:
        fully = fully_recover_json(text)
    except RecoveryError as error:
        _is_one_short_line(error)
    else:
        assert repr(fully_recover_json(fully)) == repr(fully)  # repr: NaN is not equal to itself
    try:
        payload = recover_with_types(text)
    except RecoveryError as error:
        _is_one_short_line(error)
        return
    try:
        line = wrap_with_types(payload)
    except ValueError as error:  # too deep to be sent
        _is_one_short_line(error)
        return
    assert line.count("\n") == 1
    relayed = json.dumps({"content": line.removesuffix("\n"), "remote_addr": "127.0.0.1:1"})
    assert repr(recover_with_types(relayed)["content"]) == repr(payload)


def _is_one_short_line(error: ValueError) -> None:
    assert str(error).isprintable()
    assert len(str(error)) < 100
