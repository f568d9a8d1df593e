"""What `hs` and `sec` cost beside the primitives they are made of: `python -m benchmarks.sealing`.

Two yardsticks, both called directly, with every key object made beforehand:

- `all primitives`, to which the target applies: Ed25519, AES-GCM, SHA-256, each base64 text (`binascii`) and the one JSON
  text of the content (a prebuilt `JSONEncoder`, `json.loads`), all of which the format prescribes; the envelope's own
  text is pasted together;
- `cryptography alone`: Ed25519, AES-GCM and SHA-256, and nothing to put their results into a message. It shows what the
  format costs: at 16 KiB, JSON and base64 take a third of the time, whoever writes the program.

Neither checks a shape, a time, a depth or an encoding, makes a timestamp, or builds a dictionary or dataclass. The key in
an `hs` is new to its receiver, so that loading it counts in both; all other keys are loaded.
"""

import hashlib
import json
import secrets
import time
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.measure import Result, Target, in_turns, print_table, ratio
from handfast.crypto.keys import Secret, SigningKey
from handfast.session.v1 import check_hs, make_hs, open_sec, seal

SIZES = {"100 B": 100, "1 KiB": 1024, "16 KiB": 16 * 1024}
ROUNDS = 60
CALLS = 40
TARGETS = {"all primitives": Target(1.25, at_most=True), "cryptography alone": None}

Ways = dict[str, Callable[[], object]]

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _text(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).decode()


def _raw(text: str) -> bytes:
    return a2b_base64(text, strict_mode=True)  # the faster mode, too


class Keys:
    """One signing key and one session key, as we hold them and as `cryptography` does."""

    def __init__(self) -> None:
        private, session = secrets.token_bytes(32), secrets.token_bytes(32)
        self.ours = SigningKey(private)
        self.secret = Secret(session)
        self.private = Ed25519PrivateKey.from_private_bytes(private)
        self.public = self.private.public_key()
        self.aes = AESGCM(session)


def hs_ways(keys: Keys) -> dict[str, Ways]:
    """Building and checking an `hs`."""
    now, nonce, exchange = time.time(), "0123456789abcdef" * 2, secrets.token_bytes(32)
    block: Any = make_hs("init", nonce, exchange, keys.ours, now, None)
    signed = f"{nonce}|{block['kx_pub']}|{block['timestamp']}".encode()
    public, signature = keys.ours.public, keys.private.sign(signed)

    def build() -> object:
        return _text(exchange), _text(public), _text(keys.private.sign(signed))

    def check() -> None:
        _raw(block["kx_pub"])
        key = Ed25519PublicKey.from_public_bytes(_raw(block["sign_pub"]))
        key.verify(_raw(block["sig"]), signed)

    return {
        "hs built": {
            "ours": lambda: make_hs("init", nonce, exchange, keys.ours, now, None),
            "all primitives": build,
            "cryptography alone": lambda: keys.private.sign(signed),
        },
        "hs validated": {
            "ours": lambda: check_hs(block, "init", nonce, seen=False, now=now, zone=None),
            "all primitives": check,
            "cryptography alone": lambda: Ed25519PublicKey.from_public_bytes(public).verify(
                signature, signed
            ),
        },
    }


def sec_ways(keys: Keys, size: int) -> dict[str, Ways]:
    """Sealing and opening a `sec` whose plaintext has `size` bytes."""
    content = {"message": "x" * (size - len('{"message":""}'))}
    plaintext, nonce, now = _encode(content).encode(), secrets.token_bytes(12), time.time()
    digest = hashlib.sha256(plaintext).digest()
    ciphertext = keys.aes.encrypt(nonce, plaintext, digest)
    block: Any = seal(content, keys.secret, keys.ours, nonce, now, None)
    envelope = block["envelope"]
    signed = _encode(envelope).encode()
    signature = keys.private.sign(signed)
    time_text = envelope["ts"]

    def pasted(ciphertext: str, digest: str, nonce: str) -> bytes:
        return (
            f'{{"ciphertext":"{ciphertext}","hash":"{digest}","nonce":"{nonce}","ts":"{time_text}"}}'.encode()
        )

    def sealed() -> object:
        text = _encode(content).encode()
        hashed = hashlib.sha256(text).digest()
        envelope = pasted(_text(keys.aes.encrypt(nonce, text, hashed)), _text(hashed), _text(nonce))
        return _text(keys.private.sign(envelope))

    def sealed_alone() -> None:
        keys.private.sign(signed)
        keys.aes.encrypt(nonce, plaintext, hashlib.sha256(plaintext).digest())

    def opened() -> object:
        texts = envelope["ciphertext"], envelope["hash"], envelope["nonce"]
        raw = [_raw(text) for text in texts]
        keys.public.verify(_raw(block["sig"]), pasted(*texts))
        text = keys.aes.decrypt(raw[2], raw[0], raw[1])
        return hashlib.sha256(text).digest() == raw[1], json.loads(text)

    def opened_alone() -> None:
        keys.public.verify(signature, signed)
        hashlib.sha256(keys.aes.decrypt(nonce, ciphertext, digest)).digest()

    return {
        "sec sealed": {
            "ours": lambda: seal(content, keys.secret, keys.ours, nonce, now, None),
            "all primitives": sealed,
            "cryptography alone": sealed_alone,
        },
        "sec opened": {
            "ours": lambda: open_sec(block, keys.secret, keys.ours.public),
            "all primitives": opened,
            "cryptography alone": opened_alone,
        },
    }


def run(rounds: int = ROUNDS) -> list[Result]:
    """Two lines for each operation and size, one for each yardstick."""
    keys = Keys()
    operations = hs_ways(keys) | {
        f"{name}, {label}": ways
        for label, size in SIZES.items()
        for name, ways in sec_ways(keys, size).items()
    }
    results: list[Result] = []
    for name, ways in operations.items():
        seconds = in_turns(ways, rounds, CALLS)
        ours = seconds.pop("ours")
        microseconds = 1e6 * sorted(ours)[len(ours) // 2]
        results.extend(
            Result(f"{name} / {yardstick}", microseconds, "us", ratio(ours, values), TARGETS[yardstick])
            for yardstick, values in seconds.items()
        )
    return results


if __name__ == "__main__":
    print_table(run())
