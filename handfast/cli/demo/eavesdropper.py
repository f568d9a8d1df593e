"""Eve: connected to the relay like everybody, she writes down every line, and tries what an attacker would try."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from handfast.adapters.files import new_identity
from handfast.adapters.system import SystemEntropy
from handfast.errors import Reason
from handfast.identity.identity import fingerprint
from handfast.session.v1 import make_hs
from handfast.wire.text import b64decode
from handfast.wire.v1 import FOR_RESPONDER, encode_message
from summoner.protocol.payload import RecoveryError, recover_with_types, wrap_with_types

_LINE_BYTES = 1024 * 1024


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
    def intent(self) -> str:
        """What kind of message it is."""
        return str(self.message.get("intent"))

    @property
    def exchange_key(self) -> str | None:
        """The X25519 key that it brings, in base64, if it brings one."""
        hs = self.message.get("hs")
        return str(hs["kx_pub"]) if isinstance(hs, dict) else None

    @property
    def signer(self) -> str | None:
        """The fingerprint of the key that signed it, if it proves who it is from."""
        hs = self.message.get("hs")
        return fingerprint(b64decode(str(hs["sign_pub"]), 32)) if isinstance(hs, dict) else None

    @property
    def ciphertext(self) -> str | None:
        """What is sealed in it, in base64, if anything is."""
        sec = self.message.get("sec")
        return str(sec["envelope"]["ciphertext"]) if isinstance(sec, dict) else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that an attacker would try.

    Attributes:
        what: in words.
        answer: why it must be refused.
        payload: the message.
    """

    what: str
    answer: Reason
    payload: dict[str, Any]


class Eavesdropper:
    """A connection of her own, and all that she heard on it.

    Args:
        tell: called for every line.

    Attributes:
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
        """Say something; the relay forwards it to everybody."""
        self._writer.write(wrap_with_types(payload).encode())

    def readable(self, texts: Iterable[str]) -> int:
        """How many lines show one of these texts."""
        wanted = list(texts)
        return sum(any(text in line.raw for text in wanted) for line in self.heard)

    def attempts(self, victim: str, friend: str, name: str, confirm: Overheard) -> list[Attempt]:
        """What to try on the agent `victim`, having overheard a `confirm` that `friend`, called `name`, sent to it."""
        genuine = confirm.message
        nonce, own = SystemEntropy().nonce(), self.identity
        hs = make_hs("response", nonce, own.exchange_key.public, own.signing_key, time.time(), None)
        forged = encode_message(victim, "confirm", my_nonce=nonce, hs=hs)
        stolen = genuine | {"from": own.agent_id}
        return [
            Attempt(f"repeats {name}'s confirm, word for word", Reason.HS_REPLAYED, genuine),
            Attempt(
                f"speaks as {name}, with a key of her own", Reason.KEY_CHANGED, forged | {"from": friend}
            ),
            Attempt(f"shows {name}'s signed key as hers", Reason.KEY_UNDER_TWO_IDS, stolen),
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
    """The conversations that one agent led with another, each as its messages, from `confirm` (or the `reconnect` that
    asked for it) to `close`; repetitions of a message are left out.
    """
    found: list[list[Overheard]] = []
    opening: dict[Any, Overheard] = {}
    for line in heard:
        message, intent = line.message, line.intent
        author, addressee = (initiator, responder) if intent in FOR_RESPONDER else (responder, initiator)
        if (message.get("from"), message.get("to")) != (author, addressee):
            continue
        if intent == "reconnect":
            opening.setdefault("reconnect", line)
        elif intent == "confirm":
            opening.setdefault(message.get("my_nonce"), line)
        elif intent == "request" and "hs" in message:
            confirm = opening.pop(message.get("your_nonce"), None)
            if confirm is not None:
                asked = opening.pop("reconnect", None)
                found.append([*([asked] if asked else []), confirm, line])
        elif found and not any(line.message == earlier.message for earlier in found[-1]):
            found[-1].append(line)
    return found


def is_closed(conversation: Sequence[Overheard]) -> bool:
    """Whether the conversation has come to its `close`."""
    return conversation[-1].intent == "close"
