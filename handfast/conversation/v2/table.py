"""THE table of the version 2 conversation (v2-handshake.md, section 9). Nothing else changes its states.

Rows are tried from the top; the first whose guard holds fires; an event that fires none is ignored.
"""

from handfast.conversation import shared
from handfast.conversation.model import State
from handfast.conversation.turn import Transition, row
from handfast.conversation.v2 import initiator as i
from handfast.conversation.v2 import parts
from handfast.conversation.v2 import responder as r

_S = State
_RESPONDING = (_S.RESP_READY, _S.RESP_HALF, _S.RESP_EXCHANGE, _S.RESP_FINALIZE)
_WITH_HALVES = (_S.RESP_HALF, _S.RESP_EXCHANGE, _S.RESP_FINALIZE)
# `resp_confirm` and an unproven `init_exchange` are of version 1: anybody can bring them about in the peer's name
_SHAKING_HANDS = (*_RESPONDING, _S.RESP_CONFIRM)
_WAITING = (_S.INIT_EXCHANGE, _S.INIT_FINALIZE_PROPOSE)
# where a handshake leads to, and where it leaves a conversation that goes on until the new session is confirmed
_HALF = dict.fromkeys((_S.RESP_READY, _S.RESP_CONFIRM), _S.RESP_HALF)
_GIVES_UP = {
    _S.RESP_FINALIZE: _S.RESP_READY,
    _S.INIT_EXCHANGE: _S.INIT_READY,
    _S.INIT_FINALIZE_PROPOSE: _S.INIT_READY,
}

TABLE: tuple[Transition, ...] = (
    # responder: handshakes
    row(_S.RESP_READY, "register", "no ticket is held, or its holder has not shown it for longer than "
        "`lost_memory_after`", r.greets_strangers, "send `n1`; keep nothing", r.greet, volatile=True),
    *(row(state, "register", "always", shared.always, "send `n1`; keep nothing", r.greet, volatile=True)
      for state in (_S.RESP_CONFIRM, _S.RESP_HALF)),
    *(row(state, "register", "the peer is silent for longer than it repeats anything", r.has_fallen_silent,
          "send `n1`; keep nothing", r.greet, volatile=True)
      for state in (_S.RESP_EXCHANGE, _S.RESP_FINALIZE)),
    *(row(state, "n2", "`your_nonce` was used up; refused unless it is the same `n2`", r.uses_a_consumed_nonce,
          "send the same `n3` again", r.repeat_n3, volatile=True)
      for state in _SHAKING_HANDS),
    *(row(state, "n2", "`your_nonce` is made from our secret; refused unless the handshake proves the peer and trust "
          "agrees", r.carries_our_nonce, "use the nonce up; keep the half-open session; send `n3`", r.accept_n2,
          _HALF.get(state, state))
      for state in _SHAKING_HANDS),
    *(row(state, "k1", "it is the one that was answered", r.repeats_the_k1, "send the same `k2` again", r.repeat_k2,
          volatile=True)
      for state in _WITH_HALVES),
    *(row(state, "k1", "it shows our ticket, unused and in time; refused unless the handshake proves the peer and trust "
          "still agrees", r.shows_our_ticket, "use the ticket up; keep the half-open session; send `k2`", r.accept_k1,
          _HALF.get(state, state))
      for state in _RESPONDING),
    *(row(state, "k1", "otherwise", shared.always, "the ticket is good for nothing: send `n1`; keep nothing", r.greet,
          volatile=True)
      for state in _SHAKING_HANDS),
    # responder: the conversation
    *(row(state, "request", "it is under the keys of the half-open session; refused unless it opens", r.confirms_the_half,
          "key confirmed: erase an older session, pin the peer, keep a ticket; deliver, send `respond`; one turn done",
          r.open_first_packet, _S.RESP_EXCHANGE)
      for state in _WITH_HALVES),
    row(_S.RESP_EXCHANGE, "request", "it repeats what was answered last", parts.asks_again,
        "send the same `respond` again", shared.repeat_answer, volatile=True),
    row(_S.RESP_EXCHANGE, "request", "`your_nonce` is our `local_nonce`; refused unless it opens", parts.echoes_our_nonce,
        "deliver, send `respond`; one more turn done", r.accept_request),
    row(_S.RESP_EXCHANGE, "conclude", "`your_nonce` is our `local_nonce`; refused unless it opens and both remember the "
        "same", parts.echoes_our_nonce, "keep `my_ref`; new reference; send `finish`", r.accept_conclude,
        _S.RESP_FINALIZE),
    row(_S.RESP_FINALIZE, "conclude", "it repeats what was answered last", r.concludes_again,
        "send the same `finish` again", shared.repeat_answer, volatile=True),
    row(_S.RESP_FINALIZE, "close", "as below, and a half-open session waits", r.closes_before_another,
        "as below; send its `n3` or `k2` again", r.accept_close, _S.RESP_HALF),
    row(_S.RESP_FINALIZE, "close", "both references match; refused unless it opens and both remember the same", r.closes,
        "closed: erase the session, keep the ticket; send `finish` with CLOSED", r.accept_close, _S.RESP_READY),
    *(row(state, "close", "it repeats the last one", r.closes_again, "send the same `finish` again",
          r.say_farewell_again, volatile=True)
      for state in (_S.RESP_READY, _S.RESP_HALF)),
    # initiator: handshakes
    row(_S.INIT_READY, "register", "a ticket is held, and it is time for the next conversation", i.may_resume,
        "send `k1`", i.ask_to_resume, _S.INIT_HS, volatile=True),
    row(_S.INIT_READY, "n1", "a ticket is held, and it is time for the next conversation", i.may_resume,
        "send `k1`", i.ask_to_resume, _S.INIT_HS, volatile=True),
    row(_S.INIT_READY, "n1", "it answers an offer of ours, and it is time for a conversation; refused unless the "
        "selection follows from both offers", i.may_begin, "send `n2`", i.accept_n1, _S.INIT_HS, volatile=True),
    row(_S.INIT_READY, "submit", "a ticket is held", i.may_resume, "send `k1`", i.ask_to_resume, _S.INIT_HS,
        volatile=True),
    row(_S.INIT_HS, "n1", "it was answered", i.is_the_n1_once_more, "send the same `n2` again", i.repeat_n2,
        volatile=True),
    row(_S.INIT_HS, "n1", "it answers an offer of ours; refused unless the selection follows from both offers",
        i.is_another_n1, "send `n2` as well; of too many attempts, one by chance is forgotten", i.accept_n1,
        volatile=True),
    row(_S.INIT_HS, "n3", "it answers an attempt of ours; refused unless the handshake proves the peer and trust agrees",
        i.answers_an_attempt, "pin the peer, keep a ticket; send the first `request` with data", i.accept_n3,
        _S.INIT_EXCHANGE),
    row(_S.INIT_HS, "k2", "a `k1` waits for it; refused unless the handshake proves the peer and trust still agrees",
        i.is_resuming, "keep a new ticket; send the first `request` with data", i.accept_k2, _S.INIT_EXCHANGE),
    row(_S.INIT_EXCHANGE, "n1", "the conversation is of version 1, and nothing in it proves the peer", i.is_unproven,
        "leave it; send `n2`", i.accept_n1, _S.INIT_HS, volatile=True),
    *(row(state, "register", "what we say was repeated in vain until now", i.is_waited_for, "say it once more", i.nudge,
          volatile=True)
      for state in _WAITING),
    *(row(state, "register", "that was in vain, too, and a ticket is held", i.may_resume_with_the_silent,
          "send `k1`, once; go on", i.ask_to_resume, volatile=True)
      for state in _WAITING),
    *(row(state, "n1", "we said it once more, in vain", i.is_n1_of_the_silent, "send `n2`, once; go on", i.accept_n1,
          volatile=True)
      for state in _WAITING),
    *(row(state, "n3", "it answers an attempt of ours; refused as in `init_hs`", i.answers_an_attempt,
          "leave the conversation; begin anew, as in `init_hs`", i.accept_n3, _S.INIT_EXCHANGE)
      for state in _WAITING),
    *(row(state, "k2", "a `k1` waits for it; refused as in `init_hs`", i.is_resuming,
          "leave the conversation; begin anew, as in `init_hs`", i.accept_k2, _S.INIT_EXCHANGE)
      for state in _WAITING),
    # initiator: the conversation
    row(_S.INIT_EXCHANGE, "respond", "it repeats what was answered last", parts.asks_again,
        "send the same `request` again", shared.repeat_answer, volatile=True),
    row(_S.INIT_EXCHANGE, "respond", "`your_nonce` is our `local_nonce`, and it was the last turn; refused unless it opens",
        i.ends_the_conversation, "deliver; new reference; send `conclude`", i.conclude, _S.INIT_FINALIZE_PROPOSE),
    row(_S.INIT_EXCHANGE, "respond", "`your_nonce` is our `local_nonce`, and letters are carried; refused unless it opens",
        i.continues_with_letters, "note what has arrived; send the next letters in a `request`, or pause where none wait "
        "or the peer has no room", i.continue_with_letters),
    row(_S.INIT_EXCHANGE, "respond", "`your_nonce` is our `local_nonce`; refused unless it opens", parts.echoes_our_nonce,
        "deliver; send the next `request`", i.continue_talking),
    row(_S.INIT_EXCHANGE, "submit", "in a pause; the session is too old for another turn", i.is_exhausted_pausing,
        "new reference; send `conclude`", i.conclude_the_pause, _S.INIT_FINALIZE_PROPOSE),
    row(_S.INIT_EXCHANGE, "submit", "in a pause, and not because the peer has no room", i.may_go_on_at_once,
        "send the next letters in a `request`", i.go_on),
    row(_S.INIT_FINALIZE_PROPOSE, "respond", "it repeats what was answered last", parts.asks_again,
        "send the same `conclude` again", shared.repeat_answer, volatile=True),
    row(_S.INIT_FINALIZE_PROPOSE, "finish", "`your_ref` is our `local_reference`; refused unless it opens and both "
        "remember the same", i.shows_our_reference, "closed: keep `my_ref`; send `close`", i.accept_finish,
        _S.INIT_FINALIZE_CLOSE),
    row(_S.INIT_FINALIZE_CLOSE, "finish", "it repeats what was answered last", i.finishes_again,
        "send the same `close` again", shared.repeat_answer, volatile=True),
    row(_S.INIT_FINALIZE_CLOSE, "finish", "both references match; refused unless it opens and holds CLOSED", i.has_closed,
        "erase the session", i.accept_closed, _S.INIT_READY),
    # timers
    row(_S.INIT_HS, "timer", "a `k1` waits, and tries are left", i.tries_to_resume_are_left, "send it again",
        shared.send_again, volatile=True),
    row(_S.INIT_HS, "timer", "a `k1` waits in vain", i.is_resuming, "give the ticket up", i.give_the_ticket_up,
        _S.INIT_READY),
    row(_S.INIT_HS, "timer", "tries are left", i.tries_to_begin_are_left, "send the latest `n2` again", shared.send_again,
        volatile=True),
    # written down: what was left for these attempts may be a stored conversation of version 1
    row(_S.INIT_HS, "timer", "otherwise", shared.always, "forget the attempts", i.forget_the_attempts, _S.INIT_READY),
    row(_S.RESP_HALF, "timer", "tries are left", parts.tries_are_left, "send the same message again", shared.send_again,
        volatile=True),
    row(_S.RESP_HALF, "timer", "otherwise", shared.always, "forget the half-open session", parts.forget, _S.RESP_READY),
    row(_S.RESP_EXCHANGE, "timer", "the answer was held back for an audience", r.waits_to_answer, "send it",
        r.send_the_answer),
    row(_S.RESP_EXCHANGE, "timer", "otherwise: ten minutes without a word", shared.always, "give up: erase the session",
        r.forget_the_idle, _S.RESP_READY),
    row(_S.INIT_EXCHANGE, "timer", "a pause is over, and letters wait", i.may_go_on,
        "send the next letters in a `request`", i.go_on),
    row(_S.INIT_EXCHANGE, "timer", "a pause is over", i.is_pausing, "new reference; send `conclude`", i.conclude_the_pause,
        _S.INIT_FINALIZE_PROPOSE),
    *(row(state, "timer", "tries are left", parts.tries_are_left, "send the same message again", shared.send_again)
      for state in (*_GIVES_UP, _S.INIT_FINALIZE_CLOSE)),
    *(row(state, "timer", "otherwise", shared.always, "give up: erase the session, keep the ticket", parts.give_up, ready)
      for state, ready in _GIVES_UP.items()),
    row(_S.INIT_FINALIZE_CLOSE, "timer", "otherwise", shared.always, "erase the session", i.end_quietly, _S.INIT_READY),
    # restarts: no session outlives its process
    *(row(state, "restart", "always", shared.always, "forget the conversation; keep the ticket", parts.start_afresh,
          _S.RESP_READY)
      for state in (_S.RESP_EXCHANGE, _S.RESP_FINALIZE)),
    *(row(state, "restart", "always", shared.always, "forget the conversation; keep the ticket", parts.start_afresh,
          _S.INIT_READY)
      for state in (_S.INIT_EXCHANGE, _S.INIT_FINALIZE_PROPOSE)),
    row(_S.INIT_FINALIZE_CLOSE, "restart", "always", shared.always, "the conversation was closed: keep the ticket",
        i.end_quietly, _S.INIT_READY),
)  # fmt: skip
