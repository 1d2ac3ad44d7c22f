"""Claims about rotation on disk: a gateway asks, its nation admits, retires and revokes, and what comes back fits."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.identity import admission, installing, issuing, nation, next_bundle
from gateway.identity.admission import admit, replace_authority, retire, revoke, write_certificate, write_outgoing
from gateway.identity.errors import IdentityError, Refusal
from gateway.identity.installing import install
from gateway.identity.key_names import gateway_key_name
from gateway.identity.keyring import KeyKind, Keyring
from gateway.identity.locked import KeyLock
from gateway.identity.national import NationalAuthorities
from gateway.identity.node_keys import NodeKeys
from gateway.identity.peer import verify_peer
from gateway.identity.private_files import write_private
from gateway.identity.revocation import load_crl
from gateway.identity.rotation import KINDS, KeyRequest, make_request
from gateway.identity.spiffe import Role
from gateway.identity.trust_bundle import TrustBundle
from gateway.ledger.note import Ed25519Signer, Note, sign_note

NOW = datetime.now(UTC).replace(microsecond=0)
LATER = NOW + timedelta(hours=1)
AFTERWARDS = NOW + timedelta(hours=2)


class Jpn:
    """A nation's directory, and its gateway's keys."""

    def __init__(self, directory: Path) -> None:
        self.pki, self.keys, self.out = directory / "pki", directory / "keys", directory / "out"
        self.bundle = directory / "own.note"
        nation.create_nation(self.pki, "JPN", now=NOW)
        issuing.issue_gateway(self.pki, "a", self.keys, now=NOW, address="gw:1", extra_dns=["gw.example.jp"])
        self.root = nation.read_root_vkey(self.pki)

    @property
    def ring(self) -> Keyring:
        return Keyring.load(self.keys)

    def request(self, *kinds: str) -> bytes:
        raw, _ = make_request(self.keys, KeyLock(self.keys), "JPN", kinds or KINDS, now=LATER)
        assert raw is not None
        return raw

    def admitted(self, raw: bytes) -> admission.Admitted:
        found = admit(self.pki, raw, now=LATER)
        if found.certificate is not None:
            write_certificate(self.out, found.certificate)
        return found

    def sign(self) -> TrustBundle:
        bundle = next_bundle.write_bundle(self.pki, now=LATER)
        write_outgoing(self.pki, self.out)
        return bundle

    def install(self) -> list[str]:
        return install(
            self.out, self.keys, KeyLock(self.keys), "JPN", now=AFTERWARDS, root=self.root, bundle=self.bundle
        )

    def certificate(self) -> bytes:
        return (self.keys / "gateway.crt.pem").read_bytes()


@pytest.fixture
def jpn(tmp_path: Path) -> Jpn:
    return Jpn(tmp_path)


def refusal(raw: bytes, jpn: Jpn) -> Refusal:
    before = sorted(path.name for path in (jpn.pki / "gateways").iterdir())
    with pytest.raises(IdentityError) as refused:
        admit(jpn.pki, raw, now=LATER)
    assert sorted(path.name for path in (jpn.pki / "gateways").iterdir()) == before
    return refused.value.code


def test_new_keys_are_made_beside_those_in_use_and_leave_them_alone(jpn: Jpn) -> None:
    before = {path.name: path.read_bytes() for path in jpn.keys.iterdir()}
    jpn.request()
    after = {path.name: path.read_bytes() for path in jpn.keys.iterdir()}
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + len(KINDS)
    assert all(len(held) == 2 for held in jpn.ring.keys.values())


def test_a_request_holds_no_secret(jpn: Jpn) -> None:
    raw = jpn.request()
    for held in jpn.ring.keys.values():
        for key in held.values():
            assert not [part for part in key.parts.values() if part in raw or base64.b64encode(part) in raw]
    assert b"PRIVATE" not in raw


def test_the_next_bundle_lists_admitted_keys_first_and_the_old_ones_after_them(jpn: Jpn) -> None:
    old = jpn.sign()
    jpn.admitted(jpn.request())
    new = jpn.sign()
    assert new.sequence == old.sequence + 1
    for before, after in (
        (old.log_keys, new.log_keys),
        (old.receipt_keys, new.receipt_keys),
        (old.pq_keys, new.pq_keys),
    ):
        assert after[1:] == before
    assert new.sealing_keys[1:] == old.sealing_keys
    assert jpn.ring.of_public(KeyKind.LOG, new.log_keys[0]) is not None
    assert new.endpoints == old.endpoints


def test_renewing_a_certificate_under_old_keys_makes_them_no_newer(jpn: Jpn) -> None:
    jpn.admitted(jpn.request("log"))
    before = jpn.sign().log_keys
    issuing.issue_gateway(jpn.pki, "b", jpn.out / "b", now=AFTERWARDS, address="gw:2", keys_from=jpn.keys)
    assert next_bundle.write_bundle(jpn.pki, now=AFTERWARDS).log_keys == before
    assert Keyring.load(jpn.out / "b") == jpn.ring


def test_a_storage_key_is_nobody_elses_affair(jpn: Jpn) -> None:
    raw, made = make_request(jpn.keys, KeyLock(jpn.keys), "JPN", ["storage"], now=LATER)
    assert raw is None
    assert len(made) == 1


def test_a_request_that_no_key_on_record_signed_is_refused(jpn: Jpn, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger = Jpn(tmp_path / "other")
    assert refusal(stranger.request(), jpn) is Refusal.BAD_SIGNATURE


def test_a_request_that_a_retired_key_signed_is_refused(jpn: Jpn) -> None:
    thief = NodeKeys.load(jpn.keys)
    jpn.admitted(jpn.request("log"))
    retire(jpn.pki, now=LATER, since=NOW)
    request = KeyRequest.open(jpn.request("pq"), "JPN", {"spiffe://jpn/gateway/a": [_public(jpn, 1), _public(jpn, 0)]})
    stolen = request.sign([Ed25519Signer(gateway_key_name("JPN"), thief.log_seed)])
    assert refusal(stolen, jpn) is Refusal.BAD_SIGNATURE


def _public(jpn: Jpn, place: int) -> bytes:
    return list(jpn.ring.keys[KeyKind.LOG].values())[place].public


def test_one_gateways_key_does_not_speak_for_another(jpn: Jpn) -> None:
    issuing.issue_gateway(jpn.pki, "b", jpn.out / "b", now=LATER, address="gw:2")
    signer = Ed25519Signer(gateway_key_name("JPN"), NodeKeys.load(jpn.out / "b").log_seed)
    text = Note.parse(jpn.request("log")).text
    assert refusal(sign_note(text, signer).encode(), jpn) is Refusal.WRONG_NODE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("key-request", "bundle"),
        ('"spiffe_id"', '"spiffe_ID"'),
        ('"made": "2', '"made": "02'),
        ('"pq_key": null', '"pq_key": ""'),
        ('"pq_key": null', '"pq_key": null, "more": 1'),
        ("spiffe://jpn/gateway/a", "spiffe://kor/gateway/a"),
    ],
)
def test_a_request_of_another_form_is_refused(jpn: Jpn, old: str, new: str) -> None:
    text = Note.parse(jpn.request("log")).text
    assert old in text
    signer = Ed25519Signer(gateway_key_name("JPN"), NodeKeys.load(jpn.keys).log_seed)
    assert refusal(sign_note(text.replace(old, new, 1), signer).encode(), jpn)


def test_a_request_is_admitted_once(jpn: Jpn) -> None:
    raw = jpn.request()
    jpn.admitted(raw)
    assert refusal(raw, jpn) is Refusal.ALREADY_THERE


@pytest.mark.parametrize(
    "names",
    [
        ["spiffe://jpn/gateway/b", "a.gateway.jpn.signalfire.internal"],
        ["spiffe://jpn/officer/a"],
        ["spiffe://jpn/gateway/a", "b.gateway.jpn.signalfire.internal"],
        ["spiffe://jpn/gateway/a", "gw.example.kp"],
        ["spiffe://jpn/gateway/a", "spiffe://jpn/gateway/a"],
        ["a.gateway.jpn.signalfire.internal"],
    ],
)
def test_a_stolen_log_key_gets_no_certificate_for_anybody_else(jpn: Jpn, names: list[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    asked = [x509.UniformResourceIdentifier(one) if "://" in one else x509.DNSName(one) for one in names]
    csr = (
        x509.CertificateSigningRequestBuilder(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName(asked), critical=True)
        .sign(key, hashes.SHA256())
    )
    honest = KeyRequest.open(jpn.request("log"), "JPN", {"spiffe://jpn/gateway/a": [_public(jpn, 0)]})
    forged = honest.model_copy(update={"csr": csr.public_bytes(serialization.Encoding.PEM).decode()})
    signer = Ed25519Signer(gateway_key_name("JPN"), NodeKeys.load(jpn.keys).log_seed)
    assert refusal(forged.sign([signer]), jpn) is Refusal.WRONG_NODE


def test_retired_keys_stand_in_the_bundle_until_when_they_signed(jpn: Jpn) -> None:
    old = jpn.sign()
    jpn.admitted(jpn.request())
    retire(jpn.pki, now=AFTERWARDS)
    bundle = next_bundle.write_bundle(jpn.pki, now=AFTERWARDS)
    assert {(one.kind, one.key) for one in bundle.retired} == {
        ("log", old.log_keys[0]),
        ("receipt", old.receipt_keys[0]),
        ("pq", old.pq_keys[0]),
    }
    assert {one.until for one in bundle.retired} == {AFTERWARDS}
    assert len(bundle.log_keys) == len(bundle.sealing_keys) == 1


def test_a_theft_that_is_noticed_later_moves_the_time_back_and_never_forward(jpn: Jpn) -> None:
    jpn.admitted(jpn.request("log"))
    (stolen,) = retire(jpn.pki, now=LATER)
    digits = next(key.key_id for key in jpn.ring.keys[KeyKind.LOG].values() if key.public == stolen.key)
    (again,) = retire(jpn.pki, now=AFTERWARDS, key_id=digits, since=NOW)
    assert again.until == NOW
    assert retire(jpn.pki, now=AFTERWARDS, key_id=digits) == []
    (one,) = next_bundle.write_bundle(jpn.pki, now=AFTERWARDS).retired
    assert one.until == NOW


def test_the_only_key_of_a_kind_is_not_retired(jpn: Jpn) -> None:
    with pytest.raises(IdentityError, match="the only one"):
        retire(jpn.pki, now=LATER, key_id=jpn.ring.default(KeyKind.LOG).key_id)
    for key_id, since in ((None, None), ("00000000", None), (None, AFTERWARDS)):
        with pytest.raises(IdentityError):
            retire(jpn.pki, now=LATER, key_id=key_id, since=since)
    assert jpn.sign().retired == ()


def test_what_was_issued_is_installed_and_the_former_tls_key_is_gone(jpn: Jpn) -> None:
    before = NodeKeys.load(jpn.keys)
    jpn.admitted(jpn.request())
    bundle = jpn.sign()
    assert f"trust bundle {bundle.sequence}" in jpn.install()
    after = NodeKeys.load(jpn.keys)
    assert after.gateway_key_pem != before.gateway_key_pem
    assert sorted(path.name for path in jpn.keys.glob("gateway.*.pem")) == ["gateway.crt.pem", "gateway.key.pem"]
    assert (
        verify_peer(jpn.certificate(), bundle.authorities(), allowed_roles=[Role.GATEWAY], now=AFTERWARDS).name == "a"
    )
    assert TrustBundle.open(jpn.bundle.read_bytes(), jpn.root, now=AFTERWARDS) == bundle


class Crash(Exception):
    """The machine stops here."""


@pytest.mark.parametrize("step", range(5))
def test_after_a_crash_at_any_step_of_installing_key_and_certificate_are_a_pair(
    jpn: Jpn, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    jpn.admitted(jpn.request("tls"))
    jpn.sign()
    left = [step]

    def until_the_crash(path: Path, content: bytes, *, mode: int = 0o600) -> None:
        if left[0] == 0:
            raise Crash
        left[0] -= 1
        write_private(path, content, mode=mode)

    with monkeypatch.context() as patched:
        patched.setattr(installing, "write_private", until_the_crash)
        with pytest.raises(Crash):
            jpn.install()
    _require_a_pair(jpn)
    jpn.install()
    _require_a_pair(jpn)


def _require_a_pair(jpn: Jpn) -> None:
    keys = NodeKeys.load(jpn.keys)
    certificate = x509.load_pem_x509_certificate(keys.gateway_certificate_pem)
    key = private_key_of(keys.gateway_key_pem)
    assert key.public_key() == certificate.public_key()


def private_key_of(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def test_a_certificate_whose_key_is_not_here_or_of_another_gateway_is_not_installed(jpn: Jpn) -> None:
    issuing.issue_gateway(jpn.pki, "b", jpn.out / "b", now=LATER, address="gw:2")
    before = jpn.certificate()
    for source in (jpn.out / "b" / "gateway.crt.pem", jpn.pki / "ca" / "gateway.crt.pem"):
        (jpn.out / "gateway.crt.pem").write_bytes(source.read_bytes())
        with pytest.raises(IdentityError):
            jpn.install()
    jpn.admitted(jpn.request("tls"))
    for path in jpn.keys.glob("gateway.*.key.pem"):
        path.unlink()
    with pytest.raises(IdentityError, match="does not hold the private key"):
        jpn.install()
    assert jpn.certificate() == before


def test_an_older_bundle_or_another_nations_is_not_installed(jpn: Jpn, tmp_path: Path) -> None:
    jpn.sign()
    older = (jpn.out / "bundle.note").read_bytes()
    jpn.sign()
    jpn.install()
    (jpn.out / "bundle.note").write_bytes(older)
    with pytest.raises(IdentityError, match="already been seen"):
        jpn.install()
    (tmp_path / "other").mkdir()
    stranger = Jpn(tmp_path / "other")
    stranger.sign()
    (jpn.out / "bundle.note").write_bytes((stranger.out / "bundle.note").read_bytes())
    with pytest.raises(IdentityError, match="did not sign"):
        jpn.install()


def issue_c2(jpn: Jpn, name: str) -> bytes:
    issuing.issue_c2(jpn.pki, name, jpn.out.parent / name, now=NOW)
    return (jpn.out.parent / name / "c2.crt.pem").read_bytes()


def is_believed(pem: bytes, national: NationalAuthorities) -> bool:
    try:
        verify_peer(pem, national(), allowed_roles=[Role.C2], now=AFTERWARDS)
    except IdentityError as refused:
        if refused.code not in {Refusal.REVOKED, Refusal.UNTRUSTED_ISSUER}:
            raise
        return False
    return True


def test_a_revoked_c2_system_is_refused_once_the_list_is_installed_and_no_other_is(jpn: Jpn) -> None:
    sensors, command = issue_c2(jpn, "sensors"), issue_c2(jpn, "command")
    national = NationalAuthorities(jpn.keys, "JPN")
    assert is_believed(sensors, national)
    revoke(jpn.pki, sensors, now=LATER)
    write_outgoing(jpn.pki, jpn.out)
    jpn.install()
    assert not is_believed(sensors, national)
    assert is_believed(command, national)
    revoke(jpn.pki, command, now=LATER)
    write_outgoing(jpn.pki, jpn.out)
    jpn.install()
    assert not is_believed(sensors, national)
    assert not is_believed(command, national)


def test_a_list_that_is_not_of_the_authority_changes_nothing_and_is_told_once(
    jpn: Jpn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sensors = issue_c2(jpn, "sensors")
    national = NationalAuthorities(jpn.keys, "JPN")
    revoke(jpn.pki, sensors, now=LATER)
    (tmp_path / "other").mkdir()
    stranger = Jpn(tmp_path / "other")
    foreign, _ = issue_c2(stranger, "x"), revoke(stranger.pki, issue_c2(stranger, "y"), now=LATER)
    assert foreign
    put_list(jpn, (stranger.pki / "ca" / "c2.crl.pem").read_bytes())
    assert is_believed(sensors, national)
    assert is_believed(sensors, national)
    assert sum("not signed by" in record.getMessage() for record in caplog.records) == 1
    put_list(jpn, (jpn.pki / "ca" / "c2.crl.pem").read_bytes())
    assert not is_believed(sensors, national)
    put_list(jpn, b"half a li")
    assert not is_believed(sensors, national)
    with pytest.raises(IdentityError):
        NationalAuthorities(jpn.keys, "JPN")


def put_list(jpn: Jpn, content: bytes) -> None:
    path = jpn.keys / "c2.crl.pem"
    path.write_bytes(content)
    path.chmod(0o600)


def test_a_list_whose_time_has_passed_is_heeded_and_remarked(jpn: Jpn) -> None:
    sensors = issue_c2(jpn, "sensors")
    revoke(jpn.pki, sensors, now=NOW, lifetime=timedelta(minutes=1))
    put_list(jpn, (jpn.pki / "ca" / "c2.crl.pem").read_bytes())
    national = NationalAuthorities(jpn.keys, "JPN")
    assert not is_believed(sensors, national)
    assert national.remarks(NOW) == []
    (remark,) = national.remarks(AFTERWARDS)
    assert "stays revoked" in remark


def test_a_revoked_gateway_stands_in_the_bundle_and_partners_refuse_it(jpn: Jpn) -> None:
    stolen = jpn.certificate()
    before = jpn.sign().authorities()
    assert verify_peer(stolen, before, allowed_roles=[Role.GATEWAY], now=LATER)
    jpn.admitted(jpn.request("tls"))
    revoke(jpn.pki, stolen, now=LATER)
    bundle = jpn.sign()
    assert len(bundle.gateway_crl) == 1
    with pytest.raises(IdentityError) as refused:
        verify_peer(stolen, bundle.authorities(), allowed_roles=[Role.GATEWAY], now=LATER)
    assert refused.value.code is Refusal.REVOKED
    jpn.install()
    assert verify_peer(jpn.certificate(), bundle.authorities(), allowed_roles=[Role.GATEWAY], now=LATER)


def test_a_list_counts_up_and_keeps_what_was_revoked(jpn: Jpn) -> None:
    leaves = [issue_c2(jpn, name) for name in ("one", "two")]
    for leaf in leaves:
        (path,) = revoke(jpn.pki, leaf, now=LATER)
    assert revoke(jpn.pki, None, now=AFTERWARDS) == [path]
    crl = load_crl(path.read_bytes())
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3
    assert {one.serial_number for one in crl} == {x509.load_pem_x509_certificate(one).serial_number for one in leaves}
    assert crl.last_update_utc == AFTERWARDS


def test_a_certificate_of_another_nation_is_not_revoked_here(jpn: Jpn, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    foreign = Jpn(tmp_path / "other").certificate()
    for pem in (foreign, b"none", (jpn.pki / "ca" / "c2.crt.pem").read_bytes()):
        with pytest.raises(IdentityError):
            revoke(jpn.pki, pem, now=LATER)
    assert not list((jpn.pki / "ca").glob("*.crl.pem"))


def test_the_authority_of_gateways_is_replaced_with_both_believed_in_between(jpn: Jpn) -> None:
    old_leaf = jpn.certificate()
    revoke(jpn.pki, old_leaf, now=NOW)
    replace_authority(jpn.pki, Role.GATEWAY, now=NOW)
    both = jpn.sign()
    assert len(both.gateway_ca) == 2
    assert len(both.gateway_crl) == 1
    jpn.admitted(jpn.request("tls"))
    jpn.sign()
    jpn.install()
    assert verify_peer(jpn.certificate(), both.authorities(), allowed_roles=[Role.GATEWAY], now=LATER)
    assert admission.drop_former_authorities(jpn.pki, Role.GATEWAY) == 1
    after = jpn.sign()
    assert after.gateway_crl == ()
    assert verify_peer(jpn.certificate(), after.authorities(), allowed_roles=[Role.GATEWAY], now=LATER)
    with pytest.raises(IdentityError) as refused:
        verify_peer(old_leaf, after.authorities(), allowed_roles=[Role.GATEWAY], now=LATER)
    assert refused.value.code is Refusal.UNTRUSTED_ISSUER


def test_the_authority_of_c2_systems_is_replaced_at_a_gateway_that_runs(jpn: Jpn) -> None:
    old = issue_c2(jpn, "old")
    national = NationalAuthorities(jpn.keys, "JPN")
    replace_authority(jpn.pki, Role.C2, now=NOW)
    new = issue_c2(jpn, "new")
    assert not is_believed(new, national)
    write_outgoing(jpn.pki, jpn.out)
    jpn.install()
    assert is_believed(old, national)
    assert is_believed(new, national)
    admission.drop_former_authorities(jpn.pki, Role.C2)
    write_outgoing(jpn.pki, jpn.out)
    jpn.install()
    assert not is_believed(old, national)
    assert is_believed(new, national)
