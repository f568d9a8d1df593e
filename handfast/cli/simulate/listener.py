"""Somebody connected like everybody, who looks at every line: is anything readable, and who opened which conversation."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable

from handfast.wire.v2.messages import is_v2
from summoner.protocol.payload import RecoveryError, recover_with_types

_LINE_BYTES = 1024 * 1024
_SILENCE_SECONDS = 0.5


class Listener:
    """A silent participant.

    Args:
        secret: a text that stands in everything the agents say, and must never stand in a line.
        confirmed: told of every `confirm`: the initiator's id, the responder's, when it was heard (seconds since 1970 UTC).

    Attributes:
        lines: how many lines of agents were heard.
        intents: the same by the kind of message.
        plaintext: how many lines showed what was said, or were a message without a seal.
        notices: how many lines were the relay's own.
    """

    def __init__(self, secret: str, confirmed: Callable[[str, str, float], None]) -> None:
        self.lines = 0
        self.intents: Counter[str] = Counter()
        self.plaintext = 0
        self.notices = 0
        self._secret = secret
        self._confirmed = confirmed
        self._listening: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()

    async def connect(self, port: int) -> None:
        """Join the room."""
        reader, self._writer = await asyncio.open_connection("127.0.0.1", port, limit=_LINE_BYTES)
        self._listening = asyncio.create_task(self._listen(reader))

    async def until_silence(self) -> None:
        """Return when nothing has been heard for a moment; nobody who speaks must be left."""
        with contextlib.suppress(TimeoutError):
            while True:
                self._heard.clear()
                async with asyncio.timeout(_SILENCE_SECONDS):
                    await self._heard.wait()

    async def close(self, patience: float) -> None:
        """Hear what is still on its way until the relay hangs up, for so many seconds at most; then leave."""
        if self._listening is None:
            return
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(patience):
                await self._listening
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def hear(self, raw: str, now: float) -> None:
        """Look at one line of the relay, heard at `now` (seconds since 1970 UTC)."""
        try:
            relayed = recover_with_types(raw)
        except RecoveryError:
            relayed = None
        if not isinstance(relayed, dict) or "content" not in relayed:
            self.notices += 1
            return
        self.lines += 1
        content = relayed["content"]
        intent = str(content.get("intent")) if isinstance(content, dict) else "?"
        self.intents[intent] += 1
        if self._secret in raw or not isinstance(content, dict) or _is_open(content, intent):
            self.plaintext += 1
        elif intent == "confirm":
            self._confirmed(str(content.get("to")), str(content.get("from")), now)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            self.hear(line.decode(errors="replace"), time.time())
            self._heard.set()


def _is_open(content: dict[str, object], intent: str) -> bool:
    # the first request and respond of version 2 are handshakes
    is_sealed = "sec" in content or intent not in ("request", "respond")
    return "message" in content or not (is_sealed or is_v2(content))
