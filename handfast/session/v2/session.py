"""A session: sealed packets in both directions, and new keys while it runs (v2-handshake.md, sections 7 and 8).

It lives in memory only. The caller works on a `copy()` and keeps either the copy or what it had.
"""

import hashlib
import hmac
from dataclasses import dataclass
from struct import Struct
from typing import NoReturn

from handfast.crypto import labels
from handfast.crypto.aead import InvalidTag
from handfast.crypto.keys import ExchangeKey, Secret
from handfast.errors import PeerError, Reason, UsageError
from handfast.noise.handshakestate import HandshakeState, Split
from handfast.session.v2.generation import Generation
from handfast.session.v2.negotiation import prologue_of
from handfast.session.v2.parties import Peer
from handfast.session.v2.schedule import Keys
from handfast.session.v2.suites import Suite
from handfast.session.v2.window import SIZE, Window
from handfast.wire import limits
from handfast.wire.limits import GENERATION_MESSAGES
from handfast.wire.v2.messages import packet_counter

AUDIT_DIGEST_BYTES = 16

_pack_head = Struct(">10sQ").pack


@dataclass(frozen=True, slots=True)
class _Founding:
    """What stays the same as long as a session lives."""

    session_id: bytes
    is_initiator: bool
    peer: Peer
    own_static: ExchangeKey
    suite: Suite
    made_at: float
    full_at: float


class Session:
    """One side of an established session.

    Attributes:
        mode: how far the peer is trusted, as trust put it; not looked at here.
    """

    __slots__ = (
        "_answered",
        "_current",
        "_founding",
        "_other",
        "_other_until",
        "_other_window",
        "_pending",
        "_sent",
        "_window",
        "mode",
    )

    def __init__(self, founding: _Founding, generation: Generation, mode: str = "") -> None:
        self._founding = founding
        self._current = generation
        self._window = Window()
        self._sent = 0
        # the generation before (it still opens for a while) or, at the responder, the one that is not confirmed yet
        self._other: Generation | None = None
        self._other_window = Window()
        self._other_until = 0.0
        # the rekeying under way: at the initiator with what it sent, at the responder what it answered to what
        self._pending: tuple[HandshakeState, bytes] | None = None
        self._answered: tuple[bytes, bytes] | None = None
        self.mode = mode

    @classmethod
    def found(
        cls,
        split: Split,
        *,
        suite: Suite,
        is_initiator: bool,
        wrote_first: bool,
        own_static: ExchangeKey,
        peer: Peer,
        now: float,
        full_at: float,
        generation: int = 1,
        mode: str = "",
    ) -> "Session":
        """The session that a finished handshake makes.

        Args:
            split: what the handshake yielded.
            suite: of the full handshake.
            is_initiator: our role in the conversation.
            wrote_first: whether we wrote the handshake's first message.
            own_static: our static key in it.
            peer: as authenticated.
            now: seconds since 1970 UTC.
            full_at: when the full handshake was that this session goes back to.
            generation: its first.
            mode: see above.
        """
        keys = Keys.derive(split, wrote_first=wrote_first, is_initiator=is_initiator)
        known = Peer(peer.agent_id, peer.identity_key, peer.static_key, crl_sequence=peer.crl_sequence)
        founding = _Founding(keys.session_id, is_initiator, known, own_static, suite, now, full_at)
        return cls(founding, Generation(generation, keys, suite, now), mode)

    def copy(self) -> "Session":
        """Another object in the same state, which goes its own way from here; key objects are shared."""
        other = Session(self._founding, self._current, self.mode)
        other._window = self._window.copy()
        other._sent = self._sent
        other._other = self._other
        other._other_window = self._other_window.copy()
        other._other_until = self._other_until
        other._pending = self._pending
        other._answered = self._answered
        return other

    @property
    def session_id(self) -> bytes:
        """16 bytes, the same on both sides; it stays when keys change."""
        return self._founding.session_id

    @property
    def is_initiator(self) -> bool:
        """Our role in the conversation."""
        return self._founding.is_initiator

    @property
    def peer(self) -> Peer:
        """Id and keys of the peer, and the revocation list that it knows, without the evidence that was shown for them."""
        return self._founding.peer

    @property
    def suite(self) -> Suite:
        """Of the full handshake that this session goes back to."""
        return self._founding.suite

    @property
    def made_at(self) -> float:
        """When this session began; seconds since 1970 UTC."""
        return self._founding.made_at

    @property
    def full_at(self) -> float:
        """When the full handshake was that this session goes back to; seconds since 1970 UTC."""
        return self._founding.full_at

    @property
    def generation(self) -> int:
        """The number of the generation in use."""
        return self._current.number

    @property
    def resumption(self) -> Secret:
        """The secret of the next short handshake."""
        return self._current.keys.resumption

    @property
    def ticket_id(self) -> bytes:
        """What names that secret, 16 bytes."""
        return self._current.keys.ticket

    @property
    def own_static(self) -> ExchangeKey:
        """Our static key in the handshake."""
        return self._founding.own_static

    @property
    def next_counter(self) -> int:
        """The counter of the packet that `seal` makes next."""
        return self._sent

    def audit_digest(self, data: bytes) -> bytes:
        """What the audit log keeps of a message: 16 bytes, from which nobody can guess it."""
        return hmac.digest(self._current.keys.audit.reveal(), data, "sha256")[:AUDIT_DIGEST_BYTES]

    def rest(self) -> None:
        """Let go of what only makes `seal` and `open` quicker, some 2 KiB for each; it is made again when needed."""
        self._current.rest()
        if self._other is not None:
            self._other.rest()

    def has(self, packet: bytes) -> bool:
        """Whether a packet names a key of this session."""
        return self._find(packet[2:10]) is not None

    def is_repeat(self, packet: bytes) -> bool:
        """Whether a packet with this key and counter was opened before, or is too old to tell."""
        found = self._find(packet[2:10])
        return found is not None and found[1].has(packet_counter(packet))

    def seal(self, header: bytes, plaintext: bytes) -> bytes:
        """The next packet.

        Args:
            header: HDR of the message that will carry it.
            plaintext: padded frames.

        Raises:
            UsageError: this generation is used up; `is_exhausted` says so beforehand.
        """
        counter, generation = self._sent, self._current
        if counter >= GENERATION_MESSAGES:
            raise UsageError("the keys of this session are used up")
        head = _pack_head(generation.head, counter)
        encrypt = generation.encrypt or generation.load_sending()
        sealed = encrypt(generation.nonce(counter), plaintext, head + header)
        self._sent = counter + 1
        return head + sealed

    def open(self, header: bytes, packet: bytes, now: float) -> bytes:
        """What a packet holds.

        Args:
            header: HDR of the message that carried it.
            packet: any bytes at all.
            now: seconds since 1970 UTC.

        Raises:
            PeerError: with NO_SESSION, REPLAY, REKEY_REQUIRED or AEAD; then nothing has changed but that keys whose time is
                over are erased.
        """
        generation, window = self._current, self._window
        if self._other is not None or packet[2:10] != generation.receive_kid:
            generation, window = self._find_by(packet, now)
        counter = packet_counter(packet)
        if counter <= window.top and window.has(counter):
            raise PeerError(Reason.REPLAY)
        if counter >= GENERATION_MESSAGES:
            raise PeerError(Reason.REKEY_REQUIRED)
        decrypt = generation.decrypt or generation.load_receiving()
        try:
            plaintext = decrypt(generation.nonce(counter), packet[18:], packet[:18] + header)
        except InvalidTag:
            raise PeerError(Reason.AEAD) from None
        window.mark(counter)
        if generation.number > self._current.number:
            self._confirm(generation, window, now)
        return plaintext

    def needs_rekey(self, now: float) -> bool:
        """Whether new keys should be agreed on: the initiator then sends `start_rekey` in its next message, the responder
        asks for it.

        True until the initiator has its answer, so that a question goes out again; false for a responder that has
        answered.
        """
        if self._other is not None and self._other.number > self.generation:
            return False
        messages = max(self._sent, self._window.top + 1)
        age = now - self._current.made_at
        return messages >= limits.GENERATION_MESSAGES_SOFT or age >= limits.GENERATION_SECONDS_SOFT

    def is_exhausted(self, now: float) -> bool:
        """Whether nothing more may be sent and the session must end; `now` in seconds since 1970 UTC."""
        return (
            self._sent >= GENERATION_MESSAGES
            or now - self._current.made_at >= limits.GENERATION_SECONDS
            or now - self._founding.full_at >= limits.SESSION_SECONDS
        )

    def start_rekey(self, ephemeral: bytes) -> bytes:
        """The body of a REKEY_INIT frame; the same again while no answer has come.

        Args:
            ephemeral: 32 random bytes.

        Raises:
            UsageError: we are the responder, who asks instead.
        """
        if not self.is_initiator:
            raise UsageError("only the initiator starts a rekeying")
        if self._pending is None:
            noise = self._rekeying(initiator=True)
            body = noise.write_message(b"", ephemeral=ExchangeKey(ephemeral), psk=self.resumption)
            self._pending = noise, body
        return self._pending[1]

    def answer_rekey(self, body: bytes, ephemeral: bytes, now: float) -> bytes:
        """The body of the REKEY_RESP frame; the same again for the same question.

        The new keys are used as soon as the peer has shown that it has them, by a packet.

        Args:
            body: of the REKEY_INIT frame.
            ephemeral: 32 random bytes.
            now: seconds since 1970 UTC.

        Raises:
            PeerError: with STATE, we are the initiator; or the message does not open.
        """
        if self.is_initiator:
            raise PeerError(Reason.STATE, "only the initiator starts a rekeying")
        question = hashlib.sha256(body).digest()
        if self._answered is not None and hmac.compare_digest(self._answered[0], question):
            return self._answered[1]
        noise = self._rekeying(initiator=False)
        if noise.read_message(body, psk=self.resumption) != b"":
            raise PeerError(Reason.FORMAT, "REKEY_INIT")
        answer = noise.write_message(b"", ephemeral=ExchangeKey(ephemeral))
        self._other, self._other_window = self._next(noise.finish(), now), Window()
        self._answered = question, answer
        return answer

    def finish_rekey(self, body: bytes, now: float) -> None:
        """Use the new keys from now on; an answer that nobody waits for changes nothing.

        Args:
            body: of the REKEY_RESP frame.
            now: seconds since 1970 UTC.

        Raises:
            PeerError: the message does not open; then nothing has changed.
        """
        if self._pending is None:
            return
        noise = self._pending[0].copy()
        if noise.read_message(body) != b"":
            raise PeerError(Reason.FORMAT, "REKEY_RESP")
        self._replace_current(self._next(noise.finish(), now), Window(), now)

    def _find(self, kid: bytes) -> tuple[Generation, Window] | None:
        if kid == self._current.receive_kid:
            return self._current, self._window
        if self._other is not None and kid == self._other.receive_kid:
            return self._other, self._other_window
        return None

    def _find_by(self, packet: bytes, now: float) -> tuple[Generation, Window]:
        """As `_find`, where the generation before is erased first if its time is over."""
        is_before = self._other is not None and self._other.number < self._current.number
        if is_before and (now >= self._other_until or self._window.top + 1 >= SIZE):
            self._other = None
        found = self._find(packet[2:10])
        if found is None:
            raise PeerError(Reason.NO_SESSION)
        return found

    def _confirm(self, generation: Generation, window: Window, now: float) -> None:
        """The peer has shown that it has the new keys."""
        self._replace_current(generation, window, now)
        self._answered = None

    def _replace_current(self, generation: Generation, window: Window, now: float) -> None:
        self._other, self._other_window = self._current.only_receiving(), self._window
        self._other_until = now + limits.OLD_GENERATION_SECONDS
        self._current, self._window = generation, window
        self._sent = 0
        self._pending = None

    def _rekeying(self, *, initiator: bool) -> HandshakeState:
        generation = self.generation.to_bytes(4, "big")
        prologue = prologue_of(labels.V2_PROLOGUE_REKEY, self.session_id, generation)
        return HandshakeState(
            self.suite.short,
            initiator=initiator,
            prologue=prologue,
            static=self.own_static,
            remote_static=self.peer.static_key,
        )

    def _next(self, split: Split, now: float) -> Generation:
        keys = Keys.derive(split, wrote_first=self.is_initiator, is_initiator=self.is_initiator)
        return Generation(self.generation + 1, keys, self.suite, now)

    def __repr__(self) -> str:
        return f"Session({self.session_id.hex()}, generation {self.generation}, {self.peer.agent_id})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session is not pickled")
