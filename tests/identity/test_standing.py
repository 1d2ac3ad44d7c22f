"""Claims about calls that last: the caller is judged again while they do, and what he gets ends with his standing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.identity.authority import Leaf
from gateway.identity.errors import CredentialsError, IdentityError, PeerError, Refusal
from gateway.identity.peer import Authorities
from gateway.identity.revocation import Issuers
from gateway.identity.spiffe import Role
from gateway.identity.standing import Standing, while_believed
from tests.identity.world import World
from tests.patience import PATIENCE_S

OFTEN_S = 0.001

GONE = PeerError(Refusal.EXPIRED, "it expired", where="test", mend="Renew it.")


class Hours:
    """A gateway's clock and authorities, which a test sets."""

    def __init__(self, world: World, leaf: Leaf) -> None:
        self.now = world.now
        self.authorities: Authorities | IdentityError = world.believed()
        context = {
            "security_level": [b"TSI_PRIVACY_AND_INTEGRITY"],
            "ssl_tls_version": [b"TLSv1.3"],
            "x509_pem_cert": [leaf.certificate_pem],
        }
        self.standing = Standing(context, self.read, allowed_roles=(Role.C2,), now=lambda: self.now)

    def read(self) -> Authorities:
        if isinstance(self.authorities, IdentityError):
            raise self.authorities
        return self.authorities

    def refusal(self) -> Refusal | None:
        try:
            self.standing.judge()
        except IdentityError as refused:
            return refused.code
        return None


@pytest.fixture
def leaf(world: World) -> Leaf:
    return world.leaf("JPN", Role.C2)


@pytest.fixture
def hours(world: World, leaf: Leaf) -> Hours:
    return Hours(world, leaf)


def test_a_caller_stands_to_the_last_second_of_his_certificate_and_no_longer(hours: Hours, leaf: Leaf) -> None:
    hours.now = x509.load_pem_x509_certificate(leaf.certificate_pem).not_valid_after_utc
    assert hours.refusal() is None
    hours.now += timedelta(seconds=1)
    assert hours.refusal() is Refusal.EXPIRED


def test_a_caller_falls_with_the_authority_that_vouched_for_him(hours: Hours, world: World) -> None:
    assert hours.refusal() is None
    hours.authorities = world.believed() | {("jpn", Role.C2): Issuers.of([world.authority("KOR", Role.C2).certificate])}
    assert hours.refusal() is Refusal.UNTRUSTED_ISSUER


def test_a_caller_falls_with_the_list_that_revokes_his_certificate(hours: Hours, world: World, leaf: Leaf) -> None:
    authority = world.authority("JPN", Role.C2)
    serial = x509.load_pem_x509_certificate(leaf.certificate_pem).serial_number
    revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(world.now).build()
    unsigned = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(world.now)
        .next_update(world.now + timedelta(days=1))
    )
    certificates = [authority.certificate]
    hours.authorities = {("jpn", Role.C2): Issuers.of(certificates, [unsigned.sign(authority.key, hashes.SHA256())])}
    assert hours.refusal() is None
    crl = unsigned.add_revoked_certificate(revoked).sign(authority.key, hashes.SHA256())
    hours.authorities = {("jpn", Role.C2): Issuers.of(certificates, [crl])}
    assert hours.refusal() is Refusal.REVOKED
    with pytest.raises(ValueError, match="two revocation lists"):
        Issuers.of(certificates, [crl, crl])
    forged = unsigned.sign(world.authority("KOR", Role.C2).key, hashes.SHA256())
    with pytest.raises(ValueError, match="not signed by"):
        Issuers.of(certificates, [forged])


def test_authorities_that_cannot_be_read_leave_the_previous_ones_in_use_and_are_logged_once(
    hours: Hours, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    hours.authorities = CredentialsError(Refusal.MALFORMED_FILE, "half written", where="a file", mend="Restore it.")
    with caplog.at_level(logging.ERROR):
        assert [hours.refusal() for _ in range(3)] == [None] * 3
    assert [record.getMessage().count("half written") for record in caplog.records] == [1]
    hours.now += timedelta(days=2)
    assert hours.refusal() is Refusal.EXPIRED


async def numbers(count: int, closed: asyncio.Event) -> AsyncGenerator[int, None]:
    """So many numbers, and then silence."""
    try:
        for number in range(count):
            yield number
        await asyncio.Event().wait()
    finally:
        closed.set()


async def test_a_stream_that_waits_ends_when_its_caller_is_believed_no_more() -> None:
    got, closed, refused = [], asyncio.Event(), False

    def judge() -> None:
        if refused:
            raise GONE

    async def consume() -> None:
        nonlocal refused
        async for number in while_believed(numbers(3, closed), judge, OFTEN_S):
            got.append(number)
            refused = number == 2

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(PeerError, match="it expired"):
            await consume()
    assert got == [0, 1, 2]
    assert closed.is_set()


async def test_nothing_more_is_given_once_the_caller_is_believed_no_more() -> None:
    closed, judged = asyncio.Event(), asyncio.Event()

    def judge() -> None:
        judged.set()
        raise GONE

    async with asyncio.timeout(PATIENCE_S):
        items = while_believed(numbers(3, closed), judge, OFTEN_S)
        assert await anext(items) == 0
        await judged.wait()
        with pytest.raises(PeerError, match="it expired"):
            await anext(items)
    assert closed.is_set()


async def test_a_stream_of_one_who_is_believed_ends_by_itself_and_leaves_nothing_behind() -> None:
    async def two() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    before = asyncio.all_tasks()
    assert [item async for item in while_believed(two(), lambda: None, OFTEN_S)] == [1, 2]
    async with asyncio.timeout(PATIENCE_S):
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left)


@pytest.mark.parametrize("error", [TimeoutError("the feed's own"), LookupError("the feed's own")])
async def test_an_error_of_the_items_is_passed_on_as_it_is(error: Exception) -> None:
    async def broken() -> AsyncGenerator[int, None]:
        yield 1
        raise error

    items = while_believed(broken(), lambda: None, OFTEN_S)
    assert await anext(items) == 1
    with pytest.raises(type(error), match="the feed's own"):
        await anext(items)
