"""Claims about `signalfire keys` and the nation's side of it: keys are locked, replaced and taken back by commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.identity.keyring import Keyring
from gateway.identity.locked import KeyLock
from gateway.identity.private_files import write_private
from gateway.identity.unlocking import KeyFile

PASSPHRASE = "correct horse battery"


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output
    assert PASSPHRASE not in result.output
    return result


def done(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


class Home:
    """A nation and its gateway on disk."""

    def __init__(self, directory: Path) -> None:
        self.pki, self.keys, self.out = directory / "pki", directory / "keys", directory / "out"
        self.unlock, self.config, self.request = directory / "unlock", directory / "g.yaml", directory / "a.request"
        done("pki", "init", "JPN", "--dir", self.pki, "--unlocked")
        self.issue("a", self.keys)
        done("pki", "bundle", "--dir", self.pki)
        bundle = directory / "own.note"
        bundle.write_bytes((self.pki / "bundle.note").read_bytes())
        root = (self.pki / "root.vkey").read_text().strip()
        self.config.write_text(
            f"node: JPN\nkeys: keys\nunlock: {{key_file: unlock}}\ntrust: {{root: {root}, bundle: own.note}}\n"
            "store: store.db\nroster: g.yaml\nnational: {listen: '127.0.0.1:7101'}\n"
            "exchange: {listen: '127.0.0.1:7102'}\npartners: {}\nclients: {}\n"
        )

    def issue(self, name: str, out: Path) -> str:
        place = ("--dir", self.pki, "--out", out, "--address", "gw:1")
        return done("pki", "gateway", name, *place, "--lock-with-key-file", self.unlock)

    def ring(self) -> Keyring:
        return Keyring.load(self.keys, KeyLock(self.keys, KeyFile(self.unlock)))

    def listed(self) -> list[list[str]]:
        lines = done("keys", "list", "--config", self.config).splitlines()
        return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_all_keys_are_replaced_by_commands_from_the_request_to_the_installed_bundle(home: Home) -> None:
    before = {row[1] for row in home.listed()}
    done("keys", "rotate", "--config", home.config, "--out", home.request)
    done("pki", "admit", home.request, "--dir", home.pki, "--out", home.out)
    done("pki", "bundle", "--dir", home.pki, "--out", home.out)
    assert "trust bundle 2" in done("keys", "install", home.out, "--config", home.config)
    rows = home.listed()
    assert {row[3] for row in rows} == {"yes"}
    newest = {row[1] for row in rows if row[4] == "newest"}
    assert len(newest) == 4
    assert not newest & before
    done("pki", "retire", "--dir", home.pki)
    done("pki", "bundle", "--dir", home.pki, "--out", home.out)
    (home.out / "gateway.crt.pem").unlink()
    done("keys", "install", home.out, "--config", home.config)
    assert len([row for row in home.listed() if row[4].startswith("retired")]) == 3


def test_only_what_is_named_is_rotated(home: Home) -> None:
    output = done("keys", "rotate", "--config", home.config, "--only", "storage", "--out", home.request)
    assert "nothing to admit" in output
    assert not home.request.exists()
    assert len(re.findall(r"Made ", output)) == 1
    assert run("keys", "rotate", "--config", home.config, "--only", "root", "--out", home.request).exit_code == 2


def test_keys_are_unlocked_relocked_and_locked_in_place(home: Home, tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    write_private(passphrase, f"{PASSPHRASE}\n".encode())
    before = home.ring()
    done("keys", "relock", "--keys", home.keys, "--key-file", home.unlock, "--lock-with-passphrase-file", passphrase)
    refused = run("keys", "list", "--config", home.config)
    assert refused.exit_code == 1
    assert "locked by passphrase" in refused.output
    assert "anybody who can read" in done("keys", "unlock", "--keys", home.keys, "--passphrase-file", passphrase)
    assert Keyring.load(home.keys) == before
    done("keys", "lock", "--keys", home.keys, "--lock-with-key-file", home.unlock)
    assert home.ring() == before


def test_a_lock_command_that_says_too_little_or_too_much_exits_with_2(home: Home, tmp_path: Path) -> None:
    for arguments in (
        ("lock", "--keys", home.keys),
        ("unlock", "--keys", home.keys),
        ("relock", "--keys", home.keys, "--key-file", home.unlock),
        ("lock", "--keys", home.keys, "--lock-with-command", "/bin/cat"),
        ("lock", "--keys", home.keys, "--lock-with-key-file", "x", "--lock-with-passphrase-file", home.unlock),
        ("unlock", "--keys", home.keys, "--key-file", home.unlock, "--command", "/bin/cat"),
    ):
        assert run("keys", *arguments).exit_code == 2, arguments


def test_a_gateway_is_not_issued_until_it_is_said_how_its_keys_are_encrypted(home: Home) -> None:
    out = home.keys.parent / "b"
    result = run("pki", "gateway", "b", "--dir", home.pki, "--out", out, "--address", "gw:1")
    assert result.exit_code == 2
    assert "--unlocked" in result.output
    assert not out.exists()


def test_a_nations_keys_take_its_passphrase(tmp_path: Path) -> None:
    good, bad, pki = tmp_path / "good", tmp_path / "bad", tmp_path / "pki"
    write_private(good, f"{PASSPHRASE}\n".encode())
    write_private(bad, b"another passphrase\n")
    done("pki", "init", "KOR", "--dir", pki, "--passphrase-file", good)
    for path in (pki / "root.key", *(pki / "ca").glob("*.key.pem")):
        assert "Encrypted" in done("pki", "show", path)
    issue = ("pki", "c2", "sensors", "--dir", pki, "--out", tmp_path / "c2")
    for arguments, word in (((), "nobody at a terminal"), (("--passphrase-file", bad), "does not unlock")):
        result = run(*issue, *arguments)
        assert result.exit_code == 1
        assert word in result.output
    done(*issue, "--passphrase-file", good)


def test_an_officer_signs_with_the_passphrase_of_his_key(tmp_path: Path) -> None:
    passphrase, out = tmp_path / "passphrase", tmp_path / "officers"
    write_private(passphrase, f"{PASSPHRASE}\n".encode())
    done("pki", "officer-key", "alice", "--node", "JPN", "--out", out, "--passphrase-file", passphrase)
    done("pki", "officer-key", "bob", "--node", "JPN", "--out", out, "--unlocked")
    roster = tmp_path / "roster.yaml"
    keys = "".join(f"- {(out / f'{name}.vkey').read_text().strip()}\n" for name in ("alice", "bob"))
    roster.write_text(f"node: JPN\nofficers:\n{keys}thresholds: {{loosen: 2, tighten: 1, remove_invariant: 2}}\n")
    sign = ("policy", "sign", "--suspend", "KOR", "--reason", "drill", "--first", roster, "--key", out / "alice.key")
    refused = run(*sign, "--out", tmp_path / "one.order")
    assert refused.exit_code == 1, refused.output
    assert "passphrase" in refused.output
    done(*sign, "--out", tmp_path / "one.order", "--passphrase-file", passphrase)


def test_an_authority_is_replaced_and_a_certificate_revoked_by_commands(home: Home) -> None:
    done("pki", "c2", "sensors", "--dir", home.pki, "--out", home.out / "c2")
    done("pki", "revoke", home.out / "c2" / "c2.crt.pem", "--dir", home.pki)
    done("pki", "authority", "officer", "--dir", home.pki)
    done("pki", "bundle", "--dir", home.pki, "--out", home.out)
    assert "c2.crl.pem" in done("keys", "install", home.out, "--config", home.config)
    assert (home.keys / "officer-ca.crt.pem").read_text().count("BEGIN CERTIFICATE") == 2
    assert "revoked" in done("pki", "show", home.keys / "c2.crl.pem")
    assert "Dropped 1 former officer authority" in done(
        "pki", "authority", "officer", "--dir", home.pki, "--drop-former"
    )


def test_a_stolen_keys_time_is_a_time_and_its_id_an_id(home: Home) -> None:
    for arguments in (
        ("--since", "yesterday"),
        ("--since", "2026-11-21T09:00:00"),
        ("--since", "2999-01-01T00:00:00Z"),
        ("--key", "3f9a"),
        ("--key", "LOG-KEY-1"),
    ):
        assert run("pki", "retire", "--dir", home.pki, *arguments).exit_code == 2, arguments


def test_a_request_tells_no_secret(home: Home) -> None:
    done("keys", "rotate", "--config", home.config, "--out", home.request)
    members = json.loads(home.request.read_text().split("\n", 1)[1].split("\n\n", 1)[0])
    assert set(members) == {"spiffe_id", "made", "log_key", "receipt_key", "pq_key", "sealing_key", "csr"}
    again = run("keys", "rotate", "--config", home.config, "--out", home.request)
    assert again.exit_code == 1
    assert "is there already" in again.output


def test_relock_writes_no_key_file_where_the_keys_do_not_unlock(home: Home, tmp_path: Path) -> None:
    wrong, made = tmp_path / "wrong", tmp_path / "made"
    write_private(wrong, bytes(32))
    refused = run("keys", "relock", "--keys", home.keys, "--key-file", wrong, "--lock-with-key-file", made)
    assert refused.exit_code == 1
    assert not made.exists()


def test_lock_and_relock_end_with_the_line_of_the_configuration(home: Home, tmp_path: Path) -> None:
    made = tmp_path / "made"
    told = done("keys", "relock", "--keys", home.keys, "--key-file", home.unlock, "--lock-with-key-file", made)
    assert told.splitlines()[-1] == f'unlock: {{key_file: "{made}"}}'
