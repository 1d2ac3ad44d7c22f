"""The doctor names what is broken, says how to mend it, and never breaks itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

import apsw
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from ruamel.yaml import YAML

from gateway.cli import main
from gateway.demo.annex import annexed
from gateway.demo.deployment import Deployed
from gateway.doctor import bundles, machine, reach, record
from gateway.doctor.examine import Surroundings, examine
from gateway.doctor.finding import Finding, Level, warning
from gateway.expiry import Expiry, ExpiryTold, expiries
from gateway.identity import issuing, nation, next_bundle
from gateway.identity.authority import Validity, certificate_pem
from gateway.identity.locked import KeyLock
from gateway.identity.relocking import lock_directory
from gateway.identity.spiffe import Role, SpiffeId, dns_name
from gateway.identity.tls import KeyPairFiles
from gateway.identity.trust_bundle import TrustBundle
from gateway.identity.unlocking import KeyFile
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.synchronisation import KernelClock, Synchronised, kernel_clock
from gateway.telemetry import Telemetry
from policy.bundle import compile_bundle, read_files
from policy.bundle import load as load_policy
from tests.exchange.origin import HostileOrigin
from tests.node.nations import running, settle

GOOD_CLOCK: Final = KernelClock(True, 0.001)


def quick_disk(store: Path) -> list[Finding]:
    """This machine's disk, whose syncs take no time: others may keep it busy."""
    return machine.disk(store, monotonic=lambda: 0.0)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPN and KOR as they are deployed."""
    directory = Path(tmp_path_factory.mktemp("nations"))
    settle(directory, "JPN", "KOR")
    return directory


@dataclass(slots=True)
class Installation:
    """JPN's gateway, whose keys are encrypted, so that nothing is wrong with it."""

    directory: Path
    around: Surroundings

    @property
    def config(self) -> Path:
        return self.directory / "gateway.yaml"

    @property
    def keys(self) -> Path:
        return self.directory / "keys"

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    @property
    def partner(self) -> Path:
        return self.directory / "partners" / "KOR.bundle.note"

    def change(self, **keys: object) -> None:
        yaml = YAML(typ="safe", pure=True)
        content = yaml.load(self.config.read_text())
        content.update(keys)
        with self.config.open("w", encoding="utf-8") as file:
            yaml.dump({name: value for name, value in content.items() if value is not None}, file)

    def findings(self, *, dial: bool = False) -> list[Finding]:
        return asyncio.run(examine(self.config, self.around, dial=dial))

    def wrong(self) -> list[Finding]:
        return [each for each in self.findings() if each.level in (Level.PROBLEM, Level.WARNING)]

    def only(self, level: Level = Level.PROBLEM) -> Finding:
        """The one thing that is wrong; it says what, where, and how to mend it, in one line."""
        found = self.wrong()
        assert [each.level for each in found] == [level], found
        assert found[0].where
        assert found[0].remedy
        assert "\n" not in str(found[0])
        return found[0]


@pytest.fixture
def here(deployed: Path, tmp_path: Path) -> Installation:
    shutil.copytree(deployed / "jpn", tmp_path / "jpn")
    key_file = tmp_path / "kek"
    key_file.write_bytes(secrets.token_bytes(32))
    key_file.chmod(0o600)
    lock_directory(tmp_path / "jpn" / "keys", KeyFile(key_file))
    found = Installation(tmp_path / "jpn", Surroundings(kernel_clock=lambda: GOOD_CLOCK, disk=quick_disk))
    found.change(unlock={"key_file": str(key_file)})
    return found


def place(deployed: Path, node: str = "KOR") -> Deployed:
    content = YAML(typ="safe", pure=True).load((deployed / node.lower() / "gateway.yaml").read_text())
    directory = deployed / node.lower()
    return Deployed(node, directory, content["national"]["listen"], content["exchange"]["listen"])


def test_of_a_sound_installation_everything_is_in_order(here: Installation) -> None:
    found = here.findings()
    assert {each.level for each in found} == {Level.OK}
    assert {each.check for each in found} >= {
        *("configuration", "store", "keys", "own bundle", "certificate", "authority", "partner's bundle"),
        *("policy", "clock", "disk", "port"),
    }


# --- configuration


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("node: [", ""),
        ("\xff", ""),
        ("nothing: 1\n", '"nothing" is not a known key'),
        ("", ""),
    ],
)
def test_a_configuration_that_is_none_is_named_with_its_line(here: Installation, text: str, words: str) -> None:
    here.config.write_bytes(text.encode("latin-1"))
    found = here.wrong()
    assert found
    assert {each.check for each in found} == {"configuration"}
    assert any(words in each.what for each in found)


def test_a_configuration_that_is_not_there_is_named(here: Installation) -> None:
    here.config.unlink()
    assert here.wrong()[0].check == "configuration"


# --- certificates


Change: TypeAlias = Callable[[x509.CertificateBuilder], x509.CertificateBuilder]


def reissue(here: Installation, change: Change, **how: object) -> None:
    """Gives the gateway another certificate of its own authority, for the key that it has."""
    authority = nation.load_nation(here.pki).authorities[Role.GATEWAY]
    key = here_key(here)
    now = datetime.now(UTC).replace(microsecond=0)
    own = how.get("spiffe_id", SpiffeId.of("JPN", Role.GATEWAY, "a"))
    dns = how.get("dns") or dns_name(SpiffeId.parse(str(own)))
    names = [x509.UniformResourceIdentifier(str(own)), x509.DNSName(str(dns))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(how.get("begins", now - timedelta(days=30)))  # type: ignore[arg-type]
        .not_valid_after(how.get("ends", now + timedelta(days=80)))  # type: ignore[arg-type]
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    write(here.keys / "gateway.crt.pem", certificate_pem(change(builder).sign(authority.key, hashes.SHA256())))


def here_key(here: Installation) -> ec.EllipticCurvePrivateKey:
    key_file = Path(YAML(typ="safe", pure=True).load(here.config.read_text())["unlock"]["key_file"])
    pem = (here.keys / "gateway.key.pem").read_bytes()
    key = KeyLock(here.keys, KeyFile(key_file)).load_pem_key("gateway.key.pem", pem)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def usages(*oids: x509.ObjectIdentifier) -> Change:
    return lambda builder: builder.add_extension(x509.ExtendedKeyUsage(list(oids)), critical=False)


BOTH: Final = usages(ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


def test_a_certificate_that_is_issued_so_by_hand_is_in_order(here: Installation) -> None:
    reissue(here, BOTH)
    assert not here.wrong()


def test_an_expired_certificate_is_a_problem_and_one_that_soon_is_a_warning(here: Installation) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    reissue(here, BOTH, ends=now - timedelta(days=1))
    assert "the certificate expired" in here.only().what
    reissue(here, BOTH, ends=now + timedelta(days=20))
    assert "in 19 days" in here.only(Level.WARNING).what
    reissue(here, BOTH, begins=now + timedelta(days=2))
    assert "is valid only from" in here.only().what


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (usages(ExtendedKeyUsageOID.SERVER_AUTH), "clientAuth"),
        (usages(ExtendedKeyUsageOID.CLIENT_AUTH), "serverAuth"),
    ],
)
def test_a_certificate_without_an_extended_key_usage_is_named(here: Installation, change: Change, missing: str) -> None:
    reissue(here, change)
    assert any(f"lacks {missing}" in each.what for each in here.wrong())


def test_a_certificate_that_may_not_sign_handshakes_is_named(here: Installation) -> None:
    usage = x509.KeyUsage(False, False, True, False, False, False, False, False, False)
    reissue(here, lambda builder: BOTH(builder).add_extension(usage, critical=True))
    assert any("lacks digitalSignature" in each.what for each in here.wrong())


@pytest.mark.parametrize("own", ["spiffe://kor/gateway/a", "spiffe://jpn/c2/a"])
def test_a_certificate_of_another_identity_is_named(here: Installation, own: str) -> None:
    reissue(here, BOTH, spiffe_id=own)
    assert any(f"it is the certificate of {own}" in each.what for each in here.wrong())


@pytest.mark.parametrize("own", ["spiffe://jpn/gateway/A", "https://jpn/gateway/a"])
def test_a_certificate_without_an_identity_is_named(here: Installation, own: str) -> None:
    reissue(here, BOTH, spiffe_id=own, dns="a.gateway.jpn.signalfire.internal")
    assert [each for each in here.wrong() if each.check == "certificate"]
    assert not [each for each in here.findings() if "itself failed" in each.what]


def test_a_certificate_without_its_dns_name_is_named(here: Installation) -> None:
    reissue(here, BOTH, dns="elsewhere.example")
    assert "lacks the DNS name a.gateway.jpn" in here.only().what


def test_a_certificate_of_another_authority_is_one_that_partners_would_refuse(
    here: Installation, tmp_path: Path
) -> None:
    other = nation.create_nation(tmp_path / "other", "JPN", now=datetime.now(UTC))
    leaf = other.authorities[Role.GATEWAY].issue(
        SpiffeId.of("JPN", Role.GATEWAY, "a"),
        here_key(here).public_key(),
        Validity.starting(datetime.now(UTC), timedelta(days=60)),
    )
    write(here.keys / "gateway.crt.pem", certificate_pem(leaf))
    assert "partners would refuse it" in here.only().what


def test_a_key_of_another_certificate_is_named(here: Installation) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write(here.keys / "gateway.key.pem", pem)
    assert any("not the private key of the certificate" in each.what for each in here.wrong())


@pytest.mark.parametrize("name", ["gateway.crt.pem", "gateway.key.pem", "c2-ca.crt.pem", "log.key", "lock.json"])
@pytest.mark.parametrize(
    "content", [None, b"", b"junk", b"\xff" * 5000, b"[" * 100_000, b"{}", b"-----BEGIN CERTIFICATE-----\n"]
)
def test_whatever_a_file_holds_the_doctor_goes_on_and_names_it(
    here: Installation, name: str, content: bytes | None
) -> None:
    path = here.keys / name
    path.unlink()
    if content is not None:
        write(path, content)
    found = here.findings()
    assert not [each for each in found if "itself failed" in each.what], found
    assert [each for each in found if each.level is Level.PROBLEM and path.name in str(each)], found
    assert [each for each in found if each.check == "disk"]


def test_an_authority_that_expires_soon_is_a_warning(here: Installation) -> None:
    late = datetime.now(UTC) + timedelta(days=3650 - 20)
    here.around = replace(here.around, now=lambda: late)
    assert any(each.check == "authority" and each.level is Level.WARNING for each in here.wrong())


# --- keys


@pytest.mark.parametrize("name", ["log.key", "gateway.key.pem", "gateway.crt.pem"])
def test_a_file_that_others_may_read_is_named_with_the_command_that_closes_it(here: Installation, name: str) -> None:
    (here.keys / name).chmod(0o640)
    found = [each for each in here.wrong() if each.where.endswith(name)]
    assert found
    assert all("chmod 600" in each.remedy for each in found)


def test_a_keys_directory_that_others_may_enter_is_named(here: Installation) -> None:
    here.keys.chmod(0o755)
    assert "chmod 700" in here.only().remedy


def test_a_key_of_another_kind_is_named(here: Installation) -> None:
    shutil.copy(here.keys / "receipt.key", here.keys / "log.key")
    found = [each for each in here.wrong() if each.check == "keys"]
    assert len(found) == 1
    assert found[0].where.endswith("log.key")


def test_keys_that_are_not_encrypted_are_a_warning(deployed: Path) -> None:
    found = Installation(deployed / "jpn", Surroundings(kernel_clock=lambda: GOOD_CLOCK, disk=quick_disk))
    assert "not encrypted at rest" in found.only(Level.WARNING).what


def test_encrypted_keys_without_what_unlocks_them_are_said_once(here: Installation) -> None:
    here.change(unlock=None)
    found = [each for each in here.wrong() if each.check == "keys"]
    assert len(found) == 1
    assert "locked" in found[0].what
    assert "unlock:" in found[0].remedy


def test_encrypted_keys_with_another_key_file_are_named(here: Installation, tmp_path: Path) -> None:
    other = tmp_path / "other-kek"
    write(other, secrets.token_bytes(32))
    here.change(unlock={"key_file": str(other)})
    assert [each for each in here.wrong() if each.check == "keys"]


def test_a_keys_directory_that_is_not_there_is_named(here: Installation) -> None:
    shutil.rmtree(here.keys)
    found = here.findings()
    assert any("cannot be read" in each.what for each in found if each.check == "keys")
    assert not [each for each in found if "itself failed" in each.what]


# --- bundles


def test_a_partners_bundle_that_is_missing_is_named(here: Installation) -> None:
    here.partner.unlink()
    found = here.only()
    assert (found.check, found.where) == ("partner's bundle", str(here.partner))


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff\xfe", b"x" * 200_000])
def test_a_partners_bundle_that_is_none_is_named(here: Installation, content: bytes) -> None:
    here.partner.write_bytes(content)
    assert here.only().check == "partner's bundle"


def test_the_bundle_of_another_node_is_no_partners(here: Installation) -> None:
    shutil.copy(here.pki / "bundle.note", here.partner)
    assert here.only().check == "partner's bundle"


def test_a_bundle_that_is_older_than_the_record_is_stale_unless_the_record_holds_a_newer_one(deployed: Path) -> None:
    path, root = deployed / "kor" / "pki" / "bundle.note", nation.read_root_vkey(deployed / "kor" / "pki")
    now = datetime.now(UTC)
    known = record.OnRecord(sequences={"KOR": 9})
    found, bundle = bundles.partners_bundle("KOR", path, root, known, now)
    assert bundle is None
    assert "9 has already been seen" in found[0].what
    # What came in band is in use, and only the file is behind.
    newer = TrustBundle.open(path.read_bytes(), root, now=now).model_copy(update={"sequence": 9})
    note = newer.sign(nation.load_nation(deployed / "kor" / "pki").root.signer()).encode()
    found, bundle = bundles.partners_bundle("KOR", path, root, replace(known, bundles={"KOR": note}), now)
    assert bundle == newer
    assert [each.level for each in found] == [Level.WARNING]


def test_a_bundle_that_expires_is_told_weeks_ahead(here: Installation) -> None:
    soon = datetime.now(UTC) + timedelta(days=350)
    here.around = replace(here.around, now=lambda: soon)
    checks = {each.check for each in here.wrong() if each.level is Level.WARNING}
    assert {"partner's bundle", "own bundle"} <= checks


def test_an_own_bundle_that_does_not_name_the_keys_in_use_is_named(here: Installation, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    issuing.issue_gateway(here.pki, "b", tmp_path / "b", now=now, address="127.0.0.1:1")
    for path in (here.pki / "gateways").glob("a.*"):
        path.unlink()
    next_bundle.write_bundle(here.pki, now=now)
    own = Path(YAML(typ="safe", pure=True).load(here.config.read_text())["trust"]["bundle"])
    shutil.copy(here.pki / "bundle.note", here.directory / own)
    assert any(each.check == "own bundle" and each.level is Level.PROBLEM for each in here.wrong())


def test_without_an_own_bundle_the_chain_is_not_known(here: Installation) -> None:
    here.change(trust=None)
    found = [each for each in here.findings() if each.level is Level.UNKNOWN]
    assert {each.check for each in found} == {"certificate", "own bundle"}


# --- policy, store, clock, disk


def test_a_policy_that_does_not_compile_is_named(here: Installation) -> None:
    (here.directory / "policy" / "policy.yaml").write_text("node: JPN\nwhat: 1\n")
    assert any(each.check == "policy" for each in here.wrong())


def test_a_store_that_is_none_is_named(here: Installation) -> None:
    (here.directory / "store.db").write_bytes(b"no database" * 100)
    assert any(each.check == "store" for each in here.wrong())


def test_a_clock_that_is_not_synchronised_is_a_warning_where_the_configuration_does_not_ask_for_it(
    here: Installation, tmp_path: Path
) -> None:
    here.around = replace(here.around, kernel_clock=lambda: KernelClock(False, 16.0), time_client=lambda: "")
    alone = here.only(Level.WARNING)
    believed = "; `clock.synchronised` is not_asked, so the gateway believes the clock all the same"
    assert alone.what == "it is not synchronised, and no program that would do it runs" + believed
    (asked,) = machine.clock(KernelClock(False, 16.0), datetime.now(UTC), None, "", Synchronised.IF_KNOWN)
    assert asked.level is Level.PROBLEM
    processes = tmp_path / "proc"
    for number, name in enumerate(("init", "chronyd", "python")):
        (processes / str(number)).mkdir(parents=True)
        (processes / str(number) / "comm").write_text(f"{name}\n")
    here.around = replace(here.around, time_client=lambda: machine.time_client(processes))
    helped = here.only(Level.WARNING)
    assert (helped.level, helped.what) == (Level.WARNING, "it is not synchronised, though chronyd runs" + believed)
    assert machine.time_client(tmp_path / "none") == ""


def test_a_store_of_an_older_version_is_no_damage_and_asks_for_a_start_alone(here: Installation) -> None:
    SqliteStore(here.directory / "store.db").close()
    older = apsw.Connection(str(here.directory / "store.db"))
    older.pragma("user_version", 7)
    older.close()
    found = here.only(Level.WARNING)
    assert "the first start of this software's gateway brings it up to date" in found.what
    assert "backup" not in found.what
    assert "needs no backup" in found.remedy


def test_a_clock_that_may_be_off_or_says_nothing_or_was_set_back_is_told() -> None:
    now = datetime.now(UTC)
    for asked, kernel in ((Synchronised.IF_KNOWN, KernelClock(False, 16.0)), (Synchronised.REQUIRED, None)):
        (lapsed,) = machine.clock(kernel, now, None, "chronyd", asked)
        assert lapsed.level is Level.PROBLEM
        assert "agreements count as lapsed" in lapsed.what
    (off,) = machine.clock(KernelClock(True, 1.5), now, None)
    assert off.level is Level.WARNING
    (silent,) = machine.clock(None, now, None)
    assert silent.level is Level.UNKNOWN
    (back,) = machine.clock(GOOD_CLOCK, now, now + timedelta(hours=1))
    assert "behind what is on record" in back.what
    (well,) = machine.clock(GOOD_CLOCK, now, now + timedelta(seconds=1))
    assert well.level is Level.OK


def test_this_machines_kernel_can_be_asked() -> None:
    found = kernel_clock()
    assert found is None or found.max_error_s >= 0


@dataclass(frozen=True)
class Space:
    """A file system, as statvfs tells of it."""

    f_bavail: int
    f_frsize: int = 4096
    f_files: int = 10**6
    f_favail: int = 10**6


@pytest.mark.parametrize(
    ("space", "level"),
    [
        (Space(0), Level.PROBLEM),
        (Space(machine.NO_BYTES // 4096 - 1), Level.PROBLEM),
        (Space(machine.LOW_BYTES // 4096 - 1), Level.WARNING),
        (Space(10**9, f_favail=10), Level.PROBLEM),
        (Space(10**9, f_files=0, f_favail=0), Level.OK),
        (Space(10**9), Level.OK),
    ],
)
def test_a_disk_that_is_full_is_named(tmp_path: Path, space: Space, level: Level) -> None:
    found = machine.disk(tmp_path / "store.db", space=lambda _: space, mounts=tmp_path / "none")
    assert [each.level for each in found] == [level]
    assert not list(tmp_path.iterdir())


def test_a_disk_that_syncs_slowly_is_a_warning(tmp_path: Path) -> None:
    ticks = iter((0.0, 0.5))
    (found,) = machine.disk(
        tmp_path / "store.db", space=lambda _: Space(10**9), mounts=tmp_path / "none", monotonic=lambda: next(ticks)
    )
    assert "an fsync takes 500 ms" in found.what


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    sealed = Path("/proc/self/fd")  # where nobody can make a file, root neither
    found = machine.disk(sealed / "store.db", space=lambda _: Space(10**9), mounts=tmp_path / "none")
    assert "nothing can be written" in found[0].what
    gone = machine.disk(tmp_path / "nowhere" / "store.db")
    assert "cannot be looked at" in gone[0].what


@pytest.mark.parametrize(
    ("kind", "level"),
    [("nfs4", Level.PROBLEM), ("fuse.sshfs", Level.PROBLEM), ("tmpfs", Level.WARNING), ("ext4", Level.OK)],
)
def test_the_file_system_of_the_longest_mount_point_counts(tmp_path: Path, kind: str, level: Level) -> None:
    mounts = tmp_path / "mounts"
    data = tmp_path / "with space" / "data"
    data.mkdir(parents=True)
    point = str(os.path.realpath(data)).replace(" ", "\\040")
    mounts.write_text(f"junk\ndev / xfs rw 0 0\nserver:/x {point} {kind} rw 0 0\nother {point}-not nfs rw 0 0\n")
    found = machine.disk(data / "store.db", space=lambda _: Space(10**9), mounts=mounts)
    assert [each.level for each in found] == [level]


# --- ports


@contextlib.contextmanager
def taken() -> Iterator[str]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        yield f"127.0.0.1:{other.getsockname()[1]}"


def test_a_port_that_another_program_has_is_named(here: Installation) -> None:
    with taken() as address:
        here.change(national={"listen": address})
        assert "another program listens there" in here.only().what


@pytest.mark.parametrize(
    ("address", "words"),
    [("192.0.2.1:7101", "none of this machine's"), ("no-such-host.invalid:7101", "no address of a machine")],
)
def test_an_address_that_is_none_of_this_machines_is_named(here: Installation, address: str, words: str) -> None:
    here.change(exchange={"listen": address})
    assert words in here.only().what


# --- partners


def test_a_partner_that_does_not_answer_is_named_and_its_way_to_us_is_unknown(here: Installation) -> None:
    found = {each.check: each for each in here.findings(dial=True)}
    assert found[reach.OURS].level is Level.PROBLEM
    assert "nothing answers" in found[reach.OURS].what
    assert found[reach.THEIRS].level is Level.UNKNOWN


async def _beside(deployed: Path, here: Installation, pair: KeyPairFiles | None, seed: bytes | None) -> Finding:
    origin = HostileOrigin(place(deployed), "JPN", signs_with=seed)
    async with origin.serving(pair):
        found = await examine(here.config, replace(here.around, patience_s=3.0))
    return next(each for each in found if each.check == reach.OURS)


def test_a_partner_with_another_certificate_or_key_is_named(deployed: Path, here: Installation, tmp_path: Path) -> None:
    wrong = KeyPairFiles.of_gateway(deployed / "jpn" / "keys")
    found = asyncio.run(_beside(deployed, here, wrong, None))
    assert found.level is Level.PROBLEM
    assert "certificate" in found.what
    found = asyncio.run(_beside(deployed, here, None, b"\x09" * 32))
    assert "did not prove who it is" in found.what


def test_beside_running_gateways_both_directions_are_known(deployed: Path, here: Installation) -> None:
    places = {"JPN": replace(place(deployed, "JPN"), directory=here.directory), "KOR": place(deployed)}

    async def beside() -> list[Finding]:
        async with running(places):
            return await examine(here.config, here.around, followed={"KOR": True})

    found = asyncio.run(beside())
    assert {each.level for each in found} == {Level.OK}, [str(each) for each in found]
    assert [each.check for each in found].count("port") == 2
    assert all("this gateway runs" in each.what for each in found if each.check == "port")


def test_the_metrics_say_who_follows() -> None:
    text = 'signalfire_followed_lanes{partner="KOR"} 4.0\nsignalfire_followed_lanes{partner="USA"} 0.0\n'
    assert reach.followed_lanes(text) == {"KOR": True, "USA": False}
    found = reach.they_reach(["USA", "KOR", "GBR"], reach.followed_lanes(text), running=True)
    assert [(each.where, each.level) for each in found] == [
        ("GBR", Level.PROBLEM), ("KOR", Level.OK), ("USA", Level.PROBLEM),
    ]  # fmt: skip


def test_a_partner_that_is_heard_by_a_carrier_alone_is_told_so() -> None:
    text = (
        'signalfire_followed_lanes{partner="KOR"} 0.0\n'
        'signalfire_heard_by_way{partner="KOR",way="direct"} 0.0\n'
        'signalfire_heard_by_way{partner="KOR",way="via USA"} 1.0\n'
        'signalfire_heard_by_way{partner="KOR",way="via FRA"} 0.0\n'
    )
    (found,) = reach.they_reach(["KOR"], reach.followed_lanes(text), running=True, carried=reach.carried_ways(text))
    assert (found.level, found.what) == (
        Level.PROBLEM, "KOR does not follow this gateway directly; it is heard via USA",
    )  # fmt: skip


def test_what_gives_no_metrics_of_ours_is_not_read() -> None:
    with taken() as address:
        assert reach.scrape(address, patience_s=0.05) is None
    assert reach.scrape("127.0.0.1:1", patience_s=0.5) is None


# --- the command


def test_the_command_says_each_thing_in_one_line_and_ends_with_3(here: Installation) -> None:
    here.partner.unlink()
    result = CliRunner().invoke(main, ["doctor", "--config", str(here.config), "--no-dial"])
    assert result.exit_code == 3
    assert [line for line in result.output.splitlines() if line.startswith("problem") and str(here.partner) in line]
    listed = json.loads(
        CliRunner().invoke(main, ["doctor", "--config", str(here.config), "--no-dial", "--json"]).output
    )
    assert listed["well"] is False
    assert {"level", "check", "where", "what", "remedy"} == set(listed["findings"][0])


def test_the_command_shows_warnings_and_ends_with_0(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    told = warning("keys", "log.key", "it is not encrypted", "Lock it.")

    async def one(*_: object, **__: object) -> list[Finding]:
        return [told]

    monkeypatch.setattr(sys.modules["gateway.cli.doctor"], "examine", one)
    result = CliRunner().invoke(main, ["doctor", "--config", str(here.config)])
    assert result.exit_code == 0
    assert str(told) in result.output
    listed = CliRunner().invoke(main, ["doctor", "--config", str(here.config), "--json"])
    assert (listed.exit_code, json.loads(listed.output)["well"]) == (0, True)


def test_the_command_ends_with_1_for_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--config", str(tmp_path / "none.yaml")])
    assert result.exit_code == 1
    assert "cannot be read" in result.output


# --- expiry, as a metric


def test_everything_that_expires_is_told_and_what_is_gone_is_not(deployed: Path) -> None:
    root = nation.read_root_vkey(deployed / "kor" / "pki")
    kor = TrustBundle.open((deployed / "kor" / "pki" / "bundle.note").read_bytes(), root, now=datetime.now(UTC))
    policy = load_policy(deployed / "jpn" / "policy")
    found = expiries(deployed / "jpn" / "keys", "JPN", kor, {"KOR": kor, "USA": None}, policy)
    assert {(each.what, each.name) for each in found} >= {
        *(("certificate", "gateway"), ("authority", "c2"), ("authority", "officer"), ("bundle", "KOR")),
        ("own-bundle", "JPN"),
    }
    assert [each for each in found if each.what == "agreement"]
    telemetry = Telemetry()
    told = ExpiryTold(telemetry.expiry)
    told.tell(found)

    def value(what: str, name: str) -> float | None:
        return telemetry.registry.get_sample_value("signalfire_expiry_timestamp_seconds", {"what": what, "name": name})

    assert value("bundle", "KOR") == kor.expires.timestamp()
    told.tell([Expiry("bundle", "KOR", kor.expires)])
    assert value("certificate", "gateway") is None
    assert value("bundle", "KOR") == kor.expires.timestamp()


def test_of_agreements_those_are_told_under_which_live_reports_are_released(deployed: Path) -> None:
    starts = datetime(2026, 11, 1, tzinfo=UTC)
    files = annexed(read_files(deployed / "jpn" / "policy"), "JPN", "KOR", starts, starts + timedelta(days=1))
    found = expiries(deployed / "none", "JPN", None, {}, compile_bundle(files))
    assert {each.name: each.live for each in found} == {"trilateral-2023": True, "exercise-annex": False}


def test_what_cannot_be_read_does_not_stop_the_rest(tmp_path: Path, deployed: Path) -> None:
    root = nation.read_root_vkey(deployed / "kor" / "pki")
    kor = TrustBundle.open((deployed / "kor" / "pki" / "bundle.note").read_bytes(), root, now=datetime.now(UTC))
    assert [each.what for each in expiries(tmp_path / "none", "JPN", None, {"KOR": kor}, None)] == ["bundle"]
    assert stat.S_ISDIR(tmp_path.stat().st_mode)


def test_a_bundle_that_is_not_there_is_a_problem_whatever_is_on_record(deployed: Path, tmp_path: Path) -> None:
    path, root = deployed / "kor" / "pki" / "bundle.note", nation.read_root_vkey(deployed / "kor" / "pki")
    known = record.OnRecord(sequences={"KOR": 1}, bundles={"KOR": path.read_bytes()})
    found, bundle = bundles.partners_bundle("KOR", tmp_path / "gone.note", root, known, datetime.now(UTC))
    assert [each.level for each in found] == [Level.PROBLEM]
    assert bundle is not None


def test_what_does_not_unlock_the_keys_is_told_once(here: Installation, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(32))
    other.chmod(0o600)
    here.change(unlock={"key_file": str(other)})
    assert here.only().check == "keys"


def test_a_finding_ends_in_one_full_stop() -> None:
    assert str(warning("keys", "keys", "It is so.", "Mend it.")).endswith("keys: It is so. Mend it.")
    assert str(warning("keys", "keys", "it is so", "Mend it.")).endswith("keys: it is so. Mend it.")


def test_one_plain_key_in_a_locked_directory_is_told_of_in_the_singular(here: Installation, deployed: Path) -> None:
    shutil.copy(deployed / "jpn" / "keys" / "log.key", here.keys / "log.key")
    assert "log.key is not encrypted" in here.only(Level.WARNING).what
