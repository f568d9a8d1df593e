"""What version 2 seals and negotiates, as bytes: parsed or `PeerError`, and whatever is parsed is encoded again.

Offers and selections have one encoding. Payloads and frames may carry what is skipped, so that what is read is written as
something that is read as the same.
"""

from collections.abc import Callable
from typing import Any

from handfast.errors import PeerError, UsageError
from handfast.wire import limits
from handfast.wire.v2 import frames, payloads
from handfast.wire.v2.offers import Offer, Selection

IS_JSON = False
WORDS = (
    "\x01\x01\x02\x01\x00\x01",
    "\x01\x00\x24",
    "\x02\x00\x20",
    "\x03\x00\x50",
    "\x04\x00\x20",
    "\x07\x00\x08",
    "\x00\x00\x00\x04",
    "\x01\x00\x00\x01",
    "\x05\x00\x00\x26",
    "\x06\x00\x00\x02",
    "\x7f",
    "11111111-1111-4111-8111-111111111111",
)


def check(data: bytes) -> None:
    """Read `data` as each of them."""
    for kind in (Offer, Selection, frames.Close):
        read = _read(kind.parse, data)  # type: ignore[attr-defined]
        assert read is None or read.encode() == data
    for kind in (payloads.Credentials, payloads.Renewal):
        read = _read(kind.parse, data)  # type: ignore[attr-defined]
        assert read is None or kind.parse(read.encode()) == read  # type: ignore[attr-defined]
    public = _read(payloads.parse_kem_public, data)
    assert payloads.parse_kem_public(payloads.encode_kem_public(public)) == public
    _check_frames(data)


def _check_frames(data: bytes) -> None:
    read = _read(frames.parse_frames, data)
    if read is None:
        return
    assert len(read) <= limits.FRAMES
    try:
        written = frames.encode_frames(read)
    except UsageError:
        assert len(data) > limits.PLAINTEXT_BYTES // 2
        return
    assert frames.parse_frames(written) == read
    assert frames.padded_size(len(written)) == len(written)


def _read(parse: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return parse(data)
    except PeerError:
        return None
