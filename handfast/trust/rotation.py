"""Rotation of an identity key: the old key and the new one sign together that the new one takes over.

The id stays. A self-certifying id goes on naming the first key, and the chain of statements leads from it to the present
one (v2-handshake.md, section 10.4).
"""

from dataclasses import replace

from handfast.crypto import labels
from handfast.crypto.keys import SigningKey, WeakKeyError, require_strong_signing_key
from handfast.errors import PeerError, Reason, UsageError
from handfast.identity.identity import Identity
from handfast.trust.statement import Statement, read_statements, sign_statement
from handfast.wire import limits
from handfast.wire.text import b64url_encode

LONGEST_CHAIN = 8


def verify_chain(rotations: bytes, agent_id: str, public: bytes) -> tuple[bytes, ...]:
    """The identity keys that an agent has had, the first one first and the present one last.

    Args:
        rotations: the statements as they came, none of them where the agent has only ever had one key.
        agent_id: whose they are.
        public: the identity key that is shown now; 32 raw bytes.

    Raises:
        PeerError: `ROTATION`, unless every statement is in its place, signed by both of its keys, and leads to `public`.
    """
    if not rotations:
        return (public,)
    statements = read_statements(
        rotations,
        labels.V2_ROTATION,
        Reason.ROTATION,
        signatures=2,
        at_most=LONGEST_CHAIN,
        bytes_at_most=limits.ROTATIONS_BYTES,
    )
    keys: list[bytes] = []
    for number, statement in enumerate(statements, start=1):
        old, new = _checked(statement, agent_id, number)
        if not keys:
            keys.append(old)
        if keys[-1] != old or new in keys:
            raise PeerError(Reason.ROTATION, "the statements do not follow each other")
        keys.append(new)
    if keys[-1] != public:
        raise PeerError(Reason.ROTATION, "the statements lead to another key")
    return tuple(keys)


def rotated_identity(identity: Identity, private: bytes, static_private: bytes, now: float) -> Identity:
    """The identity with a new identity key and a new static key, and the statement that both keys sign.

    The static keys under the former key are given up, so that whoever stole them with it can resume nothing. The
    certificate names the former key and goes, too. What v1 peers have pinned stays: version 1 knows no rotation.

    Args:
        identity: with the former key.
        private: 32 fresh random bytes, the new identity key.
        static_private: 32 fresh random bytes, the new static key.
        now: seconds since 1970 UTC.

    Raises:
        UsageError: the chain is as long as it may be.
    """
    number = len(verify_chain(identity.rotations, identity.agent_id, identity.identity_key.public))
    if number > LONGEST_CHAIN:
        raise UsageError(
            f"the identity key was rotated {LONGEST_CHAIN} times; more are not accepted by peers"
        )
    new = SigningKey(private)
    members = {
        "v": 2,
        "sub": identity.agent_id,
        "old": b64url_encode(identity.identity_key.public),
        "new": b64url_encode(new.public),
        "seq": number,
        "iat": int(now),
    }
    statement = sign_statement(labels.V2_ROTATION, members, identity.identity_key, new)
    rotated = replace(
        identity.with_database_key(),
        rotated_key=new,
        rotations=identity.rotations + statement,
        static_keys=(),
        certificate=None,
    )
    return rotated.with_static_key(static_private, now)


def _checked(statement: Statement, agent_id: str, number: int) -> tuple[bytes, bytes]:
    members = statement.members()
    old, new = members.raw("old", 32), members.raw("new", 32)
    if members.agent_id("sub") != agent_id or members.number("seq", LONGEST_CHAIN) != number:
        raise PeerError(Reason.ROTATION, "a statement about somebody else, or out of place")
    members.time("iat")
    try:
        require_strong_signing_key(old)
        require_strong_signing_key(new)
    except WeakKeyError:
        raise PeerError(Reason.WEAK_KEY) from None
    if not statement.is_signed_by(old, new):
        raise PeerError(Reason.ROTATION, "not signed by both keys")
    return old, new
