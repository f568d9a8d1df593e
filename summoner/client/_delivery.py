"""`Delivery`: from a sender's payload to a frame on the socket (section 4.8, steps 4 and 5)."""

import asyncio
from typing import Any

from summoner.client._context import ClientContext
from summoner.client._user_code import call_handler
from summoner.protocol.payload import wrap_with_types


class ServerDisconnected(Exception):
    """The server closed the connection, or it broke."""


class Delivery:
    """The way out of one session: SEND hooks, envelope, socket.

    Frames written in one turn of the loop leave in one call of the transport.
    """

    def __init__(self, context: ClientContext, writer: asyncio.StreamWriter) -> None:
        self._log = context.log
        self._registry = context.registry
        self._version = context.envelope_version
        self._writer = writer
        self._frames: list[bytes] = []
        self.collected_bytes = 0
        self._loop = asyncio.get_running_loop()

    async def deliver(self, payload: Any) -> None:
        """Pass a payload through the SEND hooks and write what they leave of it.

        Raises whatever wrapping it raises: the payload has no JSON form, or is nested too deep.
        """
        if payload is None:
            return
        for hook in self._registry.send_hooks:
            payload = await call_handler(self._log, "SEND hook", hook, payload, otherwise=payload)
            if payload is None:
                return
        frame = wrap_with_types(payload, self._version).encode()
        if not self._frames:
            self._loop.call_soon(self.flush)  # should a later hook of the same call wait for something
        self._frames.append(frame)
        self.collected_bytes += len(frame)

    def flush(self) -> None:
        """Hand the collected frames to the transport."""
        if self._frames:
            self._writer.write(b"".join(self._frames))
            self._frames.clear()
            self.collected_bytes = 0

    async def drain(self) -> None:
        """Wait while the socket takes no more. Raises `ServerDisconnected` if it never will."""
        self.flush()
        try:
            await self._writer.drain()
        except OSError as error:
            raise ServerDisconnected(f"the connection broke: {error}") from error
