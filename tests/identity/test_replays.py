"""Claims about what is old and comes again: requests, certificates of revoked keys, revocation lists, retired keys."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from gateway.identity import admission, issuing, nation
from gateway.identity.admission import REQUEST_AHEAD, REQUEST_LIFETIME, admit, replace_authority, revoke, write_outgoing
from gateway.identity.authority import certificate_pem
from gateway.identity.errors import IdentityError, Refusal
from gateway.identity.locked import KeyLock
from gateway.identity.national import NationalAuthorities
from gateway.identity.private_files import MAX_FILE_SIZE, write_private
from gateway.identity.retirement import OutOfUse, left_out, retired_of_bundle, write_retired
from gateway.identity.revocation import crl_pem, load_crl
from gateway.identity.rotation import make_request
from gateway.identity.spiffe import Role
from gateway.identity.trust_bundle import MAX_RETIRED
from gateway.ledger.note import MAX_NOTE
from tests.identity.test_rotation import LATER, NOW, Jpn, is_believed, issue_c2, put_list


@pytest.fixture
def jpn(tmp_path: Path) -> Jpn:
    return Jpn(tmp_path)


# --- requests


def refused(jpn: Jpn, raw: bytes, now: datetime) -> Refusal:
    with pytest.raises(IdentityError) as error:
        admit(jpn.pki, raw, now=now)
    return error.value.code


def test_a_request_for_a_certificate_alone_is_admitted_once(jpn: Jpn) -> None:
    request = jpn.request("tls")
    jpn.admitted(request)
    assert refused(jpn, request, LATER) is Refusal.ALREADY_THERE


def test_a_key_whose_certificate_was_revoked_gets_no_other(jpn: Jpn) -> None:
    request = jpn.request("tls")
    certificate = jpn.admitted(request).certificate
    assert certificate is not None
    revoke(jpn.pki, certificate_pem(certificate), now=LATER)
    # The nation has forgotten that it ever admitted the request.
    newest = max((jpn.pki / "gateways").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()
    assert refused(jpn, request, LATER) is Refusal.REVOKED


def test_the_first_certificates_key_gets_no_second_one(jpn: Jpn, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = KeyLock(jpn.keys)
    first = lock.load_pem_key("gateway.key.pem", (jpn.keys / "gateway.key.pem").read_bytes())
    monkeypatch.setattr("gateway.identity.rotation.ec.generate_private_key", lambda _: first)
    assert refused(jpn, jpn.request("tls"), LATER) is Refusal.ALREADY_THERE


def test_a_request_counts_for_some_days_and_not_from_the_future(jpn: Jpn) -> None:
    # It was made at LATER.
    request = jpn.request("tls")
    assert refused(jpn, request, LATER + REQUEST_LIFETIME + timedelta(seconds=1)) is Refusal.BAD_REQUEST
    assert refused(jpn, request, LATER - REQUEST_AHEAD - timedelta(seconds=1)) is Refusal.BAD_REQUEST
    assert admit(jpn.pki, request, now=LATER + REQUEST_LIFETIME).certificate is not None


# --- revocation lists


def lists_of(jpn: Jpn, *leaves: bytes) -> list[bytes]:
    """The revocation list of C2 systems after each of these is revoked."""
    found = []
    for leaf in leaves:
        (path,) = revoke(jpn.pki, leaf, now=LATER)
        found.append(path.read_bytes())
    return found


def test_an_older_list_is_not_installed(jpn: Jpn) -> None:
    old, new = lists_of(jpn, issue_c2(jpn, "sensors"), issue_c2(jpn, "command"))
    write_outgoing(jpn.pki, jpn.out)
    jpn.install()
    (jpn.out / "c2.crl.pem").write_bytes(old)
    with pytest.raises(IdentityError, match="number 1, and 2 is in force") as error:
        jpn.install()
    assert error.value.code is Refusal.STALE_SEQUENCE
    assert (jpn.keys / "c2.crl.pem").read_bytes() == new


def test_a_gateway_that_runs_keeps_the_newer_list_and_says_so_once(jpn: Jpn, caplog: pytest.LogCaptureFixture) -> None:
    command = issue_c2(jpn, "command")
    old, new = lists_of(jpn, issue_c2(jpn, "sensors"), command)
    put_list(jpn, new)
    national = NationalAuthorities(jpn.keys, "JPN")
    put_list(jpn, old)
    with caplog.at_level(logging.ERROR):
        assert not is_believed(command, national)
        assert not is_believed(command, national)
    assert sum("number 1, and 2 is in force" in record.getMessage() for record in caplog.records) == 1


def test_a_leaf_leaves_the_list_when_one_from_after_its_expiry_has_named_it(jpn: Jpn) -> None:
    leaf = issue_c2(jpn, "sensors")
    (path,) = revoke(jpn.pki, leaf, now=LATER)
    beyond = LATER + issuing.MAX_LEAF_LIFETIME + timedelta(days=1)
    revoke(jpn.pki, None, now=beyond)
    assert len(load_crl(path.read_bytes())) == 1
    revoke(jpn.pki, None, now=beyond + timedelta(days=1))
    assert len(load_crl(path.read_bytes())) == 0


def test_a_list_of_many_leaves_is_read(jpn: Jpn) -> None:
    leaf = issue_c2(jpn, "sensors")
    (path,) = revoke(jpn.pki, leaf, now=LATER)
    authority = nation.load_nation(jpn.pki).authorities[Role.C2]
    before = load_crl(path.read_bytes())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(before.issuer)
        .last_update(LATER)
        .next_update(LATER + timedelta(days=9))
        .add_extension(x509.CRLNumber(2), critical=False)
    )
    serial = x509.load_pem_x509_certificate(leaf).serial_number
    entries = [serial, *(serial ^ (1 << 100) ^ number for number in range(22_000))]
    builder._revoked_certificates = [
        x509.RevokedCertificateBuilder().serial_number(each).revocation_date(LATER).build() for each in entries
    ]
    signed = builder.sign(authority.key, hashes.SHA256())
    put_list(jpn, crl_pem(signed))
    assert (jpn.keys / "c2.crl.pem").stat().st_size > MAX_FILE_SIZE
    assert not is_believed(leaf, NationalAuthorities(jpn.keys, "JPN"))


@pytest.mark.parametrize("step", [0, 1])
def test_dropping_an_authority_may_be_cut_short_and_is_gone_on_with(
    jpn: Jpn, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stolen = jpn.certificate()
    revoke(jpn.pki, stolen, now=NOW)
    replace_authority(jpn.pki, Role.GATEWAY, now=NOW)
    jpn.admitted(jpn.request("tls"))
    revoke(jpn.pki, certificate_pem(nation_leaf(jpn)), now=LATER)
    writes = iter(range(9))

    def failing(path: Path, content: bytes) -> None:
        if next(writes) == step:
            raise OSError("no space")
        write_private(path, content)

    monkeypatch.setattr(admission, "write_private", failing)
    with pytest.raises(OSError, match="no space"):
        admission.drop_former_authorities(jpn.pki, Role.GATEWAY)
    monkeypatch.undo()
    issuers = nation.load_nation(jpn.pki).believed["jpn", Role.GATEWAY]
    former = x509.load_pem_x509_certificate(stolen)
    believed = [issuer for issuer in issuers if _signed(former, issuer)]
    assert all(issuers.revokes(former, issuer) for issuer in believed), "with its list, or not at all"
    admission.drop_former_authorities(jpn.pki, Role.GATEWAY)
    assert len(jpn.sign().gateway_ca) == len(jpn.sign().gateway_crl) == 1


def nation_leaf(jpn: Jpn) -> x509.Certificate:
    """The certificate that was issued last."""
    return x509.load_pem_x509_certificate((jpn.out / "gateway.crt.pem").read_bytes())


def _signed(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):  # what the library documents for another's
        return False
    return True


# --- retired keys


def out_of_use(kind: str, number: int) -> OutOfUse:
    size = 1312 if kind == "pq" else 32
    key = number.to_bytes(2) + {"log": b"l", "receipt": b"r", "pq": b"p"}[kind] * (size - 2)
    return OutOfUse.model_validate({"kind": kind, "key": key, "until": NOW - timedelta(days=number)})


def test_as_many_retired_keys_as_there_is_room_for_fit_into_a_bundle(jpn: Jpn) -> None:
    write_retired(jpn.pki, [out_of_use(kind, number) for kind, most in MAX_RETIRED.items() for number in range(most)])
    bundle = jpn.sign()
    assert len(bundle.retired) == sum(MAX_RETIRED.values())
    assert len((jpn.pki / "bundle.note").read_bytes()) < MAX_NOTE


def test_each_kind_of_retired_key_has_its_own_room_and_what_is_left_out_is_said() -> None:
    retired = [out_of_use("pq", number) for number in range(MAX_RETIRED["pq"] + 1)]
    retired += [out_of_use("log", number) for number in range(100, 120)]
    listed = retired_of_bundle(retired)
    assert {one.key for one in listed if one.kind == "log"} == {one.key for one in retired if one.kind == "log"}
    assert left_out(retired) == [out_of_use("pq", MAX_RETIRED["pq"])]


def test_a_bundle_too_large_for_a_note_is_an_error_that_says_so(jpn: Jpn) -> None:
    for number in range(7):
        request, _ = make_request(jpn.keys, KeyLock(jpn.keys), "JPN", ["pq", "sealing"], now=LATER)
        assert request is not None
        admit(jpn.pki, request, now=LATER + timedelta(seconds=number))
    write_retired(jpn.pki, [out_of_use(kind, number) for kind, most in MAX_RETIRED.items() for number in range(most)])
    for _ in range(7):
        replace_authority(jpn.pki, Role.GATEWAY, now=LATER)
    with pytest.raises(IdentityError, match=f"at most {MAX_NOTE} bytes"):
        jpn.sign()
