"""Claims about connections: TLS 1.3 or none, a certificate or none, and the caller is whom its own nation names."""

from __future__ import annotations

import logging
import ssl
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity import tls13
from gateway.identity.authority import Authority, Leaf, Validity, certificate_pem
from gateway.identity.errors import CredentialsError, IdentityError, PeerError, Refusal
from gateway.identity.locked import KeyLock
from gateway.identity.node_keys import NodeKeys, tls_key_file
from gateway.identity.private_files import write_private
from gateway.identity.relocking import lock_directory
from gateway.identity.revocation import Issuers
from gateway.identity.spiffe import Role
from gateway.identity.tls import (
    KeyPairFiles,
    channel_credentials,
    peer_from_context,
    roots_from_files,
    server_credentials,
)
from gateway.identity.unlocking import KeyFile
from tests.identity.loopback import call, handshake, listening, save_leaf, serve_tls12_once
from tests.identity.world import World

SERVER_NAME = "a.gateway.jpn.signalfire.internal"
GATEWAYS = (Role.GATEWAY,)


class Site:
    """Japan's gateway, which believes Korea's; and Korea's, which dials it."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        self.directory = directory
        self.server = save_leaf(world.leaf("JPN"), directory / "server")
        self.client = save_leaf(world.leaf("KOR"), directory / "client")
        self.server_roots = certificate_pem(world.authority("JPN").certificate)
        self.client_roots_file = directory / "partners.pem"
        self.client_roots_file.write_bytes(certificate_pem(world.authority("KOR").certificate) + self.server_roots)

    def client_roots(self) -> bytes:
        return self.client_roots_file.read_bytes()

    def pair(self, leaf: Leaf, name: str = "other") -> KeyPairFiles:
        return save_leaf(leaf, self.directory / name)

    def listening(self) -> AbstractAsyncContextManager[int]:
        return listening(self.server, self.client_roots, self.world.believed(), roles=GATEWAYS, now=self.world.now)


@pytest.fixture
def site(world: World, tmp_path: Path) -> Site:
    return Site(world, tmp_path)


async def test_a_partner_is_known_by_the_identity_in_its_certificate(site: Site) -> None:
    async with site.listening() as port:
        assert await call(port, site.client, lambda: site.server_roots, SERVER_NAME) == "spiffe://kor/gateway/a"


async def test_tls_1_3_with_a_certificate_is_served_and_tls_1_2_is_refused(site: Site) -> None:
    async with site.listening() as port:
        new = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.client)
        old = await handshake(port, ssl.TLSVersion.TLSv1_2, site.server_roots, SERVER_NAME, site.client)
    assert (new.version, new.answered) == ("TLSv1.3", True)
    assert (old.version, old.answered) == (None, False)


async def test_a_client_without_a_certificate_is_refused(site: Site) -> None:
    async with site.listening() as port:
        seen = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, None)
    assert not seen.answered


async def test_a_client_whose_certificate_has_expired_is_refused(site: Site) -> None:
    yesterday = site.world.now - timedelta(days=1)
    expired = site.world.authority("KOR").issue_leaf("a", Validity(yesterday - timedelta(days=1), yesterday))
    async with site.listening() as port:
        seen = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.pair(expired))
    assert not seen.answered


async def test_a_client_of_an_authority_that_nobody_pinned_is_refused(site: Site) -> None:
    stranger = Authority.create("JPN", Role.GATEWAY, Validity.starting(site.world.now, timedelta(days=2)))
    leaf = stranger.issue_leaf("a", Validity.starting(site.world.now, timedelta(days=1)))
    async with site.listening() as port:
        seen = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.pair(leaf))
    assert not seen.answered


async def test_a_partners_authority_that_mints_our_name_passes_tls_and_is_refused_by_the_call(site: Site) -> None:
    korea = site.world.authority("KOR")
    # The same authority under a Japanese label: its certificate and key are Korea's.
    lying = Authority("JPN", Role.GATEWAY, korea.certificate, korea.key)
    leaf = lying.issue_leaf("a", Validity.starting(site.world.now, timedelta(days=1)))
    async with site.listening() as port:
        seen = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.pair(leaf))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(port, site.pair(leaf), lambda: site.server_roots, SERVER_NAME)
    assert seen.answered
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refused.value.details() == Refusal.UNTRUSTED_ISSUER.value


async def test_a_dialer_refuses_a_server_of_tls_1_2(site: Site) -> None:
    port, outcome = await serve_tls12_once(site.server)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(port, site.client, lambda: site.server_roots, SERVER_NAME)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (await outcome).startswith("refused")


async def test_a_dialer_refuses_a_server_of_another_name(site: Site) -> None:
    async with site.listening() as port:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(port, site.client, lambda: site.server_roots, "b.gateway.jpn.signalfire.internal")
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_dialer_refuses_a_server_of_another_nations_authority(site: Site) -> None:
    korean_roots = certificate_pem(site.world.authority("KOR").certificate)
    async with site.listening() as port:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(port, site.client, lambda: korean_roots, SERVER_NAME)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def _der(leaf: Leaf) -> bytes:
    return x509.load_pem_x509_certificate(leaf.certificate_pem).public_bytes(Encoding.DER)


async def test_a_renewed_certificate_is_served_from_the_next_connection_on(site: Site) -> None:
    renewed = site.world.leaf("JPN")
    async with site.listening() as port:
        before = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.client)
        save_leaf(renewed, site.directory / "server")
        after = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.client)
    assert after.answered
    assert after.server_certificate == _der(renewed) != before.server_certificate


@pytest.mark.parametrize("newest_first", [True, False])
async def test_while_an_authority_is_replaced_tls_believes_leaves_of_both_though_they_have_one_name(
    site: Site, newest_first: bool
) -> None:
    world = site.world
    pairs = {}
    chains = {}
    for node in ("JPN", "KOR"):
        former = world.authority(node)
        newer = Authority.create(node, Role.GATEWAY, Validity.starting(world.now, timedelta(days=2)))
        assert newer.certificate.subject == former.certificate.subject
        both = [newer.certificate, former.certificate] if newest_first else [former.certificate, newer.certificate]
        chains[node] = both
        leaf = newer.issue_leaf("a", Validity.starting(world.now, timedelta(days=1)))
        pairs[node] = (save_leaf(leaf, site.directory / f"new-{node}"), site.server if node == "JPN" else site.client)
    roots = {node: b"".join(map(certificate_pem, chain)) for node, chain in chains.items()}
    believed = {(node.lower(), Role.GATEWAY): Issuers.of(chain) for node, chain in chains.items()}
    for server in pairs["JPN"]:
        async with listening(server, lambda: roots["KOR"], believed, roles=GATEWAYS, now=world.now) as port:
            for client in pairs["KOR"]:
                assert await call(port, client, lambda: roots["JPN"], SERVER_NAME) == "spiffe://kor/gateway/a"


async def test_a_new_key_is_in_use_when_its_certificate_is_put_beside_it_and_a_locked_one_too(site: Site) -> None:
    directory = site.directory / "gateway"
    leaf = site.world.leaf("JPN")
    NodeKeys.generate(gateway_key_pem=leaf.key_pem, gateway_certificate_pem=leaf.certificate_pem).save(directory)
    way = KeyFile(site.directory / "unlock")
    way.make()
    lock_directory(directory, way)
    lock = KeyLock(directory, way)
    pair = KeyPairFiles.of_gateway(directory, lock)
    renewed = site.world.leaf("JPN")
    public = x509.load_pem_x509_certificate(renewed.certificate_pem).public_key()
    async with listening(pair, site.client_roots, site.world.believed(), roles=GATEWAYS, now=site.world.now) as port:
        before = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.client)
        key = lock.load_pem_key("gateway.key.pem", renewed.key_pem)
        write_private(directory / tls_key_file(public), lock.pem(key))
        write_private(directory / "gateway.crt.pem", renewed.certificate_pem)
        after = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.client)
    assert before.server_certificate == _der(leaf)
    assert after.server_certificate == _der(renewed)


async def test_an_authority_that_is_dropped_is_not_believed_from_the_next_connection_on(site: Site) -> None:
    async with site.listening() as port:
        before = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.client)
        site.client_roots_file.write_bytes(site.server_roots)
        after = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.client)
    assert (before.answered, after.answered) == (True, False)


@pytest.mark.parametrize("damage", ["other key", "half a certificate", "no certificate", "exposed key", "no roots"])
async def test_files_that_cannot_be_used_are_reported_once_and_the_previous_ones_stay_in_use(
    site: Site, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    renewed = site.world.leaf("JPN")
    async with site.listening() as port:
        before = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.client)
        match damage:
            case "other key":
                site.server.key.write_bytes(renewed.key_pem)
            case "half a certificate":
                site.server.certificate.write_bytes(renewed.certificate_pem[:200])
            case "no certificate":
                site.server.certificate.unlink()
            case "exposed key":
                site.server.key.chmod(0o644)
            case "no roots":
                site.client_roots_file.unlink()
        with caplog.at_level(logging.ERROR, logger="gateway.identity.tls"):
            for _ in range(2):
                during = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.client)
                assert during.answered
                assert during.server_certificate == before.server_certificate
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        save_leaf(renewed, site.directory / "server")
        site.client_roots_file.write_bytes(certificate_pem(site.world.authority("KOR").certificate))
        after = await handshake(port, ssl.TLSVersion.TLSv1_3, site.server_roots, SERVER_NAME, site.client)
    assert after.server_certificate == _der(renewed)


def test_a_listener_does_not_start_on_files_that_cannot_be_used(site: Site) -> None:
    site.server.key.write_bytes(site.client.key.read_bytes())
    with pytest.raises(CredentialsError) as refused:
        server_credentials(site.server, site.client_roots)
    assert refused.value.code is Refusal.MISMATCHED_PAIR


def test_a_dialer_does_not_fall_back_to_the_authorities_of_the_machine(site: Site, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    with pytest.raises(CredentialsError):
        channel_credentials(site.client, roots_from_files(tmp_path / "empty.pem"))


def test_authorities_in_several_files_are_all_believed(site: Site, tmp_path: Path) -> None:
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    one.write_bytes(site.server_roots.rstrip(b"\n"))
    two.write_bytes(certificate_pem(site.world.authority("KOR").certificate))
    assert len(x509.load_pem_x509_certificates(roots_from_files(one, two)())) == 2


def test_credentials_are_refused_in_a_process_where_grpc_could_speak_tls_1_2(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(tls13.VARIABLE)
    for build in (server_credentials, channel_credentials):
        with pytest.raises(CredentialsError) as refused:
            build(site.server, site.client_roots)
        assert refused.value.code is Refusal.INSECURE_TRANSPORT


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        ("import gateway.identity.tls13 as t, grpc", "True"),
        ("import gateway.identity.tls as tls; t = tls.tls13", "True"),
        ("import grpc, gateway.identity.tls13 as t", "False"),
    ],
)
def test_the_floor_is_in_force_only_if_it_was_set_before_grpc_was_imported(imports: str, expected: str) -> None:
    program = f"import os; os.environ.pop({tls13.VARIABLE!r}, None)\n{imports}\nprint(t.in_force())"
    # A process of its own, for what counts is the order of its imports.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.strip() == expected


def _context(leaf: Leaf, **changes: list[bytes] | None) -> Mapping[str, list[bytes]]:
    """The context that grpcio 1.85 gives for such a peer, with changes; None takes a property out."""
    properties: dict[str, list[bytes] | None] = {
        "transport_security_type": [b"ssl"],
        "x509_pem_cert": [leaf.certificate_pem],
        "x509_subject_alternative_name": [str(leaf.spiffe_id).encode()],
        "peer_spiffe_id": [str(leaf.spiffe_id).encode()],
        "security_level": [b"TSI_PRIVACY_AND_INTEGRITY"],
        "ssl_tls_version": [b"TLSv1.3"],
        **changes,
    }
    return {name: values for name, values in properties.items() if values is not None}


def test_the_context_of_a_tls_1_3_call_gives_the_identity(world: World) -> None:
    leaf = world.leaf("KOR")
    for context in (_context(leaf), _context(leaf, peer_spiffe_id=None)):
        assert peer_from_context(context, world.believed(), allowed_roles=GATEWAYS, now=world.now) == leaf.spiffe_id


@pytest.mark.parametrize(
    "changes",
    [
        {"ssl_tls_version": [b"TLSv1.2"]},
        {"ssl_tls_version": None},
        {"ssl_tls_version": []},
        {"ssl_tls_version": [b"TLSv1.3", b"TLSv1.2"]},
        {"security_level": None},
        {"security_level": [b"TSI_INTEGRITY_ONLY"]},
        {"x509_pem_cert": None},
        {"peer_spiffe_id": [b"spiffe://jpn/gateway/a"]},
        {"peer_spiffe_id": []},
    ],
)
def test_a_call_over_less_than_tls_1_3_or_over_what_is_not_known_is_refused(
    world: World, changes: dict[str, list[bytes] | None]
) -> None:
    with pytest.raises(PeerError) as refused:
        peer_from_context(
            _context(world.leaf("KOR"), **changes), world.believed(), allowed_roles=GATEWAYS, now=world.now
        )
    assert refused.value.code is Refusal.INSECURE_TRANSPORT


def test_a_long_connection_ends_with_the_certificate_that_opened_it(world: World) -> None:
    context = _context(world.leaf("KOR"))
    with pytest.raises(IdentityError) as refused:
        peer_from_context(
            context, world.believed(), allowed_roles=GATEWAYS, now=world.now + timedelta(days=1, seconds=1)
        )
    assert refused.value.code is Refusal.EXPIRED


async def test_a_dialer_goes_on_with_what_it_read_last_while_its_files_cannot_be_used(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    roots = lambda: site.server_roots  # noqa: E731
    async with site.listening() as port:
        await call(port, site.client, roots, SERVER_NAME)
        site.client.key.write_bytes(b"sealed under another lock")
        with caplog.at_level(logging.ERROR, logger="gateway.identity.tls"):
            for _ in range(2):
                assert await call(port, site.client, roots, SERVER_NAME) == "spiffe://kor/gateway/a"
        assert ["previous ones" in record.getMessage() for record in caplog.records] == [True]
    fresh = KeyPairFiles(site.client.key, site.client.certificate)
    with pytest.raises(IdentityError):
        channel_credentials(fresh, roots)
