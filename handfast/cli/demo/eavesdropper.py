"""Eve: connected to the relay like everybody, she writes down every line, and says what she likes."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from handfast.adapters.files import new_identity
from handfast.session.v2.suites import SUITES
from handfast.wire.text import b64url_decode
from handfast.wire.v2.messages import FOR_RESPONDER, PACKET_HEAD_BYTES, is_v2
from handfast.wire.v2.offers import Selection
from summoner.protocol.payload import RecoveryError, recover_with_types, wrap_with_types

_LINE_BYTES = 1024 * 1024
_KEY_BYTES = 32
# handshakes that begin with a fresh X25519 key
_WITH_A_KEY = ("n1", "n2", "k1", "k2")


@dataclass(frozen=True, slots=True)
class Overheard:
    """One line of the relay.

    Attributes:
        at: when, in seconds since 1970 UTC.
        raw: as it came.
        message: the message in it.
    """

    at: float
    raw: str
    message: dict[str, Any]

    @property
    def kind(self) -> str:
        """What it is in version 2: "offer", "n1", "n2", "n3", "k1", "k2" or "packet"; empty for everything else."""
        if not is_v2(self.message):
            return ""
        return str(self._block["t"]) if "hs" in self.message else "packet"

    @property
    def intent(self) -> str:
        """What kind of message it is on the wire."""
        return str(self.message.get("intent"))

    @property
    def exchange_key(self) -> bytes | None:
        """The fresh X25519 key that it brings, if it brings one."""
        return self._message[:_KEY_BYTES] if self.kind in _WITH_A_KEY else None

    @property
    def is_post_quantum(self) -> bool:
        """Whether it selects a key exchange with ML-KEM."""
        return "s" in self._block and SUITES[Selection.parse(self._blob("s")).suite].kem

    @property
    def open_bytes(self) -> tuple[int, ...]:
        """How many bytes of keys it shows."""
        if self.kind not in _WITH_A_KEY:
            return ()
        # an n1 is nothing but keys: X25519's and, under its type and length, ML-KEM's
        rest = len(self._message) - _KEY_BYTES if self.kind == "n1" else 0
        return (_KEY_BYTES, rest - 3) if rest else (_KEY_BYTES,)

    @property
    def sealed_bytes(self) -> int:
        """How many bytes in it nobody can read but the peer."""
        match self.kind:
            case "packet":
                return len(self._blob("b")) - PACKET_HEAD_BYTES
            case "n2" | "n3" | "k1" | "k2":
                return len(self._message) - sum(self.open_bytes)
        return 0

    def shows(self, secret: bytes) -> bool:
        """Whether these bytes stand in it as they are."""
        return any(secret in self._blob(name) for name in ("m", "b") if name in self._block)

    @property
    def _block(self) -> dict[str, Any]:
        block = self.message.get("hs", self.message.get("sec"))
        return block if isinstance(block, dict) else {}

    @property
    def _message(self) -> bytes:
        return self._blob("m")

    def _blob(self, name: str) -> bytes:
        return b64url_decode(self._block[name])


class Eavesdropper:
    """A connection of her own, and all that she heard on it.

    Args:
        tell: called for every line.

    Attributes:
        identity: who she is.
        heard: every line, oldest first.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self.identity = new_identity()
        self.heard: list[Overheard] = []
        self._tell = tell

    async def connect(self, port: int) -> None:
        """Connect to the relay."""
        reader, self._writer = await asyncio.open_connection("127.0.0.1", port, limit=_LINE_BYTES)
        self._listening = asyncio.create_task(self._listen(reader))

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        await self._listening

    def send(self, payload: dict[str, Any]) -> None:
        """Say something; the relay forwards it to everybody else."""
        self._writer.write(wrap_with_types(payload).encode())

    def readable(self, texts: Iterable[str]) -> int:
        """How many lines show one of these texts."""
        wanted = list(texts)
        return sum(any(text in line.raw for text in wanted) for line in self.heard)

    def between(self, author: str, to: str, kind: str) -> list[Overheard]:
        """What one said to another of this kind, oldest first."""
        return [
            line
            for line in self.heard
            if (line.message.get("from"), line.message.get("to"), line.kind) == (author, to, kind)
        ]

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            async for line in reader:
                raw = line.decode(errors="replace")
                with contextlib.suppress(RecoveryError):
                    relayed = recover_with_types(raw)
                    content = relayed.get("content") if isinstance(relayed, dict) else None
                    if isinstance(content, dict):
                        self.heard.append(Overheard(time.time(), raw, content))
                        self._tell()


def conversations(heard: Iterable[Overheard], initiator: str, responder: str) -> list[list[Overheard]]:
    """The conversations that one agent led with another, each as its messages, from n1 or k1 to the last word;
    repetitions of a message are left out.
    """
    found: list[list[Overheard]] = []
    opening: dict[Any, Overheard] = {}
    for line in heard:
        message, kind = line.message, line.kind
        is_from_initiator = kind in FOR_RESPONDER or (kind == "packet" and line.intent in FOR_RESPONDER)
        author, addressee = (initiator, responder) if is_from_initiator else (responder, initiator)
        if (message.get("from"), message.get("to")) != (author, addressee) or not kind:
            continue
        if kind == "n1":
            opening[message.get("my_nonce")] = line
        elif kind == "k1":
            opening["k1"] = line
        elif kind in ("n2", "k2"):
            first = opening.pop("k1" if kind == "k2" else message.get("your_nonce"), None)
            if first is not None:
                found.append([first, line])
        elif found and not any(message == earlier.message for earlier in found[-1]):
            found[-1].append(line)
    return found


def is_closed(conversation: Sequence[Overheard]) -> bool:
    """Whether the conversation has come to its last word: `close`, and the `finish` that answers it."""
    return [line.intent for line in conversation[-2:]] == ["close", "finish"]
