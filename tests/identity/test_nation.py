"""Claims about a nation on disk: what it issues works together, and its bundle tells partners exactly that."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from gateway.identity import issuing, nation, national, next_bundle
from gateway.identity.errors import IdentityError, IssueError, Refusal, SecretFileError, TrustBundleError
from gateway.identity.node_keys import NodeKeys
from gateway.identity.peer import verify_peer
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.trust_bundle import Endpoint, TrustBundle

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def jpn(tmp_path: Path) -> Path:
    nation.create_nation(tmp_path / "jpn", "JPN", now=NOW)
    return tmp_path / "jpn"


def _gateway(jpn: Path, name: str, out: str, *, now: datetime = NOW, keys_from: Path | None = None) -> Path:
    path = jpn.parent / out
    issuing.issue_gateway(jpn, name, path, now=now, address="gw.example.jp:7443", keys_from=keys_from)
    return path


def test_a_new_nation_has_the_layout_that_it_promises(jpn: Path) -> None:
    files = {str(path.relative_to(jpn)) for path in jpn.rglob("*") if path.is_file()}
    assert files == {"root.key", "root.vkey", "recovery.key", "recovery.pub"} | {
        f"ca/{role.value}.{part}.pem" for role in Role for part in ("key", "crt")
    }
    private = [path for path in jpn.rglob("*") if path.name.endswith((".key", ".key.pem"))]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert stat.S_IMODE(jpn.stat().st_mode) == 0o700


def test_a_nation_is_made_once(jpn: Path) -> None:
    before = (jpn / "root.key").read_bytes()
    with pytest.raises(IssueError) as refused:
        nation.create_nation(jpn, "JPN", now=NOW)
    assert refused.value.code is Refusal.ALREADY_THERE
    assert (jpn / "root.key").read_bytes() == before


def test_a_partner_with_root_and_bundle_believes_the_gateway_and_has_its_keys(jpn: Path) -> None:
    out = _gateway(jpn, "a", "a")
    written = next_bundle.write_bundle(jpn, now=NOW)
    opened = TrustBundle.open((jpn / "bundle.note").read_bytes(), nation.read_root_vkey(jpn), now=NOW)
    assert opened == written
    keys = NodeKeys.load(out)
    public = keys.public()
    believed = verify_peer(keys.gateway_certificate_pem, opened.authorities(), allowed_roles=[Role.GATEWAY], now=NOW)
    assert believed == SpiffeId.parse("spiffe://jpn/gateway/a")
    assert (opened.log_keys, opened.receipt_keys, opened.pq_keys) == ((public.log,), (public.receipt,), (public.pq,))
    assert (opened.sealing_keys[0].mlkem768, opened.sealing_keys[0].x25519) == (
        public.sealing_mlkem768,
        public.sealing_x25519,
    )
    assert opened.endpoints == (
        Endpoint(address="gw.example.jp:7443", server_name="a.gateway.jpn.signalfire.internal"),
    )


def test_a_gateway_believes_its_own_nations_c2_systems_and_officers_and_no_partner_does(jpn: Path) -> None:
    out = _gateway(jpn, "a", "a")
    bundle = next_bundle.write_bundle(jpn, now=NOW)
    own = national.national_authorities(out, "JPN")
    for role, issue in ((Role.C2, issuing.issue_c2), (Role.OFFICER, issuing.issue_officer)):
        spiffe_id = issue(jpn, "sensor-net", jpn.parent / role.value, now=NOW)
        pem = (jpn.parent / role.value / f"{role.value}.crt.pem").read_bytes()
        assert verify_peer(pem, own, allowed_roles=[role], now=NOW) == spiffe_id
        with pytest.raises(IdentityError):
            verify_peer(pem, bundle.authorities(), allowed_roles=list(Role), now=NOW)


def test_a_c2_system_gets_the_authority_of_the_gateways_that_it_calls(jpn: Path) -> None:
    issuing.issue_c2(jpn, "sensor-net", jpn.parent / "c2", now=NOW)
    assert (jpn.parent / "c2" / "gateway-ca.crt.pem").read_bytes() == (jpn / "ca" / "gateway.crt.pem").read_bytes()
    assert stat.S_IMODE((jpn.parent / "c2" / "c2.key.pem").stat().st_mode) == 0o600


def test_bundles_count_up_by_one(jpn: Path) -> None:
    _gateway(jpn, "a", "a")
    assert [next_bundle.write_bundle(jpn, now=NOW).sequence for _ in range(3)] == [1, 2, 3]


def test_an_expired_bundle_still_counts(jpn: Path) -> None:
    _gateway(jpn, "a", "a")
    next_bundle.write_bundle(jpn, now=NOW, lifetime=HOUR)
    assert next_bundle.write_bundle(jpn, now=NOW + 2 * HOUR).sequence == 2


def test_a_sequence_may_be_given_but_never_goes_back(jpn: Path) -> None:
    _gateway(jpn, "a", "a")
    assert next_bundle.write_bundle(jpn, now=NOW, sequence=40).sequence == 40
    with pytest.raises(IssueError) as refused:
        next_bundle.write_bundle(jpn, now=NOW, sequence=40)
    assert refused.value.code is Refusal.STALE_SEQUENCE
    assert next_bundle.write_bundle(jpn, now=NOW).sequence == 41


def test_a_bundle_that_somebody_altered_is_not_counted_from(jpn: Path) -> None:
    _gateway(jpn, "a", "a")
    next_bundle.write_bundle(jpn, now=NOW)
    note = jpn / "bundle.note"
    note.write_text(note.read_text().replace("\n1\n", "\n9\n", 1))
    with pytest.raises(TrustBundleError):
        next_bundle.write_bundle(jpn, now=NOW)


def test_rotated_keys_come_first_and_the_old_ones_stay_until_their_record_goes(jpn: Path) -> None:
    old = NodeKeys.load(_gateway(jpn, "a", "a1")).public()
    new = NodeKeys.load(_gateway(jpn, "a", "a2", now=NOW + HOUR)).public()
    bundle = next_bundle.write_bundle(jpn, now=NOW + HOUR)
    assert bundle.log_keys == (new.log, old.log)
    assert [key.x25519 for key in bundle.sealing_keys] == [new.sealing_x25519, old.sealing_x25519]
    assert len(bundle.endpoints) == 1
    min((jpn / "gateways").iterdir()).unlink()
    assert next_bundle.write_bundle(jpn, now=NOW + HOUR).log_keys == (new.log,)


def test_a_second_gateway_that_shares_the_nodes_keys_adds_an_endpoint_and_no_key(jpn: Path) -> None:
    first = _gateway(jpn, "a", "a")
    second = _gateway(jpn, "b", "b", keys_from=first)
    assert NodeKeys.load(first).public() == NodeKeys.load(second).public()
    assert NodeKeys.load(first).gateway_key_pem != NodeKeys.load(second).gateway_key_pem
    bundle = next_bundle.write_bundle(jpn, now=NOW)
    assert len(bundle.log_keys) == 1
    assert {one.server_name for one in bundle.endpoints} == {
        "a.gateway.jpn.signalfire.internal",
        "b.gateway.jpn.signalfire.internal",
    }


def test_secrets_are_never_overwritten(jpn: Path) -> None:
    out = _gateway(jpn, "a", "a")
    before = (out / "log.key").read_bytes()
    with pytest.raises(IssueError) as refused:
        _gateway(jpn, "a", "a", now=NOW + HOUR)
    assert refused.value.code is Refusal.ALREADY_THERE
    assert (out / "log.key").read_bytes() == before
    issuing.issue_c2(jpn, "x", jpn.parent / "c2", now=NOW)
    with pytest.raises(IssueError):
        issuing.issue_c2(jpn, "x", jpn.parent / "c2", now=NOW)


def test_there_is_no_bundle_without_a_gateway(jpn: Path) -> None:
    with pytest.raises(IssueError) as refused:
        next_bundle.write_bundle(jpn, now=NOW)
    assert refused.value.code is Refusal.MISSING
    assert not (jpn / "bundle.note").exists()


def test_an_address_that_nobody_can_dial_issues_nothing(jpn: Path) -> None:
    with pytest.raises(IssueError):
        issuing.issue_gateway(jpn, "a", jpn.parent / "a", now=NOW, address="gw.example.jp")
    assert not (jpn.parent / "a").exists()


def test_a_directory_without_a_nation_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(IssueError) as refused:
        nation.load_nation(tmp_path)
    assert refused.value.code is Refusal.MISSING


def test_a_root_key_of_another_nation_is_noticed(jpn: Path, tmp_path: Path) -> None:
    nation.create_nation(tmp_path / "kor", "KOR", now=NOW)
    (jpn / "root.key").write_bytes((tmp_path / "kor" / "root.key").read_bytes())
    with pytest.raises(IssueError) as refused:
        nation.load_nation(jpn)
    assert refused.value.code is Refusal.MISMATCHED_PAIR


def test_an_authoritys_key_that_others_may_read_is_refused(jpn: Path) -> None:
    (jpn / "ca" / "officer.key.pem").chmod(0o644)
    with pytest.raises(SecretFileError) as refused:
        nation.load_nation(jpn)
    assert refused.value.code is Refusal.EXPOSED


def test_while_an_authority_is_replaced_partners_are_told_of_both(jpn: Path, tmp_path: Path) -> None:
    nation.create_nation(tmp_path / "next", "JPN", now=NOW)
    old = (jpn / "ca" / "gateway.crt.pem").read_bytes()
    for part in ("key", "crt"):
        path = jpn / "ca" / f"gateway.{part}.pem"
        path.write_bytes((tmp_path / "next" / "ca" / f"gateway.{part}.pem").read_bytes())
    with (jpn / "ca" / "gateway.crt.pem").open("ab") as both:
        both.write(old)
    _gateway(jpn, "a", "a")
    bundle = next_bundle.write_bundle(jpn, now=NOW)
    serials = [x509.load_pem_x509_certificate(pem.encode()).serial_number for pem in bundle.gateway_ca]
    assert len(serials) == 2
    assert serials[1] == x509.load_pem_x509_certificate(old).serial_number
