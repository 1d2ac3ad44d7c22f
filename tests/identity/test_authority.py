"""Claims about what the built-in authority issues."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.identity.authority import Authority, RootKey, Validity
from gateway.identity.errors import IssueError, Refusal
from gateway.identity.spiffe import Role, SpiffeId
from tests.identity.world import World


@pytest.mark.parametrize("role", list(Role))
def test_an_authority_can_sign_leaves_and_no_further_authority(world: World, role: Role) -> None:
    extensions = world.authority("JPN", role).certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature


def test_the_three_authorities_of_a_nation_share_no_key(world: World) -> None:
    identifiers = {
        world.authority("JPN", role)
        .certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        .value.digest
        for role in Role
    }
    assert len(identifiers) == 3


def test_a_gateway_leaf_is_server_and_client_under_its_id_its_dns_name_and_those_asked_for(world: World) -> None:
    leaf = world.authority("JPN").issue_leaf(
        "a",
        Validity.starting(world.now, timedelta(days=1)),
        extra_dns=["gw.example.jp"],
        extra_ips=[ipaddress.ip_address("2001:db8::1")],
    )
    extensions = x509.load_pem_x509_certificate(leaf.certificate_pem).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://jpn/gateway/a"]
    assert names.value.get_values_for_type(x509.DNSName) == ["a.gateway.jpn.signalfire.internal", "gw.example.jp"]
    assert names.value.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("2001:db8::1")]
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }


@pytest.mark.parametrize("role", [Role.C2, Role.OFFICER])
def test_a_leaf_of_a_c2_system_or_officer_is_a_client_with_its_id_alone(world: World, role: Role) -> None:
    extensions = x509.load_pem_x509_certificate(world.leaf("JPN", role).certificate_pem).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [f"spiffe://jpn/{role.value}/a"]
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_leaf_points_to_the_key_that_signed_it(world: World) -> None:
    authority = world.authority("JPN")
    leaf = x509.load_pem_x509_certificate(world.leaf("JPN").certificate_pem)
    issuer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    own = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert issuer == own
    leaf.verify_directly_issued_by(authority.certificate)


@pytest.mark.parametrize(
    ("spiffe_id", "code"),
    [("spiffe://kor/gateway/a", Refusal.WRONG_NODE), ("spiffe://jpn/officer/a", Refusal.WRONG_ROLE)],
)
def test_an_authority_issues_for_its_own_nation_and_role_only(world: World, spiffe_id: str, code: Refusal) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(IssueError) as refused:
        world.authority("JPN").issue(
            SpiffeId.parse(spiffe_id), key.public_key(), Validity.starting(world.now, timedelta(days=1))
        )
    assert refused.value.code is code


def test_no_leaf_outlasts_its_authority(world: World) -> None:
    with pytest.raises(IssueError):
        world.authority("JPN").issue_leaf("a", Validity.starting(world.now, timedelta(days=365)))


def test_a_client_leaf_takes_no_server_names(world: World) -> None:
    with pytest.raises(IssueError):
        world.authority("JPN", Role.C2).issue_leaf(
            "a", Validity.starting(world.now, timedelta(days=1)), extra_dns=["c2.example.jp"]
        )


def test_a_validity_is_in_order_and_knows_its_zone(world: World) -> None:
    with pytest.raises(IssueError):
        Validity(world.now, world.now)
    with pytest.raises(IssueError):
        Validity(world.now.replace(tzinfo=None), world.now)


def test_private_keys_do_not_show_when_a_value_is_printed(world: World) -> None:
    leaf = world.leaf("JPN")
    root = RootKey("JPN", bytes(range(32)))
    authority: Authority = world.authority("JPN")
    assert "PRIVATE" not in repr(leaf)
    assert "\\x01" not in repr(root)
    assert "PrivateKey" not in repr(authority)


def test_the_root_signs_under_its_own_name() -> None:
    root = RootKey("JPN", bytes(32))
    assert root.signer().name == "signalfire/v1/JPN/root"
    assert root.vkey.startswith("signalfire/v1/JPN/root+")
