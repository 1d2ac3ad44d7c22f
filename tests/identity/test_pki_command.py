"""Claims about `signalfire pki`: it makes what partners believe, explains itself, and never prints a secret."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from gateway.cli.pki import pki


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(pki, [str(argument) for argument in arguments])


def _done(*arguments: str | Path) -> str:
    result = _run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def jpn(tmp_path: Path) -> Path:
    _done("init", "JPN", "--dir", tmp_path / "jpn", "--unlocked")
    return tmp_path / "jpn"


@pytest.fixture
def gateway(jpn: Path) -> Path:
    _done("gateway", "a", "--dir", jpn, "--out", jpn.parent / "a", "--address", "gw.example.jp:7443", "--unlocked")
    return jpn.parent / "a"


def test_a_nation_is_made_from_nothing_and_its_bundle_is_shown_and_checked(jpn: Path, gateway: Path) -> None:
    assert "trust bundle 1 of JPN" in _done("bundle", "--dir", jpn)
    shown = _done("show", jpn / "bundle.note")
    assert "Trust bundle of JPN" in shown
    assert "gw.example.jp:7443 as a.gateway.jpn.signalfire.internal" in shown
    assert "Checked: signed by the root" in shown
    assert "trust bundle 2 of JPN" in _done("bundle", "--dir", jpn)


def test_init_tells_which_line_partners_pin(tmp_path: Path) -> None:
    output = _done("init", "KOR", "--dir", tmp_path / "kor", "--unlocked")
    assert (tmp_path / "kor" / "root.vkey").read_text().strip() in output


def test_a_gateway_takes_further_names(jpn: Path) -> None:
    out = jpn.parent / "b"
    _done(
        *("gateway", "b", "--dir", jpn, "--out", out, "--address", "gw:1"),
        *("--dns", "gw.example.jp", "--ip", "192.0.2.1", "--ip", "2001:db8::1", "--unlocked"),
    )
    shown = _done("show", out / "gateway.crt.pem", "--ca", jpn / "ca" / "gateway.crt.pem")
    assert "spiffe://jpn/gateway/b" in shown
    assert "b.gateway.jpn.signalfire.internal, gw.example.jp, 192.0.2.1, 2001:db8::1" in shown
    assert "answer as a server, call as a client" in shown
    assert "Checked:" in shown


def test_a_certificate_is_renewed_under_the_same_keys(jpn: Path, gateway: Path) -> None:
    out = jpn.parent / "b"
    _done("gateway", "b", "--dir", jpn, "--out", out, "--address", "gw:1", "--keys-from", gateway, "--unlocked")
    assert (out / "log.key").read_bytes() == (gateway / "log.key").read_bytes()


@pytest.mark.parametrize("role", ["c2", "officer"])
def test_a_c2_system_and_an_officer_get_a_certificate(jpn: Path, role: str) -> None:
    out = jpn.parent / role
    assert f"spiffe://jpn/{role}/sato" in _done(role, "sato", "--dir", jpn, "--out", out)
    shown = _done("show", out / f"{role}.crt.pem", "--ca", jpn / "ca" / f"{role}.crt.pem")
    assert "call as a client" in shown
    assert "server" not in shown


def test_a_certificate_of_another_authority_is_shown_and_fails_the_check(jpn: Path, gateway: Path) -> None:
    result = _run("show", gateway / "gateway.crt.pem", "--ca", jpn / "ca" / "officer.crt.pem")
    assert result.exit_code == 1
    assert "spiffe://jpn/gateway/a" in result.output
    assert "was not issued by" in result.output


def test_an_altered_bundle_fails_the_check(jpn: Path, gateway: Path) -> None:
    _done("bundle", "--dir", jpn)
    note = jpn / "bundle.note"
    note.write_text(note.read_text().replace("gw.example.jp", "gw.example.kp"))
    result = _run("show", note)
    assert result.exit_code == 1
    assert "did not sign" in result.output
    assert "gw.example.kp" not in result.output


def test_a_bundle_without_a_pinned_root_is_not_shown(jpn: Path, gateway: Path) -> None:
    _done("bundle", "--dir", jpn)
    alone = jpn.parent / "alone.note"
    alone.write_bytes((jpn / "bundle.note").read_bytes())
    result = _run("show", alone)
    assert result.exit_code == 1
    assert "--root" in result.output
    assert "Checked" in _done("show", alone, "--root", jpn / "root.vkey")


def test_no_secret_is_ever_printed(jpn: Path, gateway: Path) -> None:
    for path in sorted([*jpn.rglob("*.key"), *gateway.glob("*.key")]):
        shown = _done("show", path)
        for part in json.loads(path.read_text())["parts"].values():
            assert part not in shown
    assert "not shown" in _done("show", gateway / "gateway.key.pem")


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "jpn", "--dir", "x"),
        ("init", "JPN"),
        ("gateway", "A", "--dir", ".", "--out", "x", "--address", "gw:1"),
        ("gateway", "a", "--dir", "not-there", "--out", "x", "--address", "gw:1"),
        ("gateway", "a", "--dir", ".", "--out", "x", "--address", "gw:1", "--ip", "one"),
        ("show", "not-there"),
        ("c2", "a", "--dir", ".", "--out", "x", "--days", "0"),
    ],
)
def test_a_command_that_can_never_do_exits_with_2(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(*arguments).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_nobody_can_dial_exits_with_2(jpn: Path) -> None:
    result = _run("gateway", "a", "--dir", jpn, "--out", jpn.parent / "a", "--address", "gw", "--unlocked")
    assert result.exit_code == 2
    assert "host:port" in result.output


def test_a_failure_exits_with_1_and_says_what_to_do(jpn: Path, gateway: Path) -> None:
    for arguments, word in (
        (("init", "JPN", "--dir", jpn, "--unlocked"), "new directory"),
        (("bundle", "--dir", gateway), "pki init"),
        (("gateway", "a", "--dir", jpn, "--out", gateway, "--address", "gw:1", "--unlocked"), "empty directory"),
        (("show", gateway / "c2-ca.crt.pem", "--ca", jpn / "root.vkey"), "Restore"),
    ):
        result = _run(*arguments)
        assert result.exit_code == 1, result.output
        assert word in result.output
        assert "Traceback" not in result.output


def test_every_command_teaches_with_an_example() -> None:
    assert isinstance(pki, click.Group)
    for name, command in pki.commands.items():
        text = command.help or ""
        assert f"signalfire pki {name}" in text, name
        assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option)), name
