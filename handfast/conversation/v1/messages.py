"""What a turn of version 1 puts into messages and takes out of them: handshake blocks, envelopes and nonces."""

from handfast.conversation.effects import (
    Delivered,
    PinKey,
    RecordEnvelope,
    RecordNonce,
    RememberHandshake,
    SessionOpened,
)
from handfast.conversation.turn import Turn
from handfast.conversation.v1.parts import NO_REFERENCES
from handfast.crypto.keys import ExchangeKey, Secret
from handfast.errors import PeerError, Reason
from handfast.session import v1 as session
from handfast.trust import v1 as trust
from handfast.wire.text import Json, b64decode, b64encode
from handfast.wire.v1 import HsBlock, HsType, is_from_version_2

# ---- handshake blocks -----------------------------------------------------------------------------------------------


def check_hs(turn: Turn, kind: HsType) -> HsBlock:
    """The handshake block of this turn's message, where it proves the key that is pinned, if one is.

    Raises:
        PeerError: it does not, or trust says no.
    """
    hs = session.check_hs(
        turn.event.hs,
        kind,
        turn.event.my_nonce,
        seen=turn.facts.handshake_seen,
        now=turn.now,
        zone=turn.settings.zone,
    )
    own = turn.party.identity.signing_key.public
    facts = turn.facts
    if facts.met_in_version_2 or (_offers_version_2(turn) and is_from_version_2(hs.nonce)):
        raise PeerError(Reason.DOWNGRADE)
    is_new = trust.decide(
        hs.sign_pub, own=own, pinned=facts.pinned, held_by_another=facts.key_held_by_another
    )
    if is_new and not turn.party.policy.admits(turn.before.peer_id):
        raise PeerError(Reason.POLICY)
    turn.change(pin_pending=is_new)
    turn.emit(RememberHandshake(hs.nonce, session.fresh_until(hs, turn.settings.zone) + 1))
    return hs


def make_hs(turn: Turn, kind: HsType, nonce: str, own: ExchangeKey) -> dict[str, Json]:
    """Our handshake block, signed."""
    signing_key = turn.party.identity.signing_key
    return session.make_hs(kind, nonce, own.public, signing_key, turn.now, turn.settings.zone)


def install_session(turn: Turn, hs: HsBlock, key: Secret) -> None:
    """Put the session key, and the keys captured from the peer's handshake, in the place of whatever was before."""
    turn.change(
        secret=key,
        peer_sign_pub=b64encode(hs.sign_pub),
        peer_kx_pub=hs.kx_pub_text,
        hs_derived_at=turn.now,
        **NO_REFERENCES,
    )


def session_is_proven(turn: Turn) -> None:
    """A first envelope has opened: pin the key of a new peer.

    Raises:
        PeerError: another key was pinned meanwhile.
    """
    # only now: an `hs` may be repeated by anybody under any id, an envelope under its key cannot be made by others
    if turn.after.pin_pending and turn.after.peer_sign_pub is not None:
        sign_pub, pinned = b64decode(turn.after.peer_sign_pub, 32), turn.facts.pinned
        if pinned is None:
            turn.emit(PinKey(sign_pub))
        elif pinned != sign_pub:  # our other role has met this peer in the meantime
            raise PeerError(Reason.KEY_CHANGED)
        turn.change(pin_pending=False)
    turn.emit(SessionOpened())


def _offers_version_2(turn: Turn) -> bool:
    return turn.facts.announcements is not None and turn.facts.announcements.offers != ()


# ---- envelopes ------------------------------------------------------------------------------------------------------


def open_in_session(turn: Turn) -> Json:
    """What the envelope of this turn's message says, under the session key.

    Raises:
        PeerError: it does not open, or was sealed for another message.
    """
    if turn.before.secret is None or turn.before.peer_sign_pub is None:
        raise PeerError(Reason.SEC_DOES_NOT_OPEN)
    return open_sec(turn, turn.before.secret, b64decode(turn.before.peer_sign_pub, 32))


def open_sec(turn: Turn, key: Secret, peer_sign_pub: bytes) -> Json:
    """The same under a given key, and of the peer with a given signing key."""
    content, envelope_nonce = session.open_sec(turn.event.sec, key, peer_sign_pub)
    if not isinstance(content, dict) or "message" not in content:
        raise PeerError(Reason.SEC_MALFORMED)
    event, before = turn.event, turn.before
    header = _header(before.peer_id, before.self_id, event.intent, event.your_nonce, event.my_nonce)
    if content.get("_b", header) != header:
        raise PeerError(Reason.HDR_BINDING)
    turn.change(last_secure_at=turn.now)
    turn.emit(RecordEnvelope(envelope_nonce))
    return content["message"]


def seal(turn: Turn, message: Json, intent: str, my_nonce: str) -> Json:
    """An envelope for a message of ours.

    Raises:
        PeerError: the user's message cannot be sealed.
    """
    key, party, before = turn.after.secret, turn.party, turn.before
    if key is None:
        raise PeerError(Reason.SEC_DOES_NOT_OPEN)
    content = {"message": message}
    if turn.settings.hardened:
        content |= {
            # the envelope shows a hash of all this: without chance in it, what can be guessed could be checked
            "_s": b64encode(turn.entropy.octets(16)),
            # and nothing in it says where it belongs: peers of ours look, those of the first generation pass it over
            "_b": _header(before.self_id, before.peer_id, intent, turn.event.my_nonce, my_nonce),
        }
    nonce, zone = turn.entropy.aead_nonce(), turn.settings.zone
    # a message of the user's that cannot be sealed is the dialogue's failure, like an exception of its own
    return turn.ask(lambda: session.seal(content, key, party.identity.signing_key, nonce, turn.now, zone))


def _header(sender: str, to: str, intent: str, your_nonce: str, my_nonce: str) -> dict[str, Json]:
    return {"from": sender, "to": to, "intent": intent, "your_nonce": your_nonce, "my_nonce": my_nonce}


# ---- nonces ---------------------------------------------------------------------------------------------------------


def refuse_a_seen_nonce(turn: Turn) -> None:
    """Nothing, where the message's nonce is new in this conversation.

    Raises:
        PeerError: it is not.
    """
    if turn.facts.nonce_seen:
        raise PeerError(Reason.NONCE_REPLAYED)


def take_nonce(turn: Turn) -> None:
    """Note the message's nonce, which we echo, and which is good once."""
    turn.change(peer_nonce=turn.event.my_nonce, local_nonce=None)
    turn.emit(RecordNonce("received", turn.event.my_nonce))


def take_nonce_and_deliver(turn: Turn, message: Json) -> None:
    """The same, and hand the message over."""
    take_nonce(turn)
    turn.emit(Delivered(message))
