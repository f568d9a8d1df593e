"""What a Noise handshake costs, both sides together: `python -m benchmarks.noise`.

Two yardsticks:

- `primitives`: each X25519, AEAD, HKDF and SHA-256 operation of the two sides, called directly. Static keys are loaded
  beforehand; ephemeral keys and the peer's keys are loaded where a handshake has to.
- `noiseprotocol`: the package of that name (0.3.1) with the same prologue and payloads, once by its documented
  interface, by which each connection loads its static key, and once with static keys put where it keeps loaded ones.

Identities are not in here: payloads of their size are, who signed what in them is the session's business.
"""

import hashlib
import secrets
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from noise.connection import Keypair, NoiseConnection

from benchmarks.measure import Result, Target, in_turns, print_table, ratio
from handfast.crypto.keys import ExchangeKey, Secret
from handfast.noise import cipherstate
from handfast.noise.handshakestate import HandshakeState, Split
from handfast.noise.patterns import KKPSK0, XX, Protocol

ROUNDS = 60
CALLS = 20
AT_MOST_OF_PRIMITIVES = Target(1.35, at_most=True)
AT_MOST_OF_NOISEPROTOCOL = Target(1.0, at_most=True)

# the sizes of the vectors: ids of 36 characters, no certificate
PROLOGUE = secrets.token_bytes(247)
PAYLOAD = secrets.token_bytes(192)

STATICS = secrets.token_bytes(32), secrets.token_bytes(32)
OURS = ExchangeKey(STATICS[0]), ExchangeKey(STATICS[1])
PSK = Secret(secrets.token_bytes(32))

Way = Callable[[], object]


def _fresh() -> ExchangeKey:
    return ExchangeKey(secrets.token_bytes(32))


def xx(protocol: Protocol) -> tuple[Split, Split]:
    """Ours, XX."""
    first = HandshakeState(protocol, initiator=True, prologue=PROLOGUE, static=OURS[0])
    second = HandshakeState(protocol, initiator=False, prologue=PROLOGUE, static=OURS[1])
    second.read_message(first.write_message(b"", ephemeral=_fresh()))
    first.read_message(second.write_message(PAYLOAD, ephemeral=_fresh()))
    second.read_message(first.write_message(PAYLOAD))
    return first.finish(), second.finish()


def kkpsk0(protocol: Protocol) -> tuple[Split, Split]:
    """Ours, KKpsk0."""
    first, second = (
        HandshakeState(
            protocol, initiator=initiator, prologue=PROLOGUE, static=static, remote_static=peer.public
        )
        for initiator, static, peer in ((True, OURS[0], OURS[1]), (False, OURS[1], OURS[0]))
    )
    second.read_message(first.write_message(PAYLOAD, ephemeral=_fresh(), psk=PSK), psk=PSK)
    first.read_message(second.write_message(PAYLOAD, ephemeral=_fresh()))
    return first.finish(), second.finish()


def noiseprotocol_xx(name: str, *, loaded: bool) -> Way:
    """Theirs, XX; with static keys loaded beforehand, or by the documented interface."""
    load = NoiseConnection.from_name(name.encode()).noise_protocol.dh_fn.klass.from_private_bytes
    pairs = [load(private) for private in STATICS]

    def handshake() -> None:
        first, second = sides = [NoiseConnection.from_name(name.encode()) for _ in range(2)]
        for side, private, pair in zip(sides, STATICS, pairs, strict=True):
            side.set_prologue(PROLOGUE)
            if loaded:
                side.noise_protocol.keypairs["s"] = pair
            else:
                side.set_keypair_from_private_bytes(Keypair.STATIC, private)
        first.set_as_initiator()
        second.set_as_responder()
        first.start_handshake()
        second.start_handshake()
        second.read_message(bytes(first.write_message()))
        first.read_message(bytes(second.write_message(PAYLOAD)))
        second.read_message(bytes(first.write_message(PAYLOAD)))

    return handshake


def primitives_xx(aead: type[AESGCM | ChaCha20Poly1305]) -> Way:
    """Everything that the two sides of an XX cannot do without."""
    statics = [X25519PrivateKey.from_private_bytes(private) for private in STATICS]
    publics = [key.public_key().public_bytes_raw() for key in statics]
    algorithm, nonce = SHA256(), bytes(12)

    def ephemeral() -> tuple[X25519PrivateKey, X25519PublicKey, bytes]:
        key = X25519PrivateKey.from_private_bytes(secrets.token_bytes(32))
        public = key.public_key().public_bytes_raw()
        return key, X25519PublicKey.from_public_bytes(public), public

    def hash_and_keys(shared: bytes, public: bytes, own_public: bytes) -> None:
        for data in (PROLOGUE, public, b"", own_public, shared, PAYLOAD, shared, PAYLOAD):
            hashlib.sha256(shared + data).digest()
        for _ in ("ee", "es", "se"):
            HKDF(algorithm, 64, shared, b"").derive(shared)
        HKDF(algorithm, 96, shared, b"").derive(b"")

    def operations() -> None:
        (first, first_public, first_raw), (second, second_public, second_raw) = ephemeral(), ephemeral()
        static_publics = [X25519PublicKey.from_public_bytes(public) for public in publics]
        for key, peer in (
            *((first, second_public), (second, first_public)),
            *((first, static_publics[1]), (statics[1], first_public)),
            *((statics[0], second_public), (second, static_publics[0])),
        ):
            shared = key.exchange(peer)
        for plaintext in (shared, PAYLOAD) * 2:
            ciphertext = aead(shared).encrypt(nonce, plaintext, shared)
            aead(shared).decrypt(nonce, ciphertext, shared)
        hash_and_keys(shared, first_raw, second_raw)
        hash_and_keys(shared, second_raw, first_raw)

    return operations


def run(rounds: int = ROUNDS) -> list[Result]:
    """XX with each cipher against both yardsticks; and KKpsk0 beside XX, which tells what a resumption can save."""
    results: list[Result] = []
    for cipher, aead in ((cipherstate.CHACHAPOLY, ChaCha20Poly1305), (cipherstate.AESGCM, AESGCM)):
        protocol, resumed = Protocol(XX, cipher), Protocol(KKPSK0, cipher)
        seconds = in_turns(
            {
                "ours": lambda protocol=protocol: xx(protocol),
                "primitives": primitives_xx(aead),
                "noiseprotocol": noiseprotocol_xx(protocol.name, loaded=False),
                "noiseprotocol, static keys loaded": noiseprotocol_xx(protocol.name, loaded=True),
                "KKpsk0": lambda protocol=resumed: kkpsk0(protocol),
            },
            rounds,
            CALLS,
        )
        ours, resumption = seconds.pop("ours"), seconds.pop("KKpsk0")
        results.extend(
            Result(
                f"{protocol.name} / {yardstick}",
                _microseconds(ours),
                "us",
                ratio(ours, values),
                AT_MOST_OF_PRIMITIVES if yardstick == "primitives" else AT_MOST_OF_NOISEPROTOCOL,
            )
            for yardstick, values in seconds.items()
        )
        results.append(
            Result(f"{resumed.name} / XX", _microseconds(resumption), "us", ratio(resumption, ours))
        )
    return results


def _microseconds(seconds: list[float]) -> float:
    return 1e6 * sorted(seconds)[len(seconds) // 2]


if __name__ == "__main__":
    print_table(run())
