"""What this process tells everybody, renewed every minute: `register` with an offer, and the secrets behind our answers.

Time is an argument.
"""

from dataclasses import replace

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
from handfast.wire.v2.messages import Offered, encode_message

# The same offer of the same peer is answered once in so long.
GREETED_AGAIN_AFTER_SECONDS = 3.0


class Announcer:
    """Makes and renews what this process announces.

    In `compat` no offers are made, except where our self-certifying id says anyway that we speak version 2.

    Args:
        party: who we are; an identity without a Noise static key speaks version 1 only.
        entropy: where random values come from.

    Attributes:
        crl_sequence: of the newest revocation list that we have, which peers need not send us again.
    """

    def __init__(self, party: Party, entropy: Entropy) -> None:
        self._party = party
        self._identity = party.identity
        self._is_quiet = party.policy.mode is Mode.COMPAT and not is_self_certifying(party.identity.agent_id)
        self._entropy = entropy
        self.crl_sequence: int | None = None
        self._present: Announcements | None = None
        self._offered_at = float("-inf")
        self._is_spent = False

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

    def renew_offer(self) -> None:
        """Make another offer with one of the next `register`: answers to the present one have led nowhere.

        Whoever has greeted an offer greets it again only after a while; and what was answered to that once, and then given up,
        is refused a second time, because the responder's nonce is used up.
        """
        self._is_spent = True

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
        if (anew or self._is_spent) and monotonic - self._offered_at >= GREETED_AGAIN_AFTER_SECONDS:
            offer = present.myself.offer(self._entropy.octets(16))
            present = self._present = replace(present, offers=(offer, *present.offers)[:OFFERS_REMEMBERED])
            self._offered_at, self._is_spent = monotonic, False
        header = Header(self._identity.agent_id, None, "register")
        return encode_message(Offered(header, present.offers[0]))

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
