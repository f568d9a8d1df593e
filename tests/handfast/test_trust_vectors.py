"""The recorded statements of version 2, good and bad: what a second implementation has to take, and to refuse, alike."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handfast.crypto.keys import SigningKey
from handfast.errors import PeerError
from handfast.identity import open_identity
from handfast.identity.agent_ids import self_certifying_id
from handfast.identity.binding import Binding, check_binding
from handfast.identity.names import did_key, jwk_thumbprint
from handfast.trust.certificate import (
    Controller,
    check_certificate,
    issuer_of,
    read_certificate,
    read_request,
)
from handfast.trust.decision import examine
from handfast.trust.revocation import check_revocation_list, read_revocation_list, read_tombstone

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "v2" / "trust_vectors.json").read_text()
)
CASES = [(kind, case) for kind in RECORDED["statements"] for case in RECORDED["statements"][kind]]


def unhex(case: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(case[name])


def read_binding(case: dict[str, Any]) -> None:
    keys = unhex(case, "identity_key"), unhex(case, "static_key")
    check_binding(Binding.parse(unhex(case, "raw")), case["agent_id"], *keys, case["now"])


def read_credentials(case: dict[str, Any]) -> None:
    certificate = unhex(case, "certificate") if "certificate" in case else None
    proven = examine(case["agent_id"], unhex(case, "identity_key"), unhex(case, "rotations"), certificate)
    assert [key.hex() for key in proven.keys] == case["keys"]


def read_a_certificate(case: dict[str, Any]) -> None:
    certificate = read_certificate(unhex(case, "raw"))
    check_certificate(certificate, Controller(unhex(case, "controller")), case["now"])


def read_crl(case: dict[str, Any]) -> None:
    crl = read_revocation_list(unhex(case, "raw"))
    check_revocation_list(crl, Controller(unhex(case, "controller")), case["known_sequence"])


READERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "binding": read_binding,
    "credentials": read_credentials,
    "certificate": read_a_certificate,
    "request": lambda case: read_request(unhex(case, "raw")),
    "crl": read_crl,
    "tombstone": lambda case: read_tombstone(unhex(case, "raw")),
}


@pytest.mark.parametrize(("kind", "case"), CASES, ids=[f"{kind}: {case['name']}" for kind, case in CASES])
def test_a_recorded_statement_is_taken_or_refused_as_recorded(kind: str, case: dict[str, Any]) -> None:
    if case["result"] == "ok":
        READERS[kind](case)
    else:
        with pytest.raises(PeerError) as caught:
            READERS[kind](case)
        assert caught.value.reason == case["result"]


def test_every_kind_has_a_good_case_and_bad_ones() -> None:
    assert set(RECORDED["statements"]) == set(READERS)
    for kind, cases in RECORDED["statements"].items():
        results = [case["result"] for case in cases]
        assert "ok" in results, kind
        assert len(set(results)) > 1, kind


def test_names_and_the_identity_file_are_the_recorded_ones() -> None:
    for name in RECORDED["names"]:
        public = SigningKey(unhex(name, "private")).public
        assert public.hex() == name["public"]
        assert self_certifying_id(public) == name["agent_id"]
        assert (did_key(public), jwk_thumbprint(public)) == (name["did"], name["thumbprint"])
        assert issuer_of(public) == name["issuer"]
    recorded = RECORDED["identity_file"]
    identity = open_identity(json.dumps(recorded["file"]).encode(), recorded["passphrase"].encode())
    assert identity.agent_id == recorded["agent_id"]
    assert identity.identity_key.private_bytes().hex() == recorded["identity_key"]
    assert identity.static_key.key.private_bytes().hex() == recorded["static_key"]
    assert identity.database_key().reveal().hex() == recorded["database_key"]
