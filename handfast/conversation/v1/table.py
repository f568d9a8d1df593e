"""THE table of the version 1 conversation (hsagent-v1.md, section 2). Nothing else changes its states.

Rows are tried from the top; the first whose guard holds fires; an event that fires none is ignored.
"""

from handfast.conversation import shared
from handfast.conversation.model import State
from handfast.conversation.turn import Transition, row
from handfast.conversation.v1 import initiator as i
from handfast.conversation.v1 import parts
from handfast.conversation.v1 import responder as r

_S = State
# the states that are abandoned altogether; `init_finalize_close` has done its part and keeps its references
_GIVES_UP = {
    _S.RESP_CONFIRM: _S.RESP_READY,
    _S.RESP_EXCHANGE: _S.RESP_READY,
    _S.RESP_FINALIZE: _S.RESP_READY,
    _S.INIT_EXCHANGE: _S.INIT_READY,
    _S.INIT_FINALIZE_PROPOSE: _S.INIT_READY,
}
# the states of a conversation under way
_UNDER_WAY = (*_GIVES_UP, _S.INIT_FINALIZE_CLOSE)

TABLE: tuple[Transition, ...] = (
    # responder
    row(_S.RESP_READY, "register", "`to` is null, no `local_reference` is held", r.holds_no_reference,
        "new nonce and X25519 key; send `confirm` with `hs`", r.confirm, _S.RESP_CONFIRM),
    row(_S.RESP_READY, "register", "a `local_reference` is held, and `register` was heard instead of `reconnect` for "
        "longer than `lost_memory_after`", r.has_waited_for_a_reconnect,
        "the peer has lost its memory: forget the references; as above", r.confirm, _S.RESP_CONFIRM),
    row(_S.RESP_READY, "register", "a `local_reference` is held, and this is the first `register`",
        r.hears_register_for_the_first_time, "start waiting for a `reconnect`", r.start_waiting),
    row(_S.RESP_READY, "reconnect", "`your_ref` is our `local_reference`", parts.shows_our_reference,
        "forget the references; new nonce and X25519 key; send `confirm` with `hs`", r.confirm, _S.RESP_CONFIRM),
    row(_S.RESP_CONFIRM, "request", "`your_nonce` is our `local_nonce`; refused unless `my_nonce` is new, `hs` proves "
        "the pinned key, `sec` opens", parts.echoes_our_nonce,
        "derive the session key, pin a new peer's key, deliver, send `respond`; one turn done",
        r.accept_first_request, _S.RESP_EXCHANGE),
    row(_S.RESP_EXCHANGE, "request", "`my_nonce` is the one answered last", parts.asks_again,
        "send the same `respond` again", shared.repeat_answer),
    row(_S.RESP_EXCHANGE, "request", "`your_nonce` is our `local_nonce`; refused unless `my_nonce` is new and `sec` "
        "opens", parts.echoes_our_nonce, "deliver, send `respond`; one more turn done", r.accept_request),
    row(_S.RESP_EXCHANGE, "conclude", "`your_nonce` is our `local_nonce`", parts.echoes_our_nonce,
        "keep `my_ref` as `peer_reference`; erase the session key; new reference; send `finish`",
        r.accept_conclude, _S.RESP_FINALIZE),
    row(_S.RESP_FINALIZE, "conclude", "`my_ref` is our `peer_reference`", parts.concludes_again,
        "send the same `finish` again", shared.repeat_answer),
    row(_S.RESP_FINALIZE, "close", "`your_ref` is our `local_reference`, `my_ref` our `peer_reference`",
        parts.matches_both_references, "closed: forget nonces and counters; keep `local_reference` for the reconnect",
        r.accept_close, _S.RESP_READY),
    # initiator
    row(_S.INIT_READY, "register", "a `peer_reference` is held, and it is time for the next conversation",
        i.may_reconnect, "send `reconnect`", i.ask_to_reconnect),
    row(_S.INIT_READY, "confirm", "always; refused unless `my_nonce` is new and `hs` proves the pinned key",
        shared.always, "derive the session key, forget the references; send the first `request` with `hs`",
        i.accept_confirm, _S.INIT_EXCHANGE),
    row(_S.INIT_READY, "finish", "both references match those of the last conversation", i.is_the_finish_once_more,
        "our `close` was lost: send it again", i.close_once_more),
    row(_S.INIT_EXCHANGE, "respond", "`my_nonce` is the one answered last", parts.asks_again,
        "send the same `request` again", shared.repeat_answer),
    row(_S.INIT_EXCHANGE, "respond", "`your_nonce` is our `local_nonce`, and it was the last turn; refused unless "
        "`my_nonce` is new and `sec` opens", i.answers_the_last_turn,
        "deliver; new reference; send `conclude`", i.conclude, _S.INIT_FINALIZE_PROPOSE),
    row(_S.INIT_EXCHANGE, "respond", "`your_nonce` is our `local_nonce`; refused unless `my_nonce` is new and `sec` "
        "opens", parts.echoes_our_nonce, "pin a new peer's key at the first; deliver; send the next `request`",
        i.continue_talking),
    row(_S.INIT_FINALIZE_PROPOSE, "respond", "`my_nonce` is the one answered last", parts.asks_again,
        "send the same `conclude` again", shared.repeat_answer),
    row(_S.INIT_FINALIZE_PROPOSE, "finish", "`your_ref` is our `local_reference`", parts.shows_our_reference,
        "closed: keep `my_ref` as `peer_reference`; erase the session key, forget the nonces; send `close`",
        i.accept_finish, _S.INIT_FINALIZE_CLOSE),
    row(_S.INIT_FINALIZE_CLOSE, "finish", "both references match", parts.finishes_again,
        "send the same `close` again", shared.repeat_answer),
    # timers and restarts
    *(row(state, "timer", "tries are left", parts.tries_are_left, "send the same message again", shared.send_again)
      for state in _UNDER_WAY),
    *(row(state, "timer", "no tries are left", shared.always, "give up: forget everything of this conversation",
          parts.give_up, ready)
      for state, ready in _GIVES_UP.items()),
    row(_S.INIT_FINALIZE_CLOSE, "timer", "no tries are left", shared.always,
        "forget nonces and counters; keep the references for the reconnect", i.forget_conversation, _S.INIT_READY),
    *(row(state, "restart", "what was being sent and its key are there, and an `hs` in it is still fresh",
          parts.can_go_on, "send the same message again; once, if it is old", parts.go_on)
      for state in _UNDER_WAY),
    *(row(state, "restart", "otherwise", shared.always, "forget everything of this conversation",
          parts.start_afresh, ready)
      for state, ready in _GIVES_UP.items()),
    row(_S.INIT_FINALIZE_CLOSE, "restart", "otherwise", shared.always,
        "forget nonces and counters; keep the references for the reconnect", i.forget_conversation, _S.INIT_READY),
)  # fmt: skip
