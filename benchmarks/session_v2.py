"""What version 2's handshakes and packets cost beside what they are made of: `python -m benchmarks.session_v2`.

Yardsticks:

- `primitives` of a handshake: every curve operation, signature check, AEAD call, key derivation and ML-KEM operation that
  it prescribes, called directly in `cryptography` on bytes as they come from the wire (so that loading a public key
  counts); no message, no check;
- `noiseprotocol`: the handshake alone, both sides in that package, without identities;
- `bare AEAD`: one encrypt and one decrypt with loaded keys;
- `the parts` of the whole way: our own functions for the header, the JSON, the base64, the frames and the packet, one
  after the other, without the message they make up.

Both sides of everything run in turn in this process. A first contact verifies two signatures; the bindings of peers that come
again are known. Resumption needs eight curve multiplications (KKpsk0), or six where both sides remember what their static
keys agree on, and the full handshake six and two signature checks. So it cannot be 2.5 times as fast: the lines that compare
primitives tell how fast it could be if nothing else took time.
"""

import gc
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from benchmarks.measure import Result, Target, in_turns, print_table, ratio
from benchmarks.noise import noiseprotocol_xx
from handfast.crypto import kem
from handfast.crypto.keys import ExchangeKey, SigningKey
from handfast.identity.agent_ids import self_certifying_id
from handfast.identity.binding import bind, forget_bindings
from handfast.identity.identity import StaticKey
from handfast.session.v2.initiator import read_n1
from handfast.session.v2.parties import Myself
from handfast.session.v2.responder import ConfirmSecret, make_n1, read_n2
from handfast.session.v2.resumption import Ticket, make_k1, read_k1
from handfast.session.v2.session import Session
from handfast.session.v2.suites import CHACHA, CHACHA_KEM, SUITES
from handfast.session.v2.window import Window
from handfast.wire.text import b64url_decode, b64url_encode, canonical_json, strict_json
from handfast.wire.v2.frames import DATA, Frame, encode_frames, parse_frames
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import Packet, encode_message, parse_message

AES = 0x0101
ROUNDS = 60
HANDSHAKES = 10
PACKETS = 400
SESSIONS = 10_000
TEXT_BYTES = 1024

Way = Callable[[], object]


def _agent(*suites: int) -> Myself:
    key, static, now = (
        SigningKey(secrets.token_bytes(32)),
        ExchangeKey(secrets.token_bytes(32)),
        int(time.time()),
    )
    agent_id = self_certifying_id(key.public)
    binding = bind(key, agent_id, static.public, now, now + 86_400)
    return Myself(agent_id, key.public, StaticKey(static, binding), suites)


def _nonce() -> str:
    return b64url_encode(secrets.token_bytes(16))


class Pair:
    """Two agents that can shake hands again and again."""

    def __init__(self, suite: int) -> None:
        self.now = time.time()
        self.initiator, self.responder = _agent(suite), _agent(suite)
        self.secret = ConfirmSecret.make(self.responder, secrets.token_bytes(48), self.now)
        self.offer = self.initiator.offer(secrets.token_bytes(16))
        self.tickets = [Ticket.of(session) for session in self.full()]

    def first(self) -> tuple[Session, Session]:
        """The full handshake of two agents that have never met."""
        forget_bindings()
        return self.full()

    def full(self) -> tuple[Session, Session]:
        """The full handshake, from the offer to two sessions, of agents that know each other's bindings."""
        self.offer = self.initiator.offer(secrets.token_bytes(16))
        n1 = make_n1(self.secret, self.responder, self.initiator.agent_id, self.offer)
        waiting, n2 = read_n1(
            self.initiator, [self.offer], n1, ephemeral=secrets.token_bytes(32), nonce=_nonce()
        )
        accepted = read_n2([self.secret], self.responder, n2, nonce=_nonce(), now=self.now)
        session, _ = waiting.read_n3(accepted.reply, self.now)
        return session, accepted.session

    def restarted(self) -> tuple[Session, Session]:
        """The short handshake of two agents that have just been started, and remember nothing."""
        for side in (self.initiator, self.responder):
            side.static.key._remembered = None  # noqa: SLF001
        return self.short()

    def short(self) -> tuple[Session, Session]:
        """The short handshake, from the tickets to two sessions."""
        ours, theirs = self.tickets
        attempt, k1 = make_k1(
            self.initiator, ours, self.offer, ephemeral=secrets.token_bytes(32), now=self.now
        )
        answered = read_k1(
            self.responder, theirs, k1, ephemeral=secrets.token_bytes(32), nonce=_nonce(), now=self.now
        )
        session, _ = attempt.read_k2(answered.reply, self.now)
        return session, answered.session


class Primitives:
    """The operations that handshakes are made of, with nothing between them."""

    def __init__(self) -> None:
        self.static = X25519PrivateKey.generate()
        self.public = X25519PrivateKey.generate().public_key().public_bytes_raw()
        signing = Ed25519PrivateKey.generate()
        self.signer, self.text = signing.public_key().public_bytes_raw(), bytes(180)
        self.signature = signing.sign(self.text)
        self.key, self.nonce, self.payload, self.hash = bytes(32), bytes(12), bytes(192), bytes(32)
        self.sealed = ChaCha20Poly1305(self.key).encrypt(self.nonce, self.payload, self.hash)
        self.kem_seed = secrets.token_bytes(kem.SEED_BYTES)

    def run(
        self, *, ephemerals: int, exchanges: int, signatures: int, messages: int, derivations: int
    ) -> None:
        """Each operation so many times; a message is sealed once and opened once."""
        for _ in range(ephemerals):
            X25519PrivateKey.from_private_bytes(secrets.token_bytes(32)).public_key().public_bytes_raw()
        for _ in range(exchanges):
            self.static.exchange(X25519PublicKey.from_public_bytes(self.public))
        for _ in range(signatures):
            Ed25519PublicKey.from_public_bytes(self.signer).verify(self.signature, self.text)
        for _ in range(messages):
            ChaCha20Poly1305(self.key).encrypt(self.nonce, self.payload, self.hash)
            ChaCha20Poly1305(self.key).decrypt(self.nonce, self.sealed, self.hash)
        for _ in range(4 * messages):
            hashlib.sha256(self.payload).digest()
        for _ in range(derivations):
            HKDF(SHA256(), 64, self.hash, b"").derive(self.key)

    def full(self) -> None:
        """XX, both sides, and the signatures of both bindings."""
        # two keys and two payloads are sealed; three mixed secrets and the split on each side; the two key ids each
        self.run(ephemerals=2, exchanges=6, signatures=2, messages=4, derivations=8)
        for _ in range(7):  # the nonce (made twice) and the ephemeral (3); the key ids of both sides (4)
            hmac.digest(self.key, self.text, "sha256")

    def post_quantum(self) -> None:
        """XXpsk3 with ML-KEM-768, both sides, and the signatures of both bindings."""
        # beside `full`: what n1 carries is sealed; the psk made and mixed in, and both ephemeral keys, on each side
        self.run(ephemerals=2, exchanges=6, signatures=2, messages=5, derivations=16)
        key = kem.DecapsulationKey(self.kem_seed)
        ciphertext, _ = kem.encapsulate(key.public)
        key.decapsulate(ciphertext)
        for _ in range(9):  # two more for the seed
            hmac.digest(self.key, self.text, "sha256")

    def short(self, exchanges: int = 8) -> None:
        """KKpsk0, both sides."""
        # the psk, four mixed secrets, both ephemeral keys, and the split on each side
        self.run(ephemerals=2, exchanges=exchanges, signatures=0, messages=2, derivations=16)
        for _ in range(4):
            hmac.digest(self.key, self.text, "sha256")

    def short_again(self) -> None:
        """KKpsk0, both sides, without what their static keys agree on."""
        self.short(exchanges=6)


def handshakes(rounds: int) -> list[Result]:
    """Full, short and post-quantum handshakes."""
    pair, primitives = Pair(CHACHA), Primitives()
    ways: dict[str, Way] = {
        "full": pair.first,
        "known": pair.full,
        "restarted": pair.restarted,
        "short": pair.short,
        "full, primitives": primitives.full,
        "restarted, primitives": primitives.short,
        "short, primitives": primitives.short_again,
    }
    ways["noiseprotocol"] = noiseprotocol_xx(SUITES[CHACHA].full.name, loaded=False)
    if kem.available():
        ways["post-quantum"] = Pair(CHACHA_KEM).first
        ways["post-quantum, primitives"] = primitives.post_quantum
    seconds = in_turns(ways, rounds, HANDSHAKES)

    def line(name: str, ours: str, yardstick: str, target: Target | None) -> Result:
        return Result(name, min(seconds[ours]) * 1e6, "µs", ratio(seconds[ours], seconds[yardstick]), target)

    results = [
        line("full handshake / its primitives", "full", "full, primitives", Target(1.35, at_most=True)),
        line("full handshake, first contact / noiseprotocol, no identities", "full", "noiseprotocol", None),
        line(
            "full handshake, known peer / noiseprotocol, no identities",
            "known",
            "noiseprotocol",
            Target(1, at_most=True),
        ),
        line("resumption, first after a start / its primitives", "restarted", "restarted, primitives", None),
        line("resumption / its primitives", "short", "short, primitives", None),
        line("full handshake / resumption", "full", "short", None),
        line("full handshake / resumption, primitives", "full, primitives", "short, primitives", None),
    ]
    if kem.available():
        results += [
            line("post-quantum handshake / full handshake", "post-quantum", "full", Target(2, at_most=True)),
            line(
                "post-quantum handshake, offered first, / resumption",
                "post-quantum",
                "short",
                Target(2.5, at_most=False),
            ),
            line(
                "post-quantum handshake / resumption, first after a start", "post-quantum", "restarted", None
            ),
            line(
                "post-quantum handshake / resumption, primitives",
                "post-quantum, primitives",
                "short, primitives",
                None,
            ),
        ]
    return results


class Packets:
    """Sealing and opening between two sessions, without end."""

    def __init__(self, suite: int) -> None:
        self.ours, self.theirs = Pair(suite).full()
        self.head = Header(
            self.theirs.peer.agent_id,
            self.ours.peer.agent_id,
            "request",
            my_nonce=_nonce(),
            your_nonce=_nonce(),
        )
        self.hdr = self.head.encoded()
        self.plaintext = secrets.token_bytes(TEXT_BYTES)
        cipher = {CHACHA: ChaCha20Poly1305, AES: AESGCM}[suite](bytes(32))
        nonce, associated = bytes(12), bytes(18) + self.hdr
        sealed = cipher.encrypt(nonce, self.plaintext, associated)
        self.bare: Way = lambda: (
            cipher.encrypt(nonce, self.plaintext, associated),
            cipher.decrypt(nonce, sealed, associated),
        )

    def renew(self) -> None:
        """New keys would be due after 1,000 packets; here the count only begins anew."""
        if self.ours.next_counter >= 1_000:
            self.ours._sent, self.theirs._window = 0, Window()  # noqa: SLF001

    def packet(self) -> None:
        """Bytes in, bytes out."""
        self.theirs.open(self.hdr, self.ours.seal(self.hdr, self.plaintext), 0.0)
        self.renew()


def packets(suite: int, name: str, bound: float, rounds: int) -> Result:
    """A packet of 1 KiB beside its two AEAD calls."""
    both = Packets(suite)
    seconds = in_turns({"ours": both.packet, "bare": both.bare}, rounds, PACKETS)
    return Result(
        f"packet of 1 KiB sealed and opened, {name} / bare AEAD",
        min(seconds["ours"]) * 1e6,
        "µs",
        ratio(seconds["ours"], seconds["bare"]),
        Target(bound, at_most=True),
    )


def whole_way(rounds: int) -> Result:
    """From a JSON value to a JSON value, through a message."""
    both = Packets(CHACHA)
    content = {"message": "x" * (TEXT_BYTES - len('{"message":""}'))}
    header, me = both.head, both.ours.peer.agent_id

    def whole() -> None:
        text = encode_frames([Frame(DATA, canonical_json(content))])
        payload = encode_message(Packet(header, both.ours.seal(header.encoded(), text)))
        message = parse_message(payload | {"from": header.sender}, me)
        if isinstance(message, Packet):
            plaintext = both.theirs.open(message.header.encoded(), message.packet, 0.0)
            strict_json(parse_frames(plaintext)[0].body)
        both.renew()

    text = canonical_json(content)
    plaintext = encode_frames([Frame(DATA, text)])
    packet = both.ours.seal(both.hdr, plaintext)
    base64 = b64url_encode(packet)

    def parts() -> None:
        canonical_json(content)
        strict_json(text)
        encode_frames([Frame(DATA, text)])
        parse_frames(plaintext)
        header.encoded()
        header.encoded()
        b64url_encode(packet)
        b64url_decode(base64)
        both.theirs.open(both.hdr, both.ours.seal(both.hdr, plaintext), 0.0)
        both.renew()

    seconds = in_turns({"ours": whole, "parts": parts}, rounds, PACKETS // 4)
    return Result(
        "the whole way with header, JSON and base64 / the parts",
        min(seconds["ours"]) * 1e6,
        "µs",
        ratio(seconds["ours"], seconds["parts"]),
        Target(1.3, at_most=True),
    )


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


def memory() -> list[Result]:
    """What one of 10,000 sessions takes, by the growth of the whole process."""
    if not Path("/proc/self/statm").exists():
        return []
    pair = Pair(CHACHA)
    hdr = bytes(150)
    kept: list[Session] = []
    gc.collect()
    before = _resident_bytes()
    for number in range(SESSIONS):
        ours, theirs = pair.short()
        theirs.open(hdr, ours.seal(hdr, b"first"), 0.0)
        theirs.rest()
        # as if each were another peer's: what names the peer is not shared
        identity, static = (
            hashlib.sha256(bytes([kind]) + number.to_bytes(4, "big")).digest() for kind in (1, 2)
        )
        founding = theirs._founding  # noqa: SLF001
        peer = replace(founding.peer, agent_id=f"{number:036d}", identity_key=identity, static_key=static)
        theirs._founding = replace(founding, peer=peer)  # noqa: SLF001
        kept.append(theirs)
    gc.collect()
    resting = (_resident_bytes() - before) / SESSIONS
    for session in kept:
        session.seal(hdr, b"answer")
        session._current.load_receiving()  # noqa: SLF001
    loaded = (_resident_bytes() - before) / SESSIONS
    return [
        Result(
            f"memory of a session, of {SESSIONS:,} / 4 KiB",
            resting,
            "bytes",
            resting / 4096,
            Target(1, at_most=True),
        ),
        Result("memory of a session with both keys loaded / 4 KiB", loaded, "bytes", loaded / 4096),
    ]


def run(rounds: int = ROUNDS) -> list[Result]:
    """All of it."""
    return [
        *memory(),
        *handshakes(rounds),
        packets(CHACHA, SUITES[CHACHA].short.cipher.name, 1.7, rounds),
        packets(AES, SUITES[AES].short.cipher.name, 2.0, rounds),
        whole_way(rounds),
    ]


if __name__ == "__main__":
    print_table(run())
