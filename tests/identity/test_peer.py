"""Claims about whom a certificate proves: the authority of a nation and role speaks for that nation and role alone."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from gateway.identity.authority import Authority, Leaf, Validity, certificate_pem
from gateway.identity.errors import IdentityError, PeerError, Refusal, SpiffeIdError
from gateway.identity.peer import Authorities, verify_peer
from gateway.identity.revocation import Issuers
from gateway.identity.spiffe import Role, SpiffeId
from tests.identity.world import World

EVERY_ROLE = tuple(Role)


def _minted(
    authority: Authority,
    world: World,
    uri: str,
    *,
    usages: Sequence[ObjectIdentifier] | None = (ExtendedKeyUsageOID.CLIENT_AUTH,),
    ca: bool = False,
    unknown_critical: bool = False,
) -> bytes:
    """A leaf as a dishonest or careless authority could make it, signed with that authority's true key."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(world.now - timedelta(hours=1))
        .not_valid_after(world.now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if usages is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if unknown_critical:
        unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    return certificate_pem(builder.sign(authority.key, hashes.SHA256()))


def _code(refused: pytest.ExceptionInfo[IdentityError]) -> Refusal:
    return refused.value.code


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("node", ["JPN", "KOR"])
def test_a_certificate_of_its_own_nation_and_role_is_believed(world: World, node: str, role: Role) -> None:
    leaf = world.leaf(node, role)
    found = verify_peer(leaf.certificate_pem, world.believed(), allowed_roles=[role], now=world.now)
    assert found == SpiffeId.of(node, role, "a")


@pytest.mark.parametrize("signer", [("KOR", Role.GATEWAY), ("JPN", Role.C2), ("JPN", Role.OFFICER), ("KOR", Role.C2)])
def test_no_other_authority_can_mint_a_japanese_gateway(world: World, signer: tuple[str, Role]) -> None:
    forged = _minted(world.authority(*signer), world, "spiffe://jpn/gateway/a")
    with pytest.raises(PeerError) as refused:
        verify_peer(forged, world.believed(), allowed_roles=EVERY_ROLE, now=world.now)
    assert _code(refused) is Refusal.UNTRUSTED_ISSUER


def test_the_same_forgery_by_the_right_authority_would_pass(world: World) -> None:
    minted = _minted(world.authority("JPN"), world, "spiffe://jpn/gateway/a")
    assert verify_peer(minted, world.believed(), allowed_roles=EVERY_ROLE, now=world.now).node == "JPN"


def test_an_authority_of_the_same_name_with_another_key_is_not_believed(world: World) -> None:
    impostor = Authority.create("JPN", Role.GATEWAY, Validity.starting(world.now, timedelta(days=2)))
    leaf = impostor.issue_leaf("a", Validity.starting(world.now, timedelta(days=1)))
    with pytest.raises(PeerError) as refused:
        verify_peer(leaf.certificate_pem, world.believed(), allowed_roles=EVERY_ROLE, now=world.now)
    assert _code(refused) is Refusal.UNTRUSTED_ISSUER


def test_a_nation_whose_bundle_is_not_pinned_is_not_believed(world: World) -> None:
    believed = {key: held for key, held in world.believed().items() if key[0] != "kor"}
    with pytest.raises(PeerError) as refused:
        verify_peer(world.leaf("KOR").certificate_pem, believed, allowed_roles=EVERY_ROLE, now=world.now)
    assert _code(refused) is Refusal.UNTRUSTED_ISSUER


def test_a_role_that_the_listener_does_not_serve_is_refused(world: World) -> None:
    leaf = world.leaf("JPN", Role.OFFICER)
    with pytest.raises(PeerError) as refused:
        verify_peer(leaf.certificate_pem, world.believed(), allowed_roles=[Role.GATEWAY], now=world.now)
    assert _code(refused) is Refusal.WRONG_ROLE


def test_a_certificate_is_believed_to_the_last_second_of_its_validity_and_no_longer(world: World) -> None:
    leaf = world.leaf("JPN")
    end = x509.load_pem_x509_certificate(leaf.certificate_pem).not_valid_after_utc
    verify_peer(leaf.certificate_pem, world.believed(), allowed_roles=EVERY_ROLE, now=end)
    with pytest.raises(PeerError) as refused:
        verify_peer(leaf.certificate_pem, world.believed(), allowed_roles=EVERY_ROLE, now=end + timedelta(seconds=1))
    assert _code(refused) is Refusal.EXPIRED


def test_a_certificate_is_not_believed_before_its_time(world: World) -> None:
    leaf = world.leaf("JPN")
    start = x509.load_pem_x509_certificate(leaf.certificate_pem).not_valid_before_utc
    verify_peer(leaf.certificate_pem, world.believed(), allowed_roles=EVERY_ROLE, now=start)
    with pytest.raises(PeerError) as refused:
        verify_peer(leaf.certificate_pem, world.believed(), allowed_roles=EVERY_ROLE, now=start - timedelta(seconds=1))
    assert _code(refused) is Refusal.NOT_YET_VALID


def test_an_expired_authority_vouches_for_nobody(world: World) -> None:
    old = Authority.create("JPN", Role.GATEWAY, Validity(world.now - timedelta(days=9), world.now - timedelta(days=1)))
    # Authority.issue would refuse a leaf that outlasts it, so it is minted.
    leaf = _minted(old, world, "spiffe://jpn/gateway/a")
    believed = {("jpn", Role.GATEWAY): Issuers.of([old.certificate])}
    with pytest.raises(PeerError) as refused:
        verify_peer(leaf, believed, allowed_roles=EVERY_ROLE, now=world.now)
    assert _code(refused) is Refusal.EXPIRED


def test_while_an_authority_is_replaced_the_leaves_of_both_are_believed(world: World) -> None:
    newer = Authority.create("JPN", Role.GATEWAY, Validity.starting(world.now, timedelta(days=2)))
    believed = {("jpn", Role.GATEWAY): Issuers.of([newer.certificate, world.authority("JPN").certificate])}
    for leaf in (
        world.leaf("JPN"),
        newer.issue_leaf("b", Validity.starting(world.now, timedelta(days=1))),
    ):
        assert verify_peer(leaf.certificate_pem, believed, allowed_roles=EVERY_ROLE, now=world.now) == leaf.spiffe_id


@pytest.mark.parametrize("usages", [None, (ExtendedKeyUsageOID.SERVER_AUTH,), (ExtendedKeyUsageOID.EMAIL_PROTECTION,)])
def test_a_certificate_that_is_not_meant_for_a_client_is_refused(
    world: World, usages: Sequence[ObjectIdentifier] | None
) -> None:
    leaf = _minted(world.authority("JPN"), world, "spiffe://jpn/gateway/a", usages=usages)
    with pytest.raises(PeerError) as refused:
        verify_peer(leaf, world.believed(), allowed_roles=EVERY_ROLE, now=world.now)
    assert _code(refused) is Refusal.WRONG_PURPOSE


def test_an_authority_is_not_a_peer(world: World) -> None:
    leaf = _minted(world.authority("JPN"), world, "spiffe://jpn/gateway/a", ca=True)
    with pytest.raises(PeerError) as refused:
        verify_peer(leaf, world.believed(), allowed_roles=EVERY_ROLE, now=world.now)
    assert _code(refused) is Refusal.MALFORMED_CERTIFICATE


def test_an_extension_that_must_be_understood_and_is_not_is_refused(world: World) -> None:
    leaf = _minted(world.authority("JPN"), world, "spiffe://jpn/gateway/a", unknown_critical=True)
    with pytest.raises(PeerError) as refused:
        verify_peer(leaf, world.believed(), allowed_roles=EVERY_ROLE, now=world.now)
    assert _code(refused) is Refusal.MALFORMED_CERTIFICATE


def test_a_leaf_used_as_an_authority_vouches_for_nobody(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    plain = world.authority("JPN").issue(
        SpiffeId.of("JPN", Role.GATEWAY, "a"), key.public_key(), Validity.starting(world.now, timedelta(days=1))
    )
    leaf = _minted(Authority("JPN", Role.GATEWAY, plain, key), world, "spiffe://jpn/gateway/b")
    with pytest.raises(PeerError) as refused:
        verify_peer(leaf, {("jpn", Role.GATEWAY): Issuers.of([plain])}, allowed_roles=EVERY_ROLE, now=world.now)
    assert _code(refused) is Refusal.MALFORMED_CERTIFICATE


@pytest.mark.parametrize("uri", ["spiffe://JPN/gateway/a", "https://jpn/gateway/a", "spiffe://jpn/gateway/a/"])
def test_a_malformed_id_is_refused_even_when_the_right_authority_signed_it(world: World, uri: str) -> None:
    with pytest.raises(SpiffeIdError) as refused:
        verify_peer(
            _minted(world.authority("JPN"), world, uri), world.believed(), allowed_roles=EVERY_ROLE, now=world.now
        )
    assert _code(refused) is Refusal.MALFORMED_ID


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\x00\xff"])
def test_what_is_not_a_certificate_is_refused(world: World, pem: bytes) -> None:
    with pytest.raises(PeerError) as refused:
        verify_peer(pem, world.believed(), allowed_roles=EVERY_ROLE, now=world.now)
    assert _code(refused) is Refusal.MALFORMED_CERTIFICATE


def test_two_certificates_are_not_one(world: World) -> None:
    both = world.leaf("JPN").certificate_pem + world.leaf("KOR").certificate_pem
    with pytest.raises(PeerError):
        verify_peer(both, world.believed(), allowed_roles=EVERY_ROLE, now=world.now)


# --- what was found is found again only while all that it rests on is the same


def _asked_again(leaf: Leaf, authorities: Authorities, now: datetime, roles: Sequence[Role] = EVERY_ROLE) -> SpiffeId:
    return verify_peer(leaf.certificate_pem, authorities, allowed_roles=roles, now=now)


def test_what_was_believed_is_asked_anew_for_another_listener_and_for_other_authorities(world: World) -> None:
    leaf, believed = world.leaf("JPN"), world.believed()
    found = _asked_again(leaf, believed, world.now)
    assert _asked_again(leaf, believed, world.now + timedelta(seconds=1)) is found
    with pytest.raises(PeerError) as refused:
        _asked_again(leaf, believed, world.now, [Role.C2])
    assert _code(refused) is Refusal.WRONG_ROLE
    with pytest.raises(PeerError) as refused:
        _asked_again(leaf, {**believed, ("jpn", Role.GATEWAY): believed["kor", Role.GATEWAY]}, world.now)
    assert _code(refused) is Refusal.UNTRUSTED_ISSUER
    assert _asked_again(leaf, believed, world.now) == found


def test_what_was_believed_is_not_once_nothing_vouches_for_it(world: World) -> None:
    leaf, believed = world.leaf("JPN"), world.believed()
    assert _asked_again(leaf, believed, world.now).node == "JPN"
    # Also where nobody holds any more what it was believed by.
    believed.clear()
    gc.collect()
    with pytest.raises(PeerError) as refused:
        _asked_again(leaf, believed, world.now)
    assert _code(refused) is Refusal.UNTRUSTED_ISSUER


def test_what_was_believed_expires_to_the_second_and_was_not_so_before(world: World) -> None:
    leaf, believed = world.leaf("JPN"), world.believed()
    last = world.now + timedelta(days=1)
    for now, code in (
        (world.now, None),
        (last, None),
        (last + datetime.resolution, Refusal.EXPIRED),
        (world.now - timedelta(days=2), Refusal.NOT_YET_VALID),
        (last, None),
    ):
        if code is None:
            assert _asked_again(leaf, believed, now).node == "JPN"
            continue
        with pytest.raises(PeerError) as refused:
            _asked_again(leaf, believed, now)
        assert _code(refused) is code


def test_what_was_believed_falls_with_an_authority_that_expires_before_it(world: World) -> None:
    brief = Authority.create("JPN", Role.GATEWAY, Validity.starting(world.now, timedelta(minutes=1)))
    leaf = _minted(brief, world, "spiffe://jpn/gateway/a")
    believed = {("jpn", Role.GATEWAY): Issuers.of([brief.certificate])}
    last = world.now + timedelta(minutes=1)
    for now in (world.now, last):
        assert verify_peer(leaf, believed, allowed_roles=EVERY_ROLE, now=now).node == "JPN"
    with pytest.raises(PeerError) as refused:
        verify_peer(leaf, believed, allowed_roles=EVERY_ROLE, now=last + datetime.resolution)
    assert _code(refused) is Refusal.EXPIRED


def test_an_authority_that_is_in_force_since_the_first_year_of_all_is_no_obstacle(world: World) -> None:
    leaf, authority = world.leaf("JPN"), world.believed()["jpn", Role.GATEWAY]
    oldest = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(1)
        .not_valid_before(datetime(2050, 1, 1))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59))
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
        .replace(b"20500101000000Z", b"00010101000000Z")
    )
    believed = {("jpn", Role.GATEWAY): Issuers.of([*authority, x509.load_der_x509_certificate(oldest)])}
    for _ in range(2):
        assert _asked_again(leaf, believed, world.now).node == "JPN"
