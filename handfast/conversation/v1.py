"""THE table of the v1 conversation (hsagent-v1.md, section 2). All state changes live here.

Read `TABLE` at the end first; the guards and actions it names stand above it in the same order. Rows are tried from the
top; the first whose guard holds fires; an event that fires none is ignored.
"""

from dataclasses import replace

from handfast.conversation.model import (
    Closed,
    Delivered,
    ForgetNonces,
    GaveUp,
    PinKey,
    RecordEnvelope,
    RecordNonce,
    RememberHandshake,
    SessionOpened,
    State,
)
from handfast.conversation.turn import Transition, Turn, delays_of, row
from handfast.crypto.keys import ExchangeKey, Secret
from handfast.errors import PeerError, Reason
from handfast.session import v1 as session
from handfast.trust import v1 as trust
from handfast.wire.text import Json, b64decode, b64encode
from handfast.wire.v1 import HsBlock, HsType, is_from_version_2

_CLEARED = {
    "local_nonce": None,
    "peer_nonce": None,
    "exchange_count": 0,
    "finalize_retry_count": 0,
    "secret": None,
    "outgoing": None,
}
_NO_REFERENCES = {"local_reference": None, "peer_reference": None}

# the states that are abandoned altogether; `init_finalize_close` has done its part and keeps its references
_GIVES_UP = {
    State.RESP_CONFIRM: State.RESP_READY,
    State.RESP_EXCHANGE: State.RESP_READY,
    State.RESP_FINALIZE: State.RESP_READY,
    State.INIT_EXCHANGE: State.INIT_READY,
    State.INIT_FINALIZE_PROPOSE: State.INIT_READY,
}

# the states of a conversation under way
_UNDER_WAY = (*_GIVES_UP, State.INIT_FINALIZE_CLOSE)

_TRIES_FOR_STRANGERS = 2
_PATIENCE_AFTER_RESTART_SECONDS = 3.0
# An unanswered `reconnect` is repeated after the first wait for any answer, then after twice as long, and so on so many
# times: a peer that is there and does not answer has others to serve first.
_RECONNECT_DOUBLINGS = 5

# ---- responder ----------------------------------------------------------------------------------------------------


def _holds_no_reference(turn: Turn) -> bool:
    return turn.before.local_reference is None


def _has_waited_for_a_reconnect(turn: Turn) -> bool:
    since = turn.before.waiting_since
    return since is not None and turn.now - since > turn.settings.lost_memory_after


def _hears_register_for_the_first_time(turn: Turn) -> bool:
    since = turn.before.waiting_since
    return since is None or since > turn.now  # the latter: the clock was set back


def _start_waiting(turn: Turn) -> None:
    turn.change(waiting_since=turn.now)


def _shows_our_reference(turn: Turn) -> bool:
    # a reference that is absent never matches, whatever the message says
    return turn.before.local_reference is not None and turn.event.your_ref == turn.before.local_reference


def _confirm(turn: Turn) -> None:
    own = ExchangeKey(turn.entropy.exchange_key())
    nonce = turn.entropy.nonce()
    turn.change(**(_CLEARED | _NO_REFERENCES), version=1, waiting_since=None)
    turn.change(local_nonce=nonce, secret=Secret(own.private_bytes()))
    turn.say("confirm", my_nonce=nonce, hs=_make_hs(turn, "response", nonce, own))


def _echoes_our_nonce(turn: Turn) -> bool:
    return turn.before.local_nonce is not None and turn.event.your_nonce == turn.before.local_nonce


def _accept_first_request(turn: Turn) -> None:
    _refuse_a_seen_nonce(turn)
    hs = _check_hs(turn, "init")
    if turn.before.secret is None:
        raise PeerError(Reason.SEC_DOES_NOT_OPEN)
    key = session.derive_key(ExchangeKey(turn.before.secret.reveal()), hs.kx_pub)
    message = _open_sec(turn, key, hs.sign_pub)
    # our own nonce is logged only now, so that a stranger cannot make us keep a row for each of his broadcasts
    turn.emit(RecordNonce("sent", turn.before.local_nonce or ""))
    _install_session(turn, hs, key)
    turn.change(exchange_count=1)
    _session_is_proven(turn)
    _respond(turn, message)


def _repeats_the_last_nonce(turn: Turn) -> bool:
    return turn.before.peer_nonce is not None and turn.event.my_nonce == turn.before.peer_nonce


def _accept_request(turn: Turn) -> None:
    _refuse_a_seen_nonce(turn)
    message = _open_in_session(turn)
    turn.change(exchange_count=turn.before.exchange_count + 1)
    _respond(turn, message)


def _respond(turn: Turn, message: Json) -> None:
    _take_nonce_and_deliver(turn, message)
    nonce = turn.entropy.nonce()
    answer = turn.ask(lambda: turn.party.dialogue.reply(turn.before.peer_id, message))
    sec = _seal(turn, answer, "respond", nonce)
    turn.change(local_nonce=nonce)
    turn.emit(RecordNonce("sent", nonce))
    turn.say("respond", your_nonce=turn.event.my_nonce, my_nonce=nonce, sec=sec)


def _accept_conclude(turn: Turn) -> None:
    reference = turn.entropy.reference()
    turn.change(
        local_reference=reference,
        peer_reference=turn.event.my_ref,
        exchange_count=0,
        finalize_retry_count=0,
        secret=None,
    )
    turn.say("finish", your_ref=turn.event.my_ref, my_ref=reference)


def _repeats_the_conclude(turn: Turn) -> bool:
    return turn.before.peer_reference is not None and turn.event.my_ref == turn.before.peer_reference


def _matches_both_references(turn: Turn) -> bool:
    return _shows_our_reference(turn) and _repeats_the_conclude(turn)


def _accept_close(turn: Turn) -> None:
    turn.change(**_CLEARED, waiting_since=None)
    turn.emit(ForgetNonces(), Closed())


# ---- initiator ----------------------------------------------------------------------------------------------------


def _may_reconnect(turn: Turn) -> bool:
    every, at = turn.settings.reconnect_every, turn.before.reconnect_at
    if every is None or turn.before.peer_reference is None:
        return False
    # the last test: the clock was set back, and the time written down would never come
    longest = max(every, _reconnect_wait(turn, _RECONNECT_DOUBLINGS))
    return at is None or turn.now >= at or at - turn.now > 2 * longest


def _ask_to_reconnect(turn: Turn) -> None:
    tries = turn.before.reconnect_tries
    wait = turn.jittered(_reconnect_wait(turn, tries))
    turn.change(reconnect_at=turn.now + wait, reconnect_tries=tries + 1)
    turn.send_once("reconnect", your_ref=turn.before.peer_reference)


def _reconnect_wait(turn: Turn, tries: int) -> float:
    return turn.settings.retry_delays[0] * 2.0 ** min(tries, _RECONNECT_DOUBLINGS)


def _always(turn: Turn) -> bool:
    del turn
    return True


def _accept_confirm(turn: Turn) -> None:
    _refuse_a_seen_nonce(turn)
    hs = _check_hs(turn, "response")
    own = ExchangeKey(turn.entropy.exchange_key())
    _install_session(turn, hs, session.derive_key(own, hs.kx_pub))
    _take_nonce(turn)
    turn.change(exchange_count=0, reconnect_at=None, reconnect_tries=0, version=1)
    _request(turn, own)


def _request(turn: Turn, own: ExchangeKey | None = None) -> None:
    count = turn.after.exchange_count + 1
    nonce = turn.entropy.nonce()
    hs = None if own is None else _make_hs(turn, "init", nonce, own)
    said = turn.ask(lambda: turn.party.dialogue.opening(turn.before.peer_id, count))
    sec = _seal(turn, said, "request", nonce)
    turn.change(local_nonce=nonce, exchange_count=count)
    turn.emit(RecordNonce("sent", nonce))
    turn.say("request", your_nonce=turn.event.my_nonce, my_nonce=nonce, hs=hs, sec=sec)


def _answers_the_last_turn(turn: Turn) -> bool:
    return _echoes_our_nonce(turn) and turn.before.exchange_count >= turn.settings.exchanges


def _conclude(turn: Turn) -> None:
    _accept_respond(turn)
    reference = turn.entropy.reference()
    turn.change(local_reference=reference)
    turn.say("conclude", your_nonce=turn.event.my_nonce, my_ref=reference)


def _continue(turn: Turn) -> None:
    _accept_respond(turn)
    _request(turn)


def _accept_respond(turn: Turn) -> None:
    _refuse_a_seen_nonce(turn)
    message = _open_in_session(turn)
    if turn.before.exchange_count == 1:
        _session_is_proven(turn)
    _take_nonce_and_deliver(turn, message)


def _accept_finish(turn: Turn) -> None:
    every = turn.settings.reconnect_every
    turn.change(
        peer_reference=turn.event.my_ref,
        finalize_retry_count=0,
        secret=None,
        reconnect_at=None if every is None else turn.now + turn.jittered(every),
        reconnect_tries=0,
    )
    turn.emit(ForgetNonces(), Closed())
    turn.say("close", your_ref=turn.event.my_ref, my_ref=turn.before.local_reference)


def _is_the_finish_once_more(turn: Turn) -> bool:
    return _matches_both_references(turn) and _gap_has_passed(turn)


def _close_once_more(turn: Turn) -> None:
    turn.send_once("close", your_ref=turn.before.peer_reference, my_ref=turn.before.local_reference)


def _forget_conversation(turn: Turn) -> None:
    turn.change(**_CLEARED)


# ---- both ---------------------------------------------------------------------------------------------------------


def _tries_are_left(turn: Turn) -> bool:
    outgoing = turn.before.outgoing
    if outgoing is None or _carries_a_stale_hs(turn):
        return False
    return outgoing.sends < _tries_of(turn)


def _tries_of(turn: Turn) -> int:
    if turn.before.state is State.RESP_CONFIRM and turn.before.is_of_stranger:
        # whoever is there registers once a second anyway; an invented `register` must not make us say much
        return _TRIES_FOR_STRANGERS
    outgoing = turn.before.outgoing
    return 0 if outgoing is None else len(delays_of(outgoing, turn.settings))


def _carries_a_stale_hs(turn: Turn) -> bool:
    # after an outage: the peer would refuse it as stale, a new handshake it will take
    outgoing = turn.before.outgoing
    age = 0.0 if outgoing is None else abs(turn.now - outgoing.since)
    return outgoing is not None and "hs" in outgoing.payload and age > session.HS_LIFETIME_SECONDS


def _send_again(turn: Turn) -> None:
    if turn.before.state in (State.RESP_FINALIZE, State.INIT_FINALIZE_CLOSE):
        turn.change(finalize_retry_count=turn.before.finalize_retry_count + 1)
    turn.send_outgoing()


def _give_up(turn: Turn) -> None:
    turn.change(**_CLEARED, **_NO_REFERENCES)
    turn.emit(ForgetNonces(), GaveUp("no answer"))


def _can_go_on(turn: Turn) -> bool:
    outgoing = turn.before.outgoing
    needs_secret = turn.before.state in (State.INIT_EXCHANGE, State.RESP_CONFIRM, State.RESP_EXCHANGE)
    if outgoing is None or _carries_a_stale_hs(turn) or (needs_secret and turn.before.secret is None):
        return False
    return outgoing.sends < _tries_of(turn)


def _go_on(turn: Turn) -> None:
    outgoing = turn.before.outgoing
    window = sum(turn.settings.retry_delays) + turn.settings.pace
    if outgoing is not None and not 0 <= turn.now - outgoing.since <= window:
        # a peer of ours has given up by now, one of the first generation never does: ask once whether it still waits
        last = max(outgoing.sends, _tries_of(turn) - 1)
        turn.change(outgoing=replace(outgoing, sends=last))
    _send_again(turn)
    resumed = turn.after.outgoing
    if resumed is not None:
        wait = turn.jittered(min(resumed.due_at - turn.now, _PATIENCE_AFTER_RESTART_SECONDS))
        turn.change(outgoing=replace(resumed, due_at=turn.now + wait))


def _start_afresh(turn: Turn) -> None:
    turn.change(**_CLEARED, **_NO_REFERENCES)
    turn.emit(ForgetNonces(), GaveUp("restarted too late to go on"))


def _gap_has_passed(turn: Turn) -> bool:
    last = turn.before.last_sent_at
    return last is None or abs(turn.now - last) >= turn.settings.repeat_gap


def _was_sent_already(turn: Turn) -> bool:
    return turn.before.outgoing is not None and turn.before.outgoing.sends > 0 and _gap_has_passed(turn)


def _asks_again(turn: Turn) -> bool:
    return _repeats_the_last_nonce(turn) and _was_sent_already(turn)


def _concludes_again(turn: Turn) -> bool:
    return _repeats_the_conclude(turn) and _was_sent_already(turn)


def _finishes_again(turn: Turn) -> bool:
    return _matches_both_references(turn) and _was_sent_already(turn)


def _repeat_answer(turn: Turn) -> None:
    turn.repeat_answer()


# ---- proofs and parts of messages ---------------------------------------------------------------------------------


def _refuse_a_seen_nonce(turn: Turn) -> None:
    if turn.facts.nonce_seen:
        raise PeerError(Reason.NONCE_REPLAYED)


def _check_hs(turn: Turn, kind: HsType) -> HsBlock:
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


def _offers_version_2(turn: Turn) -> bool:
    return turn.facts.announcements is not None and turn.facts.announcements.offers != ()


def _make_hs(turn: Turn, kind: HsType, nonce: str, own: ExchangeKey) -> dict[str, Json]:
    signing_key = turn.party.identity.signing_key
    return session.make_hs(kind, nonce, own.public, signing_key, turn.now, turn.settings.zone)


def _install_session(turn: Turn, hs: HsBlock, key: Secret) -> None:
    turn.change(
        secret=key,
        peer_sign_pub=b64encode(hs.sign_pub),
        peer_kx_pub=hs.kx_pub_text,
        hs_derived_at=turn.now,
        **_NO_REFERENCES,
    )


def _session_is_proven(turn: Turn) -> None:
    # only now: an `hs` may be repeated by anybody under any id, an envelope under its key cannot be made by others
    if turn.after.pin_pending and turn.after.peer_sign_pub is not None:
        sign_pub, pinned = b64decode(turn.after.peer_sign_pub, 32), turn.facts.pinned
        if pinned is None:
            turn.emit(PinKey(sign_pub))
        elif pinned != sign_pub:  # our other role has met this peer in the meantime
            raise PeerError(Reason.KEY_CHANGED)
        turn.change(pin_pending=False)
    turn.emit(SessionOpened())


def _open_in_session(turn: Turn) -> Json:
    if turn.before.secret is None or turn.before.peer_sign_pub is None:
        raise PeerError(Reason.SEC_DOES_NOT_OPEN)
    return _open_sec(turn, turn.before.secret, b64decode(turn.before.peer_sign_pub, 32))


def _open_sec(turn: Turn, key: Secret, peer_sign_pub: bytes) -> Json:
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


def _seal(turn: Turn, message: Json, intent: str, my_nonce: str) -> Json:
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


def _take_nonce(turn: Turn) -> None:
    turn.change(peer_nonce=turn.event.my_nonce, local_nonce=None)
    turn.emit(RecordNonce("received", turn.event.my_nonce))


def _take_nonce_and_deliver(turn: Turn, message: Json) -> None:
    _take_nonce(turn)
    turn.emit(Delivered(message))


_S = State

TABLE: tuple[Transition, ...] = (
    # responder
    row(_S.RESP_READY, "register", "`to` is null, no `local_reference` is held", _holds_no_reference,
         "new nonce and X25519 key; send `confirm` with `hs`", _confirm, _S.RESP_CONFIRM),
    row(_S.RESP_READY, "register", "a `local_reference` is held, and `register` was heard instead of `reconnect` for "
         "longer than `lost_memory_after`", _has_waited_for_a_reconnect,
         "the peer has lost its memory: forget the references; as above", _confirm, _S.RESP_CONFIRM),
    row(_S.RESP_READY, "register", "a `local_reference` is held, and this is the first `register`",
         _hears_register_for_the_first_time, "start waiting for a `reconnect`", _start_waiting),
    row(_S.RESP_READY, "reconnect", "`your_ref` is our `local_reference`", _shows_our_reference,
         "forget the references; new nonce and X25519 key; send `confirm` with `hs`", _confirm, _S.RESP_CONFIRM),
    row(_S.RESP_CONFIRM, "request", "`your_nonce` is our `local_nonce`; refused unless `my_nonce` is new, `hs` proves "
         "the pinned key, `sec` opens", _echoes_our_nonce,
         "derive the session key, pin a new peer's key, deliver, send `respond`; one turn done",
         _accept_first_request, _S.RESP_EXCHANGE),
    row(_S.RESP_EXCHANGE, "request", "`my_nonce` is the one answered last", _asks_again,
         "send the same `respond` again", _repeat_answer),
    row(_S.RESP_EXCHANGE, "request", "`your_nonce` is our `local_nonce`; refused unless `my_nonce` is new and `sec` "
         "opens", _echoes_our_nonce, "deliver, send `respond`; one more turn done", _accept_request),
    row(_S.RESP_EXCHANGE, "conclude", "`your_nonce` is our `local_nonce`", _echoes_our_nonce,
         "keep `my_ref` as `peer_reference`; erase the session key; new reference; send `finish`",
         _accept_conclude, _S.RESP_FINALIZE),
    row(_S.RESP_FINALIZE, "conclude", "`my_ref` is our `peer_reference`", _concludes_again,
         "send the same `finish` again", _repeat_answer),
    row(_S.RESP_FINALIZE, "close", "`your_ref` is our `local_reference`, `my_ref` our `peer_reference`",
         _matches_both_references, "closed: forget nonces and counters; keep `local_reference` for the reconnect",
         _accept_close, _S.RESP_READY),
    # initiator
    row(_S.INIT_READY, "register", "a `peer_reference` is held, and it is time for the next conversation",
         _may_reconnect, "send `reconnect`", _ask_to_reconnect),
    row(_S.INIT_READY, "confirm", "always; refused unless `my_nonce` is new and `hs` proves the pinned key", _always,
         "derive the session key, forget the references; send the first `request` with `hs`",
         _accept_confirm, _S.INIT_EXCHANGE),
    row(_S.INIT_READY, "finish", "both references match those of the last conversation", _is_the_finish_once_more,
         "our `close` was lost: send it again", _close_once_more),
    row(_S.INIT_EXCHANGE, "respond", "`my_nonce` is the one answered last", _asks_again,
         "send the same `request` again", _repeat_answer),
    row(_S.INIT_EXCHANGE, "respond", "`your_nonce` is our `local_nonce`, and it was the last turn; refused unless "
         "`my_nonce` is new and `sec` opens", _answers_the_last_turn,
         "deliver; new reference; send `conclude`", _conclude, _S.INIT_FINALIZE_PROPOSE),
    row(_S.INIT_EXCHANGE, "respond", "`your_nonce` is our `local_nonce`; refused unless `my_nonce` is new and `sec` "
         "opens", _echoes_our_nonce, "pin a new peer's key at the first; deliver; send the next `request`", _continue),
    row(_S.INIT_FINALIZE_PROPOSE, "respond", "`my_nonce` is the one answered last", _asks_again,
         "send the same `conclude` again", _repeat_answer),
    row(_S.INIT_FINALIZE_PROPOSE, "finish", "`your_ref` is our `local_reference`", _shows_our_reference,
         "closed: keep `my_ref` as `peer_reference`; erase the session key, forget the nonces; send `close`",
         _accept_finish, _S.INIT_FINALIZE_CLOSE),
    row(_S.INIT_FINALIZE_CLOSE, "finish", "both references match", _finishes_again,
         "send the same `close` again", _repeat_answer),
    # timers and restarts
    *(row(state, "timer", "tries are left", _tries_are_left, "send the same message again", _send_again)
      for state in _UNDER_WAY),
    *(row(state, "timer", "no tries are left", _always, "give up: forget everything of this conversation",
           _give_up, ready)
      for state, ready in _GIVES_UP.items()),
    row(_S.INIT_FINALIZE_CLOSE, "timer", "no tries are left", _always,
         "forget nonces and counters; keep the references for the reconnect", _forget_conversation, _S.INIT_READY),
    *(row(state, "restart", "what was being sent and its key are there, and an `hs` in it is still fresh", _can_go_on,
           "send the same message again; once, if it is old", _go_on)
      for state in _UNDER_WAY),
    *(row(state, "restart", "otherwise", _always, "forget everything of this conversation", _start_afresh, ready)
      for state, ready in _GIVES_UP.items()),
    row(_S.INIT_FINALIZE_CLOSE, "restart", "otherwise", _always,
         "forget nonces and counters; keep the references for the reconnect", _forget_conversation, _S.INIT_READY),
)  # fmt: skip
