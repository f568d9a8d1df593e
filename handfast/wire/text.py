"""The encodings under every message: strict base64, canonical JSON, strict JSON, and text made safe to show."""

import base64
import binascii
import json
import math
from typing import NoReturn

from handfast.wire import limits

# A JSON value. Not spelled out recursively: what comes from outside is checked at run time, and `object` makes sure
# that nobody uses a part of it unchecked.
Json = object


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


class EncodingError(ValueError):
    """The text is not what its encoding demands."""


def b64encode(raw: bytes) -> str:
    """Standard base64 with padding (RFC 4648, section 4)."""
    return binascii.b2a_base64(raw, newline=False).decode("ascii")


def b64decode(text: str, size: int | None = None, at_most: int = limits.CIPHERTEXT_BYTES) -> bytes:
    """The bytes of standard base64 with padding, of which exactly one encoding is accepted.

    Args:
        text: the base64 text.
        size: how many bytes it must hold; any number up to `at_most` if None.
        at_most: how many bytes it may hold.

    Raises:
        EncodingError: other characters, missing padding, non-zero trailing bits, or another size.
    """
    if len(text) > 4 * ((at_most + 2) // 3):
        raise EncodingError("base64 text too long")
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise EncodingError("not base64") from None
    # The strict decoder takes nothing but the alphabet and padding at the end; it lets non-zero trailing bits pass, so
    # that one value would have several texts. Those bits stand in the last four characters.
    if len(text) != 4 * ((len(raw) + 2) // 3) or b64encode(raw[(len(raw) - 1) // 3 * 3 :]) != text[-4:]:
        raise EncodingError("not canonical base64")
    if (size is not None and len(raw) != size) or len(raw) > at_most:
        raise EncodingError("base64 of an unexpected size")
    return raw


def b64url_encode(raw: bytes) -> str:
    """`u` and unpadded base64url, the B(x) of v2-handshake.md, section 4.2."""
    return "u" + base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def b64url_decode(text: str, size: int | None = None) -> bytes:
    """The inverse of `b64url_encode`.

    Raises:
        EncodingError: the text is not exactly what `b64url_encode` makes of some bytes, or of another size.
    """
    if not text.startswith("u"):
        raise EncodingError("base64url text must begin with u")
    body = text[1:].replace("-", "+").replace("_", "/")
    raw = b64decode(body + "=" * (-len(body) % 4), size)
    if b64url_encode(raw) != text:
        raise EncodingError("not canonical base64url")
    return raw


def canonical_json(value: Json) -> bytes:
    """Keys sorted, no spaces, non-ASCII escaped: the one form in which v1 hashes, seals and signs JSON.

    Raises:
        EncodingError: the value is not JSON (another type, NaN or an infinity, a cycle, too deep).
    """
    try:
        return _CANONICAL.encode(value).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodingError(f"not a JSON value: {type(error).__name__}") from None


def strict_json(raw: bytes) -> Json:
    """The value of JSON bytes from an authenticated but not trusted source.

    Raises:
        EncodingError: not UTF-8, not JSON, a key given twice, NaN or an infinity, or nested too deeply.
    """
    try:
        value: Json = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (
        ValueError,
        RecursionError,
    ):  # UnicodeDecodeError, JSONDecodeError and EncodingError are ValueErrors
        raise EncodingError("not JSON") from None
    if depth_exceeds(value, limits.MESSAGE_DEPTH):
        raise EncodingError("nested too deeply")
    return value


def depth_exceeds(value: Json, limit: int) -> bool:
    """Whether lists (or tuples) and objects, empty ones too, stand more than `limit` deep in each other; never recurses."""
    level = [value]
    for _ in range(limit + 1):
        containers = [item for item in level if isinstance(item, dict | list | tuple)]
        if not containers:
            return False
        level = [
            child for item in containers for child in (item.values() if isinstance(item, dict) else item)
        ]
    return True


def printable(text: str, at_most: int = 200) -> str:
    """`text` fit for a terminal or a log line: control characters and lone surrogates escaped, cut when long."""
    shown = text if len(text) <= at_most else text[: at_most - 1] + "…"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in shown
    )


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise EncodingError("a key stands twice")
    return members


def _no_constant(_text: str) -> NoReturn:
    raise EncodingError("NaN and infinities are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise EncodingError("number out of range")
    return number
