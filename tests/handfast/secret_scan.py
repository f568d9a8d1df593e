"""Finds secrets where they do not belong: raw, in hexadecimal digits, in base64 of any alignment, and as Python prints bytes."""

import base64
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

from handfast.crypto import kem
from handfast.crypto.keys import ExchangeKey, Secret, SigningKey

# Shorter ones are no keys: what is left of keys that were erased.
SHORTEST = 16


class Collector:
    """Every secret that was ever held in memory while it listens.

    Attributes:
        secrets: each with a word for where it comes from.
    """

    def __init__(self) -> None:
        self.secrets: dict[bytes, str] = {}

    def add(self, secret: bytes, source: str) -> None:
        if len(secret) >= SHORTEST and len(set(secret)) > 1:
            self.secrets.setdefault(secret, source)

    @contextmanager
    def listening(self) -> Iterator["Collector"]:
        """While the context lasts, whoever makes a key or a `Secret` is overheard."""
        with mock.patch.multiple(Secret, __init__=self._overheard(Secret)):
            with mock.patch.multiple(ExchangeKey, __init__=self._overheard(ExchangeKey)):
                with mock.patch.multiple(SigningKey, __init__=self._overheard(SigningKey)):
                    with mock.patch.multiple(
                        kem.DecapsulationKey, __init__=self._overheard(kem.DecapsulationKey)
                    ):
                        yield self

    def _overheard(self, kind: Any) -> Any:
        original = kind.__init__

        def overheard(held: Any, secret: bytes, *more: Any) -> None:
            original(held, secret, *more)
            self.add(secret, kind.__name__)

        return overheard


def spellings(secret: bytes) -> Iterator[bytes]:
    """How a secret may stand in a text or a file, whatever stands before and after it."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield repr(secret)[2:-1].encode()
    for lead in range(3):
        # of each alignment only the characters that nothing but the secret decides
        text = base64.b64encode(bytes(lead) + secret)
        begin, end = -(-lead * 8 // 6), (lead + len(secret)) * 8 // 6
        yield text[begin:end]
        yield text[begin:end].translate(bytes.maketrans(b"+/", b"-_"))


def found(secrets: Mapping[bytes, str], places: Mapping[str, bytes | str]) -> list[str]:
    """Which secrets stand in which places; the secrets themselves are not repeated."""
    by_begin: defaultdict[bytes, list[tuple[bytes, str]]] = defaultdict(list)
    for secret, source in secrets.items():
        for spelling in spellings(secret):
            by_begin[spelling[:SHORTEST]].append((spelling, source))
    results = set()
    for place, content in places.items():
        raw = content.encode(errors="surrogatepass") if isinstance(content, str) else content
        for begin in {raw[at : at + SHORTEST] for at in range(len(raw))} & by_begin.keys():
            results |= {f"{source} in {place}" for spelling, source in by_begin[begin] if spelling in raw}
    return sorted(results)
