"""The keys of a session between two rekeyings (v2-handshake.md, sections 7.1 and 8.2)."""

from collections.abc import Callable

from handfast.session.v2.schedule import Keys
from handfast.session.v2.suites import Suite

Cipher = Callable[[bytes, bytes, bytes], bytes]

_PACKET_BEGIN = b"\x02\x00"


class Generation:
    """The keys between two rekeyings; all copies of a session share it.

    Attributes:
        number: from 1, one more with each rekeying and each resumption.
        made_at: seconds since 1970 UTC.
        keys: all of them.
        head: the first ten bytes of packets that we send.
        receive_kid: the key id in packets that we receive.
        nonce: the cipher's 12 bytes for a counter.
        encrypt, decrypt: with a nonce, a text and associated bytes; None while the key is not loaded.
    """

    __slots__ = ("_suite", "decrypt", "encrypt", "head", "keys", "made_at", "nonce", "number", "receive_kid")

    def __init__(self, number: int, keys: Keys, suite: Suite, made_at: float) -> None:
        self.number = number
        self.made_at = made_at
        self.keys = keys
        self.head = _PACKET_BEGIN + keys.send_kid
        self.receive_kid = keys.receive_kid
        self.nonce = suite.nonce
        self._suite = suite
        self.encrypt: Cipher | None = None
        self.decrypt: Cipher | None = None

    def load_sending(self) -> Cipher:
        """Make `encrypt` ready."""
        self.encrypt = self._suite.load(self.keys.send.reveal()).encrypt
        return self.encrypt

    def load_receiving(self) -> Cipher:
        """Make `decrypt` ready."""
        self.decrypt = self._suite.load(self.keys.receive.reveal()).decrypt
        return self.decrypt

    def only_receiving(self) -> "Generation":
        """What is left of it when a newer one is in use."""
        return Generation(self.number, self.keys.only_receiving(), self._suite, self.made_at)

    def rest(self) -> None:
        """Let go of the loaded keys."""
        self.encrypt = self.decrypt = None
