"""The encodings under every message: a value or `EncodingError`, and one text for each value.

Strict JSON that is read and written canonically is read back as the same value; base64 that decodes is what encoding
makes of its bytes; text made printable is printable, bounded, and stays as it is the second time.
"""

import contextlib

from handfast.wire import limits
from handfast.wire.text import (
    EncodingError,
    b64decode,
    b64encode,
    b64url_decode,
    b64url_encode,
    canonical_json,
    depth_exceeds,
    printable,
    strict_json,
)

IS_JSON = False
WORDS = (
    "true",
    "false",
    "null",
    "NaN",
    "-Infinity",
    "1e999",
    "-0.0",
    "\\ud83d",
    "\\u005c",
    "[" * 30,
    "]" * 30,
    '{"a":',
    "AA==",
    "uAA",
)


def check(data: bytes) -> None:
    """Read `data` in every encoding."""
    try:
        value = strict_json(data)
    except EncodingError:
        pass
    else:
        _check_json(value)
    text = data.decode("latin-1")
    with contextlib.suppress(EncodingError):
        assert b64encode(b64decode(text)) == text
    with contextlib.suppress(EncodingError):
        assert b64url_encode(b64url_decode(text)) == text
    assert b64decode(b64encode(data)) == b64url_decode(b64url_encode(data)) == data
    shown = printable(data.decode("utf-8", "surrogateescape"), at_most=100)
    assert shown.isprintable()
    assert len(shown) <= 100 * len("\\U00010ffff")
    assert printable(shown, at_most=len(shown)) == shown


def _check_json(value: object) -> None:
    assert not depth_exceeds(value, limits.MESSAGE_DEPTH)
    canonical = canonical_json(value)
    assert canonical.isascii()
    again = strict_json(canonical)
    assert again == value
    assert canonical_json(again) == canonical
