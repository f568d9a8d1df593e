"""The HandshakeState: an interpreter of token tables that works on a copy (Noise, section 5.3).

A message that fails, ours or the peer's, leaves the handshake as it was, so that no forged message can spoil a genuine
one. Keys and the PSK come from outside; who the peer's static key belongs to is decided outside.
"""

from dataclasses import dataclass, field

from handfast.crypto.aead import TAG_BYTES, DoesNotOpen
from handfast.crypto.keys import KEY_BYTES, ExchangeKey, Secret, WeakKeyError
from handfast.errors import PeerError, Reason, UsageError
from handfast.noise.cipherstate import CipherState
from handfast.noise.patterns import Protocol, Token, Tokens
from handfast.noise.symmetricstate import SymmetricState

MAX_MESSAGE_BYTES = 65_535  # Noise, section 3
PSK_BYTES = 32  # Noise, section 9.1


@dataclass(frozen=True, slots=True)
class Split:
    """What a finished handshake leaves behind.

    Attributes:
        initiator_to_responder: k1, the 32-byte key of all that the Noise initiator sends.
        responder_to_initiator: k2, the 32-byte key of all that the Noise responder sends.
        exported: the third output of the HKDF that made them, 32 bytes (v2-handshake.md, section 6.7).
        handshake_hash: h, 32 bytes, not secret: equal on both sides exactly when they saw the same (Noise, section 11.2).
    """

    initiator_to_responder: Secret
    responder_to_initiator: Secret
    exported: Secret
    handshake_hash: bytes = field(repr=False)


class _Progress:
    """All of a handshake that messages change."""

    __slots__ = ("local", "messages_done", "remote", "symmetric")

    def __init__(
        self,
        symmetric: SymmetricState,
        local: dict[str, ExchangeKey],
        remote: dict[str, bytes],
        messages_done: int = 0,
    ) -> None:
        self.symmetric = symmetric
        self.local = local
        self.remote = remote
        self.messages_done = messages_done

    def copy(self) -> "_Progress":
        return _Progress(self.symmetric.copy(), self.local.copy(), self.remote.copy(), self.messages_done)


class HandshakeState:
    """One side of one handshake.

    Args:
        protocol: pattern and cipher.
        initiator: whether we write the first message.
        prologue: what both sides must agree on beforehand, any bytes.
        static: our static key.
        remote_static: the peer's static public key, 32 bytes; exactly where the pattern says that we know it beforehand.

    Raises:
        UsageError: `remote_static` is missing or too much.
    """

    __slots__ = ("_initiator", "_progress", "_protocol")

    def __init__(
        self,
        protocol: Protocol,
        *,
        initiator: bool,
        prologue: bytes,
        static: ExchangeKey,
        remote_static: bytes | None = None,
    ) -> None:
        pre_messages = protocol.pattern.pre_messages
        if (remote_static is not None) != bool(pre_messages[1 if initiator else 0]):
            raise UsageError("the peer's static key, if and only if the pattern has it known beforehand")
        if remote_static is not None and len(remote_static) != KEY_BYTES:
            raise UsageError(f"a static key has {KEY_BYTES} bytes")
        remote: dict[str, bytes] = {} if remote_static is None else {"s": remote_static}
        symmetric = SymmetricState(protocol.initial_hash, CipherState(protocol.cipher))
        symmetric.mix_hash(prologue)
        for by_initiator, tokens in zip((True, False), pre_messages, strict=True):
            for _ in tokens:  # only ever `s`
                symmetric.mix_hash(static.public if by_initiator == initiator else remote["s"])
        self._protocol = protocol
        self._initiator = initiator
        self._progress: _Progress | None = _Progress(symmetric, {"s": static}, remote)

    def copy(self) -> "HandshakeState":
        """Another handshake in the same state, which goes its own way from here."""
        other = HandshakeState.__new__(HandshakeState)
        other._protocol = self._protocol  # noqa: SLF001
        other._initiator = self._initiator  # noqa: SLF001
        other._progress = self._progress  # shared: a message puts another object in its place  # noqa: SLF001
        return other

    @property
    def remote_static(self) -> bytes | None:
        """The peer's static public key, 32 bytes; None before it was received. Whose it is, is for the caller to check."""
        return self._unfinished().remote.get("s")

    def write_message(
        self, payload: bytes, *, ephemeral: ExchangeKey | None = None, psk: Secret | None = None
    ) -> bytes:
        """The next message, which is ours.

        Args:
            payload: what goes along; sealed from the first message on that has a key for it.
            ephemeral: made of 32 random bytes for this message alone; exactly where the message has the token `e`.
            psk: 32 bytes; exactly where the message has the token `psk`.

        Raises:
            UsageError: it is not our turn, an argument is missing or too much, or the message would be too long.
            PeerError: with WEAK_KEY; a key of the peer's agrees on the same secret with everybody.
        """
        work, tokens, psk_bytes = self._next_message(psk, ours=True)
        if (ephemeral is not None) != ("e" in tokens):
            raise UsageError("an ephemeral key, if and only if the message has the token e")
        if ephemeral is not None:
            work.local["e"] = ephemeral
        parts: list[bytes] = []
        for token in tokens:
            if token == "e":
                parts.append(work.local["e"].public)
                self._mix_ephemeral(work, parts[-1])
            elif token == "s":
                parts.append(work.symmetric.encrypt_and_hash(work.local["s"].public))
            else:
                self._mix_secret(work, token, psk_bytes)
        parts.append(work.symmetric.encrypt_and_hash(payload))
        message = b"".join(parts)
        if len(message) > MAX_MESSAGE_BYTES:
            raise UsageError(f"a message of {len(message)} bytes is longer than Noise allows")
        self._progress = work
        return message

    def read_message(self, message: bytes, *, psk: Secret | None = None) -> bytes:
        """The payload of the next message, which is the peer's.

        Args:
            message: any bytes at all.
            psk: 32 bytes; exactly where the message has the token `psk`.

        Raises:
            UsageError: it is not the peer's turn, or the PSK is missing or too much.
            PeerError: with MALFORMED, WEAK_KEY or AEAD.
        """
        work, tokens, psk_bytes = self._next_message(psk, ours=False)
        if len(message) > MAX_MESSAGE_BYTES:
            raise PeerError(Reason.MALFORMED, "a handshake message longer than Noise allows")
        rest = message
        try:
            for token in tokens:
                if token == "e":
                    work.remote["e"], rest = _cut(rest, KEY_BYTES)
                    self._mix_ephemeral(work, work.remote["e"])
                elif token == "s":
                    sealed, rest = _cut(rest, KEY_BYTES + (TAG_BYTES if work.symmetric.has_key() else 0))
                    work.remote["s"] = work.symmetric.decrypt_and_hash(sealed)
                else:
                    self._mix_secret(work, token, psk_bytes)
            payload = work.symmetric.decrypt_and_hash(rest)
        except DoesNotOpen:
            raise PeerError(Reason.AEAD) from None
        self._progress = work
        return payload

    def finish(self) -> Split:
        """What the handshake was for. It is used up by this: all further use of it is an error.

        Raises:
            UsageError: there are messages left, or it was used up before.
        """
        progress = self._unfinished()
        if progress.messages_done < len(self._protocol.pattern.messages):
            raise UsageError("the handshake has messages left")
        self._progress = None
        first, second, exported = progress.symmetric.split()
        return Split(Secret(first), Secret(second), Secret(exported), progress.symmetric.handshake_hash())

    def _unfinished(self) -> _Progress:
        if self._progress is None:
            raise UsageError("the handshake is used up")
        return self._progress

    def _next_message(self, psk: Secret | None, *, ours: bool) -> tuple[_Progress, Tokens, bytes]:
        """A copy to work on, with this message counted; the tokens of the message; the PSK, empty without one."""
        work = self._unfinished().copy()
        messages = self._protocol.pattern.messages
        if work.messages_done == len(messages):
            raise UsageError("the handshake has no messages left")
        if (work.messages_done % 2 == 0) != (self._initiator == ours):
            raise UsageError("the next message is the peer's" if ours else "the next message is ours")
        tokens = messages[work.messages_done]
        psk_bytes = b"" if psk is None else psk.reveal()
        if len(psk_bytes) != (PSK_BYTES if "psk" in tokens else 0):
            raise UsageError(f"a PSK of {PSK_BYTES} bytes, if and only if the message has the token psk")
        work.messages_done += 1
        return work, tokens, psk_bytes

    def _mix_ephemeral(self, work: _Progress, public: bytes) -> None:
        work.symmetric.mix_hash(public)
        if self._protocol.pattern.has_psk:  # section 9.2
            work.symmetric.mix_key(public)

    def _mix_secret(self, work: _Progress, token: Token, psk: bytes) -> None:
        if token == "psk":
            work.symmetric.mix_key_and_hash(psk)
            return
        # the first letter names the initiator's key, the second the responder's
        ours, theirs = (token[0], token[1]) if self._initiator else (token[1], token[0])
        key, public = work.local[ours], work.remote[theirs]
        try:
            secret = key.exchange_once(public) if token == "ss" else key.exchange(public)
        except WeakKeyError as error:
            raise PeerError(Reason.WEAK_KEY, str(error)) from None
        work.symmetric.mix_key(secret)


def _cut(message: bytes, size: int) -> tuple[bytes, bytes]:
    if len(message) < size:
        raise PeerError(Reason.MALFORMED, "a handshake message shorter than its keys")
    return message[:size], message[size:]
