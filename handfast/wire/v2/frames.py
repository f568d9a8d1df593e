"""What packets carry inside: frames, and the padding that hides their length (v2-handshake.md, section 7.3)."""

from collections.abc import Iterable
from dataclasses import dataclass

from handfast.errors import PeerError, Reason, UsageError
from handfast.wire import limits

PAD = 0x00
DATA = 0x01
REKEY_INIT = 0x02
REKEY_RESP = 0x03
CLOSE = 0x05
CLOSED = 0x07
CRL = 0x08
WITNESS = 0x0A
RECEIPT = 0x0B
_KNOWN = range(DATA, RECEIPT + 1)  # 04, 06 and 09 are reserved: read, and ignored
_FIRST_SKIPPED = 0x80

_HEAD_BYTES = 4
_BLOCK_BYTES = 64
_BLOCKS_UP_TO = 1024

CLOSE_NORMAL = 0x0000


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: a type of the above and its body."""

    type: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Close:
    """The body of CLOSE.

    Attributes:
        code: why, of section 14.
        count: how many DATA frames were delivered in this conversation, both ways.
        transcript: the digest over them, 32 bytes (section 8.3).
    """

    code: int
    count: int
    transcript: bytes

    def encode(self) -> bytes:
        """38 bytes."""
        return self.code.to_bytes(2, "big") + self.count.to_bytes(4, "big") + self.transcript

    @classmethod
    def parse(cls, body: bytes) -> "Close":
        """The inverse of `encode`.

        Raises:
            PeerError: with FORMAT.
        """
        if len(body) != 38:
            raise PeerError(Reason.FORMAT, "a CLOSE frame")
        return cls(int.from_bytes(body[:2], "big"), int.from_bytes(body[2:6], "big"), body[6:])


def encode_frames(frames: Iterable[Frame]) -> bytes:
    """The frames in a row, padded.

    Raises:
        UsageError: more than `limits.PLAINTEXT_BYTES` after padding, which a line does not hold.
    """
    plaintext = b"".join(
        bytes([frame.type]) + len(frame.body).to_bytes(3, "big") + frame.body for frame in frames
    )
    size = padded_size(len(plaintext))
    if size > limits.PLAINTEXT_BYTES:
        raise UsageError(f"the message is too large: {size} bytes, at most {limits.PLAINTEXT_BYTES} fit")
    if size == len(plaintext):
        return plaintext
    padding = size - len(plaintext) - _HEAD_BYTES
    return (
        plaintext + padding.to_bytes(_HEAD_BYTES, "big") + bytes(padding)
    )  # the first of the four is the type


def parse_frames(plaintext: bytes) -> tuple[Frame, ...]:
    """The frames of a packet, without padding and without types to be skipped.

    Raises:
        PeerError: with FORMAT.
    """
    frames: list[Frame] = []
    at = 0
    while at < len(plaintext):
        kind, begin = plaintext[at], at + _HEAD_BYTES
        at = begin + int.from_bytes(plaintext[at + 1 : begin], "big")
        if at > len(plaintext):
            raise PeerError(Reason.FORMAT, "a frame longer than its packet")
        body = plaintext[begin:at]
        if kind in _KNOWN:
            if len(frames) == limits.FRAMES:
                raise PeerError(Reason.FORMAT, "too many frames")
            frames.append(Frame(kind, body))
        elif kind == PAD:
            if at != len(plaintext) or body.count(0) != len(body):
                raise PeerError(Reason.FORMAT, "padding")
        elif kind < _FIRST_SKIPPED:
            raise PeerError(Reason.FORMAT, f"a frame of type {kind:#04x}")
    return tuple(frames)


def padded_size(size: int) -> int:
    """How long a plaintext of `size` bytes becomes: what is added is nothing or a whole PAD frame."""
    return size if _rounded(size) == size else _rounded(size + _HEAD_BYTES)


def _rounded(size: int) -> int:
    if size <= _BLOCKS_UP_TO:
        return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
    # Padmé: of a number's binary digits as many stay as it takes to write how many they are
    exponent = size.bit_length() - 1
    dropped = exponent - exponent.bit_length()
    return -(-size >> dropped) << dropped
