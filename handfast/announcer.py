"""What this process tells everybody, renewed every minute: `register` with an offer, and the secrets behind our answers.

Greeting strangers costs a curve multiplication each, so it has a budget: v2-handshake.md, section 11. Time is an argument.
"""

import hashlib
from collections import OrderedDict
from dataclasses import replace

from handfast.budget import Budget
from handfast.conversation.live import OFFERS_REMEMBERED, Announcements, announce
from handfast.conversation.model import Party
from handfast.identity.agent_ids import is_self_certifying
from handfast.ports import Entropy
from handfast.session.v2.parties import Myself
from handfast.session.v2.suites import suites_for
from handfast.trust.certificate import presentable
from handfast.trust.decision import Mode
from handfast.wire.text import Json
from handfast.wire.v1 import encode_message as encode_v1
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import K1, Offered, encode_message

# So many answers to offers at once, and so many a second; the same offer of the same peer is answered once in a while.
_GREETINGS = (40, 20.0)
_GREETED_AGAIN_AFTER_SECONDS = 3.0
# Anybody can send an n1 in a peer's name. The first is answered as any beginning of a conversation; others, each of which
# costs a key pair, two agreements and a line, so many at once and so many a second.
_FURTHER_ANSWERS = (40, 20.0)
_GREETINGS_REMEMBERED = 4_096


class Announcer:
    """Makes and renews what this process announces.

    In `compat` no offers are made, except where our self-certifying id says anyway that we speak version 2.

    Args:
        party: who we are; an identity without a Noise static key speaks version 1 only.
        entropy: where random values come from.
        now: the present moment on a clock that never jumps, in seconds.

    Attributes:
        crl_sequence: of the newest revocation list that we have, which peers need not send us again.
    """

    def __init__(self, party: Party, entropy: Entropy, now: float) -> None:
        self._party = party
        self._identity = party.identity
        self._is_quiet = party.policy.mode is Mode.COMPAT and not is_self_certifying(party.identity.agent_id)
        self._entropy = entropy
        self.crl_sequence: int | None = None
        self._present: Announcements | None = None
        self._offered_at = float("-inf")
        self._greetings = Budget(*_GREETINGS, now)
        self._answers = Budget(*_FURTHER_ANSWERS, now)
        self._greeted: OrderedDict[tuple[str, bytes], float] = OrderedDict()

    def present(self, now: float, monotonic: float) -> Announcements | None:
        """What is announced now; None where we speak version 1 only.

        Args:
            now: seconds since 1970 UTC.
            monotonic: the same moment on a clock that never jumps.
        """
        if not self._identity.static_keys:
            return None
        if self._present is None or monotonic >= self._present.renew_at:
            self._present = announce(
                self._present,
                self._myself(now),
                self._entropy,
                offering=not self._is_quiet,
                now=now,
                monotonic=monotonic,
            )
        return self._present

    def register(self, now: float, monotonic: float, *, anew: bool = False) -> dict[str, Json]:
        """The broadcast "I am here", as it is handed to the sender.

        Args:
            now: seconds since 1970 UTC.
            monotonic: the same moment on a clock that never jumps.
            anew: whether to make another offer, which is greeted at once by those who have just greeted the last one, while
                we had no reason to answer; if that was not done too lately.
        """
        present = self.present(now, monotonic)
        if present is None or not present.offers:
            return encode_v1(None, "register")
        if anew and monotonic - self._offered_at >= _GREETED_AGAIN_AFTER_SECONDS:
            offer = present.myself.offer(self._entropy.octets(16))
            present = self._present = replace(present, offers=(offer, *present.offers)[:OFFERS_REMEMBERED])
            self._offered_at = monotonic
        header = Header(self._identity.agent_id, None, "register")
        return encode_message(Offered(header, present.offers[0]))

    def may_greet(self, message: Offered | K1, monotonic: float) -> bool:
        """Whether to answer this offer, or a ticket that is good for nothing, with `n1` now; if so, it is counted."""
        key = message.sender, hashlib.sha256(message.offer).digest()
        last = self._greeted.get(key)
        # a ticket is shown because an offer was answered, and at a rate of its own
        is_repeated = last is not None and monotonic - last < _GREETED_AGAIN_AFTER_SECONDS
        if is_repeated and isinstance(message, Offered):
            return False
        if self._greetings.take(monotonic) is None:
            return False
        self._greeted[key] = monotonic
        self._greeted.move_to_end(key)
        if len(self._greeted) > _GREETINGS_REMEMBERED:
            self._greeted.popitem(last=False)
        return True

    def may_answer_another(self, monotonic: float) -> bool:
        """Whether to answer one more `n1` to a peer whose first one was answered already; if so, it is counted."""
        return self._answers.take(monotonic) is not None

    def _myself(self, now: float) -> Myself:
        if not self._identity.is_current(now):
            # a process that runs for weeks renews its static key in memory; the file follows at the next start
            self._identity = self._identity.with_static_key(self._entropy.exchange_key(), now)
        party = self._party
        suites = suites_for(party.post_quantum, psk=party.psk is not None)
        return replace(
            Myself.from_identity(self._identity, suites, now),
            network=party.network,
            psk=party.psk,
            certificate=presentable(self._identity, now),
            demands_certificate=party.policy.require_certificate,
            crl_sequence=self.crl_sequence,
        )
