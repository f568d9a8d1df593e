"""One client's connection: the asyncio shell around framing, rate limit, encoder and outbox.

Everything asyncio calls for a client is here, and nothing here waits: input becomes lines, lines go to the relay in
turns, and what others say leaves in one write per loop pass. A connection knows no other connection.
"""

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, cast

from summoner.server import frames
from summoner.server.framing import LineFramer, Received
from summoner.server.outbox import Outbox
from summoner.server.policies import RateLimiter
from summoner.utils import format_addr

if TYPE_CHECKING:
    from summoner.server.relay import Relay

LINES_PER_TURN = 256
"""Lines of one author forwarded before the others get their turn."""

BYTES_PER_WRITE = 128 * 1024
"""About how much is handed to a transport at once; what the kernel leaves of it waits outside the outbox."""

CLOSING_GRACE = 5.0
"""Seconds a client that is being disconnected has for taking what it is still owed."""

BACKLOG_LASTS = 30.0
"""Seconds for which too many lines of a client must have been waiting before it is forced out (S8): a burst is no backlog."""

MOST_NOTICES = 10_000
"""Notices to one client at once; a client that wrote more lines than that in one go has had its warning."""


class _State(Enum):
    OPEN = auto()
    FINISHING = auto()  # nothing more is read; the lines that were read are still forwarded
    LEAVING = auto()  # out of the room; its last words may be on their way


class Connection(asyncio.Protocol):
    """A client of `relay`, which hears of it when the connection is made."""

    encoder: frames.FrameEncoder
    """Wraps what this client says."""

    def __init__(self, relay: "Relay") -> None:
        self.address = ""
        """`ip:port`, or `[ip]:port` for IPv6, as the relay sees it."""
        self.ended = asyncio.Event()
        """Set when the connection is gone."""
        self._relay = relay
        self._settings = relay.settings
        self._state = _State.OPEN
        self._peer_ended = False
        self._write_ended = False
        self._framer = LineFramer(relay.settings.max_frame_bytes)
        self._rate_limiter: RateLimiter | None = None
        self._waiting: list[str] = []  # lines of this client that wait for their turn
        self._turn: asyncio.TimerHandle | None = None
        self._behind_since: float | None = None  # from when on too many lines have been waiting
        self._outbox = Outbox(relay.settings.queue_max_bytes)
        self._dropped_lines = 0  # for this client, since it last caught up
        self._writable = True  # the transport's buffer is empty
        self._flush_due = False
        self._deadline: asyncio.TimerHandle | None = None

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the room, unless the relay refuses or the client is gone again."""
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        now = self._last_line_at = self._loop.time()
        peer = transport.get_extra_info("peername")
        self.address = format_addr(peer)
        self.encoder = frames.FrameEncoder(self.address, self._settings.max_frame_bytes)
        if peer is None or not self._relay.admit(self, now):
            self._state = _State.LEAVING
            self._transport.abort()
            return
        if self._settings.lines_per_minute is not None:
            self._rate_limiter = RateLimiter(self._settings.lines_per_minute, now)
        self._transport.set_write_buffer_limits(high=0)  # the outbox is to be the bound of what waits

    def data_received(self, data: bytes) -> None:
        """Take what the client wrote, or discard it if the client has been sent away."""
        if self._state is _State.OPEN:
            self._take_in(self._framer.feed(data))

    def eof_received(self) -> bool:
        """Forward an unterminated tail and close. What is queued leaves first: the client may well be reading."""
        self._peer_ended = True
        if self._state is _State.OPEN:
            self._state = _State.FINISHING
            self._take_in(self._framer.finish())
        return not self._write_ended

    def pause_writing(self) -> None:
        """The kernel does not take all of it: what comes now waits in the outbox."""
        self._writable = False

    def resume_writing(self) -> None:
        """The kernel has taken what the transport held."""
        self._writable = True
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason concerns nobody else
        """Leave the room. What the client said before still counts."""
        for timer in (self._turn, self._deadline):
            if timer is not None:
                timer.cancel()
        self._state = _State.LEAVING
        self._report_drops()
        self._relay.leave(self)
        if self._waiting:
            self._relay.forward(self, self._waiting)
        self._relay.gone(self)
        self.ended.set()

    # Called by the relay

    def send(self, joined_frames: bytes) -> None:
        """Queue frames for this member of the room; they are written in the next loop pass.

        If the queue is full, that is settled with this client alone.
        """
        if not self._outbox.push(joined_frames):
            self._overflow(joined_frames)
        if self._writable and not self._flush_due:
            self._flush_due = True
            self._relay.flush_soon(self)

    def warn(self, notices: bytes) -> None:
        """Queue notices to the client itself, if it is still there to read them."""
        if self._state is not _State.LEAVING:
            self.send(notices)

    def flush(self) -> None:
        """Write what is queued, as far as the kernel takes it."""
        self._flush_due = False
        if not self._can_write():
            return
        data = self._outbox.take(BYTES_PER_WRITE)
        if data:
            self._transport.write(data)  # calls pause_writing if the kernel leaves some of it
        if not self._can_write():
            return
        if self._outbox:
            self._flush_due = True
            self._relay.flush_soon(self)
            return
        if self._dropped_lines:
            self._report_drops()
        if self._state is _State.LEAVING:
            self._end_writing()

    def close_if_idle(self, now: float, timeout: float) -> None:
        """Disconnect the client if its last line is older; a client that is paused by policy cannot send one."""
        if self._turn is None and now - self._last_line_at > timeout:
            self._relay.logger.info("%s is disconnected: inactive", self.address)
            self.close(frames.INACTIVE)

    def close(self, notice: bytes = b"", grace: float = CLOSING_GRACE) -> None:
        """Take the client out of the room, deliver what is queued and `notice`, and end the connection.

        What it does not take within `grace` seconds is lost. To close again is to change the grace.
        """
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(grace, self._transport.abort)
        if self._state is _State.LEAVING:
            return
        self._state = _State.LEAVING
        self._relay.leave(self)
        if self._turn is not None:
            self._turn.cancel()
        self._waiting = []
        last_words = notice + self._settings.final_notice
        if last_words:
            self._outbox.push_last(last_words)
        self._transport.resume_reading()  # to discard: closing over unread input would reset the connection
        if not self._flush_due:
            self._flush_due = True
            self._relay.flush_soon(self)

    # Input

    def _take_in(self, received: Received) -> None:
        count = len(received.lines) + received.overlong
        if count:
            now = self._last_line_at = self._loop.time()
            admitted = count if self._rate_limiter is None else self._rate_limiter.admit(count, now)
            if admitted < count:
                self.warn(frames.TOO_FAST * min(count - admitted, MOST_NOTICES))
            elif received.overlong:
                self.warn_too_long(1)
            self._waiting += received.lines[:admitted]
        if received.invalid and self._state is not _State.LEAVING:
            self._relay.logger.warning("%s is disconnected: it sent bytes that are not UTF-8", self.address)
            self._state = _State.FINISHING
        if self._turn is None:
            self._take_turn()

    def warn_too_long(self, lines: int) -> None:
        """Tell the client that so many of its lines were too long, one notice each (S9)."""
        self._relay.logger.warning("%s sent %d line(s) too long to forward", self.address, lines)
        self.warn(frames.TOO_LONG * lines)

    def _take_turn(self) -> None:
        """Forward the lines that may go now, and arrange for the next turn."""
        self._turn = None
        pause = 0.0
        lines = self._waiting
        if lines:
            if self._settings.pauses:
                pause = self._settings.pause_after_line(self._relay.recipients_of(self))
            most = 1 if pause else LINES_PER_TURN
            self._waiting = lines[most:]
            self._relay.forward(self, lines[:most])
        if self._state is not _State.LEAVING:
            self._plan_next_turn(pause)

    def _plan_next_turn(self, pause: float) -> None:
        if self._is_too_far_behind(pause):
            self._force_out()
        elif self._waiting or (pause and self._state is _State.OPEN):
            self._wait_for_turn(pause)
        elif self._state is _State.FINISHING:
            self.close()
        else:
            self._transport.resume_reading()

    def _is_too_far_behind(self, pause: float) -> bool:
        threshold = self._settings.disconnect_threshold
        if not pause or threshold is None or len(self._waiting) < max(1, threshold):
            self._behind_since = None
            return False
        now = self._loop.time()
        if self._behind_since is None:
            self._behind_since = now
        return now - self._behind_since >= BACKLOG_LASTS

    def _force_out(self) -> None:
        lines, self._waiting = self._waiting, []
        self._relay.forward(self, lines)  # they were accepted: only what comes after them is refused
        if self._state is not _State.LEAVING:
            self._relay.force_out(self)

    def _wait_for_turn(self, seconds: float) -> None:
        self._transport.pause_reading()
        self._turn = self._loop.call_later(seconds, self._take_turn)

    # Output

    def _can_write(self) -> bool:
        return self._writable and not self._transport.is_closing()

    def _overflow(self, joined_frames: bytes) -> None:
        """Queue frame by frame what the kernel makes room for; the rest falls to the setting `on_overflow` (S10)."""
        for frame in frames.split_frames(joined_frames):
            if self._outbox.push(frame):
                continue
            self.flush()
            if self._outbox.push(frame):
                continue
            if self._settings.on_overflow == "disconnect":
                self._relay.logger.warning(
                    "%s is disconnected: it does not read what it is sent", self.address
                )
                self._outbox.clear()
                self.close(frames.NOT_READING)
                return
            if not self._dropped_lines:
                self._relay.logger.warning("%s reads too slowly: lines for it are dropped", self.address)
            self._dropped_lines += 1

    def _report_drops(self) -> None:
        if self._dropped_lines:
            self._relay.logger.warning("%d lines for %s were dropped", self._dropped_lines, self.address)
            self._dropped_lines = 0

    def _end_writing(self) -> None:
        """Everything is with the kernel: end the stream, and give a client that still writes time to notice."""
        if self._peer_ended:
            self._transport.close()
            return
        self._write_ended = True
        try:
            self._transport.write_eof()
        except OSError:  # the client reset the connection; asyncio has not told us yet
            self._transport.abort()
