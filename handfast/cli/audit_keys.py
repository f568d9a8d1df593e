"""Which keys may sign an audit log: one that a person names or the one that signs first, and what it was rotated to.

The log itself brings the statements of rotation, with each start of the agent; they prove themselves.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from handfast.audit import STARTED, Fault, Report, SignedHead, Verifier, Why
from handfast.errors import PeerError
from handfast.identity.names import fingerprint
from handfast.trust.rotation import verify_chain
from handfast.wire.text import EncodingError, b64decode, strict_json


class LogVerifier:
    """Verifies an agent's log entry by entry, rotations of its identity key included.

    Args:
        trusted: fingerprints of keys, of which one must have signed last, or have been rotated to the one that has; where
            none is given, the first key that signs is believed.
        witness: as of `Verifier`.
    """

    def __init__(self, trusted: Collection[str] = (), witness: SignedHead | None = None) -> None:
        self._trusted = trusted
        self._verifier = Verifier(self._may_sign, witness)
        self._chain: tuple[bytes, ...] = ()
        self._signer: bytes | None = None

    def add(self, entry: Mapping[str, object]) -> None:
        """Take the next entry, whatever it is."""
        if entry.get("event") == STARTED:
            self._chain = _rotations(entry.get("detail")) or self._chain
        self._verifier.add(entry)

    def report(self) -> Report:
        """What was found so far, taking what was added as the whole log."""
        report = self._verifier.report()
        if report.fault is None and report.key is not None and not self._is_trusted(report.key):
            return replace(report, fault=Fault(report.signed_to + 1, Why.KEY))
        return report

    def _may_sign(self, key: bytes) -> bool:
        if self._signer not in (None, key) and self._signer not in self._up_to(key):
            return False
        self._signer = key
        return True

    def _up_to(self, key: bytes) -> tuple[bytes, ...]:
        """The keys that were rotated to `key`, and itself; one that was rotated away may be stolen, and counts no more."""
        return self._chain[: self._chain.index(key) + 1] if key in self._chain else (key,)

    def _is_trusted(self, key: bytes) -> bool:
        return not self._trusted or any(fingerprint(one) in self._trusted for one in self._up_to(key))


def verify_log(
    entries: Iterable[Mapping[str, object]], trusted: Collection[str] = (), witness: SignedHead | None = None
) -> Report:
    """Verify a whole log; the arguments as of `LogVerifier`."""
    verifier = LogVerifier(trusted, witness)
    for entry in entries:
        verifier.add(entry)
    return verifier.report()


def _rotations(detail: object) -> tuple[bytes, ...] | None:
    """The keys that an agent says it has had, first one first; None where there is one only, or no proof."""
    try:
        members = strict_json(detail.encode()) if isinstance(detail, str) else None
        match members:
            case {"agent": str(agent_id), "key": str(key), "rotations": str(rotations)}:
                return verify_chain(b64decode(rotations), agent_id, b64decode(key, 32))
            case _:
                return None
    except (EncodingError, PeerError, UnicodeEncodeError):
        return None
