"""Our own vectors for what the design's lack: how a responder derives n1, ML-KEM, AES, rekeying, resumption, closing.

`whole_conversations.json` has every input and every message; a second implementation can be checked against it. The
ciphertext of ML-KEM and its secret are recorded, since `cryptography` draws their randomness itself.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from handfast.crypto import kem
from handfast.crypto.keys import ExchangeKey, Secret, SigningKey
from handfast.identity.agent_ids import self_certifying_id
from handfast.identity.binding import bind
from handfast.identity.identity import StaticKey
from handfast.session.v2.initiator import read_n1
from handfast.session.v2.parties import Myself
from handfast.session.v2.responder import ConfirmSecret, make_n1, read_n2
from handfast.session.v2.resumption import Ticket, make_k1, read_k1
from handfast.session.v2.session import Session
from handfast.session.v2.suites import SUITES
from handfast.session.v2.transcript import Transcript
from handfast.wire.v2.frames import CLOSE, CLOSE_NORMAL, DATA, REKEY_INIT, REKEY_RESP, Frame, encode_frames
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import Message, Packet, encode_message, packet_counter

FILE = Path(__file__).parents[1] / "vectors/v2/whole_conversations.json"
VECTORS: Any = json.loads(FILE.read_text()) if FILE.exists() else {}


class Conversation:
    """A conversation between two agents, as its inputs determine it."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        self.inputs = inputs
        self.now = float(inputs["now"])
        self.messages: dict[str, Any] = {}
        self.secrets: dict[str, str] = {}

    def raw(self, name: str) -> bytes:
        return bytes.fromhex(self.inputs[name])

    def agent(self, role: str) -> Myself:
        key, static = SigningKey(self.raw(f"ik {role}")), ExchangeKey(self.raw(f"s {role}"))
        agent_id, start = self_certifying_id(key.public), int(self.now) - 3600
        binding = bind(key, agent_id, static.public, start, start + 90_000)
        suite = self.inputs["suite"]
        psk = Secret(self.raw("psk")) if SUITES[suite].psk else None
        return Myself(
            agent_id,
            key.public,
            StaticKey(static, binding),
            (suite,),
            network=self.inputs["network"],
            psk=psk,
        )

    def said(self, name: str, message: Message) -> None:
        self.messages[name] = {"from": message.sender, **encode_message(message)}

    def packet(self, name: str, sender: Session, receiver: Session, header: Header, *frames: Frame) -> int:
        packet = sender.seal(header.encoded(), encode_frames(frames))
        assert receiver.open(header.encoded(), packet, self.now) == encode_frames(frames)
        self.said(name, Packet(header, packet))
        return packet_counter(packet)

    def keys(self, name: str, session: Session) -> None:
        keys = session._current.keys
        self.secrets |= {
            f"{name} k_i2r": keys.send.reveal().hex(),
            f"{name} k_r2i": keys.receive.reveal().hex(),
            f"{name} rs": keys.resumption.reveal().hex(),
            f"{name} ticket": keys.ticket.hex(),
            f"{name} audit": keys.audit.reveal().hex(),
            f"{name} sid": session.session_id.hex(),
        }

    def run(self) -> None:
        me, peer, texts = self.agent("i"), self.agent("r"), self.inputs["nonces"]
        secret = ConfirmSecret.make(peer, self.raw("confirm secret"), self.now)
        offer = me.offer(self.raw("offer nonce i"))
        n1 = make_n1(secret, peer, me.agent_id, offer)
        kem_outcome = self.raw("kem ciphertext"), Secret(self.raw("kem secret"))
        waiting, n2 = read_n1(
            me,
            [offer],
            n1,
            ephemeral=self.raw("e i"),
            nonce=texts[0],
            encapsulate=lambda _public: kem_outcome,
        )
        accepted = read_n2([secret], peer, n2, nonce=texts[1], now=self.now)
        ours, _ = waiting.read_n3(accepted.reply, self.now)
        theirs = accepted.session
        for name, message in (("confirm", n1), ("request 1", n2), ("respond 1", accepted.reply)):
            self.said(name, message)
        self.keys("full", ours)
        self.talk(ours, theirs, me.agent_id, peer.agent_id, texts)
        attempt, k1 = make_k1(
            me, Ticket.of(ours), me.offer(self.raw("offer nonce k")), ephemeral=self.raw("e k1"), now=self.now
        )
        resumed = read_k1(
            peer, Ticket.of(theirs), k1, ephemeral=self.raw("e k2"), nonce=texts[6], now=self.now
        )
        again, _ = attempt.read_k2(resumed.reply, self.now)
        self.said("reconnect", k1)
        self.said("confirm of reconnect", resumed.reply)
        self.keys("resumed", again)

    def talk(self, ours: Session, theirs: Session, me: str, peer: str, texts: list[str]) -> None:
        """A question with a rekeying, its answer, and a closing under the new keys."""
        question, answer = b'{"message":"How are you?"}', b'{"message":"Fine."}'
        asked = Header(me, peer, "request", my_nonce=texts[2], your_nonce=texts[1])
        init = ours.start_rekey(self.raw("e rekey i"))
        counter = self.packet(
            "request 2", ours, theirs, asked, Frame(DATA, question), Frame(REKEY_INIT, init)
        )
        transcript = Transcript.start(ours.session_id).add(counter, question, by_initiator=True)
        answered = Header(peer, me, "respond", my_nonce=texts[3], your_nonce=texts[2])
        response = theirs.answer_rekey(init, self.raw("e rekey r"), self.now)
        frames = Frame(DATA, answer), Frame(REKEY_RESP, response)
        counter = self.packet("respond 2", theirs, ours, answered, *frames)
        transcript = transcript.add(counter, answer, by_initiator=False)
        ours.finish_rekey(response, self.now)
        concluded = Header(me, peer, "conclude", your_nonce=texts[3], my_ref=texts[4])
        close = transcript.close(CLOSE_NORMAL)
        self.packet("conclude", ours, theirs, concluded, Frame(CLOSE, close.encode()))
        self.secrets["transcript"] = close.transcript.hex()
        self.keys("rekeyed", ours)
        assert theirs.generation == 2


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.skipif(not kem.available(), reason="the installed cryptography has no ML-KEM")
def test_a_whole_conversation_is_the_recorded_one(name: str) -> None:
    vector = VECTORS[name]
    conversation = Conversation(vector["inputs"])
    conversation.run()
    assert conversation.messages == vector["messages"]
    assert conversation.secrets == vector["secrets"]


def test_there_are_vectors_for_both_ciphers() -> None:
    assert {SUITES[vector["inputs"]["suite"]].short.cipher.name for vector in VECTORS.values()} == {
        "ChaChaPoly",
        "AESGCM",
    }
