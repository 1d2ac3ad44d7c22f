"""Trust bundles, identities, challenges, locks and revocation lists: what says who somebody is."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.identity import challenge, locked
from gateway.identity.authority import Authority, RootKey, Validity, certificate_pem
from gateway.identity.errors import IdentityError
from gateway.identity.revocation import crl_pem, load_crls
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.trust_bundle import Endpoint, RetiredKey, SealingKey, TrustBundle
from gateway.identity.unlocking import argon2_parameters
from gateway.ledger.errors import NoteError
from gateway.ledger.note import sign_note
from gateway.release.key_switch import read_switches
from tests.fuzz.target import Target
from tests.fuzz.targets.ledger import JPN, text_of

ROOT: Final = RootKey("JPN", b"\x01" * 32)
NOW: Final = datetime(2026, 11, 21, tzinfo=UTC)
_KOR_ID: Final = SpiffeId.of("KOR", Role.GATEWAY, "a")
_JPN_ID: Final = SpiffeId.of("JPN", Role.GATEWAY, "a")
_HELLO: Final = challenge.Hello(_KOR_ID, b"h" * 32, "follow")


@functools.cache
def _authority() -> Authority:
    return Authority.create("JPN", Role.GATEWAY, Validity.starting(NOW, timedelta(days=1)))


def _bundle_text() -> bytes:
    bundle = TrustBundle(
        sequence=7,
        expires=NOW + timedelta(days=30),
        node="JPN",
        trust_domain="jpn",
        gateway_ca=(certificate_pem(_authority().certificate).decode(),),
        log_keys=(b"l" * 32,),
        receipt_keys=(b"r" * 32,),
        pq_keys=(b"q" * 1312,),
        sealing_keys=(SealingKey(mlkem768=b"m" * 1184, x25519=b"x" * 32),),
        endpoints=(Endpoint(address="gw.example.jp:7443", server_name="a.gateway.jpn.signalfire.internal"),),
        retired=(RetiredKey(kind="log", key=b"o" * 32, until=NOW),),
        gateway_crl=(),
    )
    return bundle.text().encode()


def _trust_bundle(data: bytes) -> None:
    """A root that signs whatever it likes."""
    signed = sign_note(text_of(data), ROOT.signer()).encode()
    TrustBundle.open(signed, ROOT.vkey, now=NOW).authorities()


def _spiffe(data: bytes) -> None:
    text = text_of(data)
    assert str(SpiffeId.parse(text)) == text


def _challenge_note(data: bytes) -> None:
    answer = challenge.Challenge(_JPN_ID, b"c" * 32, data)
    challenge.check_server(_HELLO, answer, expected_node="JPN", log_keys=[JPN.log.public.public_key])


def _challenge_nonce(data: bytes) -> None:
    challenge.Challenge(_JPN_ID, data, b"")


def _challenges() -> Sequence[bytes]:
    answer = challenge.server_answer(_HELLO, tls_peer=_KOR_ID, server=_JPN_ID, nonce=b"c" * 32, signer=JPN.gateway)
    return [answer.note]


def _lock(data: bytes) -> None:
    wrapped, _ = locked.parse_lock(Path("lock.json"), data)
    argon2_parameters(wrapped.parameters, "lock.json")


def _locks() -> Sequence[bytes]:
    salt = base64.b64encode(b"s" * 16).decode()
    wrapped = locked.Wrapped("passphrase", locked.id_of(b"k" * 32), {"ops": 2, "mem": 1 << 20, "salt": salt}, b"w" * 72)
    return [locked.lock_text(wrapped, b"k" * 32, (b"f" * 32,))]


def _sealed_file(data: bytes) -> None:
    locked._sealed(Path("keys/log.key"), "log", data)


def _sealed_files() -> Sequence[bytes]:
    return [locked.seal_under(b"k" * 32, "log.key", "log", b"secret"), json.dumps({"format": "x"}).encode()]


def _revoked(data: bytes) -> None:
    for crl in load_crls(data):
        crl_pem(crl)


def _lists() -> Sequence[bytes]:
    authority = _authority()
    entry = x509.RevokedCertificateBuilder().serial_number(7).revocation_date(NOW).build()
    signed = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(NOW)
        .next_update(NOW + timedelta(days=1))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_revoked_certificate(entry)
        .sign(authority.key, hashes.SHA256())
    )
    return [crl_pem(signed), crl_pem(signed) * 2]


def _revoked_der(data: bytes) -> None:
    """The same within the armour, which would hide nearly everything from a search."""
    _revoked(b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(data) + b"-----END X509 CRL-----\n")


def _der() -> Sequence[bytes]:
    return [base64.b64decode(b"".join(_lists()[0].splitlines()[1:-1]))]


def _switches(data: bytes) -> None:
    read_switches([data])


def _switched() -> Sequence[bytes]:
    keys = " ".join(base64.b64encode(key).decode() for key in (b"a" * 32, b"b" * 32))
    return [f"signalfire/v1/keys-switched\nlog {keys}\nreceipt {keys}".encode()]


TARGETS: Final = (
    Target("trust-bundle", _trust_bundle, (IdentityError, NoteError), lambda: [_bundle_text()]),
    Target("spiffe-id", _spiffe, (IdentityError,), lambda: [str(_JPN_ID).encode()]),
    Target("challenge-note", _challenge_note, (IdentityError, NoteError), _challenges),
    Target("challenge-nonce", _challenge_nonce, (IdentityError,), lambda: [b"n" * 32]),
    Target("lock", _lock, (IdentityError,), _locks),
    Target("sealed-file", _sealed_file, (IdentityError,), _sealed_files),
    Target("revocation-list", _revoked, (ValueError,), _lists),
    Target("revocation-list-der", _revoked_der, (ValueError,), _der),
    Target("keys-switched", _switches, (ValueError,), _switched),
)
