"""What an attacker who heard everything would try on an agent, and what must come of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from handfast.adapters.system import SystemEntropy
from handfast.cli.demo.eavesdropper import Eavesdropper, Overheard
from handfast.errors import PeerError, Reason
from handfast.identity import Identity
from handfast.session.v1 import make_hs
from handfast.session.v2.initiator import read_n1
from handfast.session.v2.parties import Myself
from handfast.session.v2.suites import suites_for
from handfast.wire.text import b64url_decode, b64url_encode
from handfast.wire.v1 import encode_message as encode_v1
from handfast.wire.v2.messages import N1, encode_message, parse_message
from handfast.wire.v2.offers import NONCE_BYTES

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that an attacker would try.

    Attributes:
        what: in words.
        payload: the message.
        answer: why it is refused; None where it fits nothing that is waited for.
        greeted: whether it is answered as a stranger's offer is; otherwise with silence.
    """

    what: str
    payload: Payload
    answer: Reason | None = None
    greeted: bool = False


def attempts_with(
    eve: Eavesdropper, victim: str, friend: str, name: str, talk: Sequence[Overheard]
) -> list[Attempt]:
    """What to try on the agent `victim`, having heard all of a conversation that `friend`, called `name`, led with it."""
    own, n2 = eve.identity, talk[1].message
    packet = next(line.message for line in talk if line.kind == "packet")
    nonce = SystemEntropy().nonce()
    hs = make_hs("response", nonce, own.exchange_key.public, own.signing_key, time.time(), None)
    old = encode_v1(victim, "confirm", my_nonce=nonce, hs=hs)
    return [
        Attempt(f"speaks version 1 in {name}'s name", old | {"from": friend}),
        Attempt(f"repeats a sealed packet of {name}", packet),
        Attempt(f"shows {name}'s handshake as her own", n2 | {"from": own.agent_id}),
        Attempt(f"repeats {name}'s handshake, one byte changed", _changed(n2), Reason.NONCE_USED),
    ]


def used_ticket(eve: Eavesdropper, friend: str, name: str, k1: Payload) -> Attempt:
    """Show a ticket that `friend`, called `name`, has used: it is good for nothing but to be greeted like a stranger."""
    offer = _posing_as(friend, eve.identity).offer(SystemEntropy().octets(NONCE_BYTES))
    payload = k1 | {"hs": k1["hs"] | {"o": b64url_encode(offer)}}
    return Attempt(f"shows a ticket of {name} that was used", payload, greeted=True)


def impersonation(eve: Eavesdropper, friend: str, name: str, offer: str, n1: Overheard) -> Attempt:
    """Answer an n1 that was sent to `friend`, called `name`, in his place; all is as it should be but the key.

    Args:
        eve: who does it.
        friend, name: the id and the name of the agent whose part she plays.
        offer: B(x) of what the n1 answers.
        n1: as overheard.
    """
    message = parse_message(n1.message, friend)
    if not isinstance(message, N1):
        raise PeerError(Reason.FORMAT, "no n1")
    entropy, me = SystemEntropy(), _posing_as(friend, eve.identity)
    nonce = b64url_encode(entropy.octets(NONCE_BYTES))
    _, n2 = read_n1(me, [b64url_decode(offer)], message, ephemeral=entropy.exchange_key(), nonce=nonce)
    return Attempt(
        f"takes part as {name}, with a key of her own",
        encode_message(n2) | {"from": friend},
        Reason.ID_NOT_SELF_CERTIFIED,
    )


def _posing_as(friend: str, own: Identity) -> Myself:
    now = time.time()
    liar = replace(own, agent_id=friend).with_static_key(SystemEntropy().exchange_key(), now)
    return Myself.from_identity(liar, suites_for("prefer", psk=False), now)


def _changed(n2: Payload) -> Payload:
    message = bytearray(b64url_decode(n2["hs"]["m"]))
    message[-1] ^= 1
    return n2 | {"hs": n2["hs"] | {"m": b64url_encode(bytes(message))}}
