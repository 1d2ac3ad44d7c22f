"""`signalfire serve`, and `python -m gateway`."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.cli.conftest import World
from tests.patience import PATIENCE_S

STOP_WITHIN_S = 30
"""Seconds in which a gateway must have stopped after it was told to: a third of those after which a system's manager
of services kills it."""


def test_check_says_that_everything_is_in_order_and_starts_nothing(stopped: World) -> None:
    place = stopped.places["JPN"]
    result = CliRunner().invoke(main, ["serve", "--config", str(place.config), "--check"])
    in_order = f"{place.config}: configuration, keys, policy and trust bundles are in order\n"
    assert (result.exit_code, result.stdout) == (0, in_order)
    # A demo's keys are plain, and that is remarked.
    (note,) = result.stderr.splitlines()
    assert "private keys are not encrypted" in note
    assert not place.store.exists()


def test_check_names_the_partner_whose_bundle_is_not_believed(stopped: World, tmp_path: Path) -> None:
    home = shutil.copytree(stopped.places["JPN"].directory, tmp_path / "jpn")
    (partner,) = stopped.places.keys() - {"JPN"}
    shutil.copy(home / "pki" / "bundle.note", home / "partners" / f"{partner}.bundle.note")
    result = CliRunner().invoke(main, ["serve", "--config", str(home / "gateway.yaml"), "--check"])
    assert result.exit_code == 1
    assert f"the trust bundle of {partner} is refused" in result.output


def test_check_calls_a_bundle_that_is_older_than_the_record_refused_and_what_is_on_record_in_use(
    stopped: World,
) -> None:
    jpn, usa = stopped.places["JPN"], stopped.places["USA"]
    pinned = jpn.directory / "partners" / "USA.bundle.note"
    older = pinned.read_bytes()
    pki = usa.directory / "pki"
    assert CliRunner().invoke(main, ["pki", "bundle", "--dir", str(pki)]).exit_code == 0
    shutil.copy(pki / "bundle.note", pinned)
    stopped.gateways["JPN"].start()
    asyncio.run(stopped.gateways["JPN"].ready(PATIENCE_S))
    stopped.gateways["JPN"].stop()
    pinned.write_bytes(older)
    result = CliRunner().invoke(main, ["serve", "--config", str(jpn.config), "--check"])
    assert result.exit_code == 0, result.output
    assert "the trust bundle of USA is refused" in result.stderr
    assert "sequence 2, which is on record, is in use" in result.stderr


@pytest.mark.parametrize(
    ("old", "new", "line_holds", "words"),
    [
        ("node: JPN", "node: Japan", "node: Japan", '"Japan" is not an ISO 3166-1 alpha-3 code'),
        ("store: store.db", "stores: store.db", "stores: store.db", 'Did you mean "store"'),
        ("policy: policy", "policy: absent", "policy: absent", "There is no"),
    ],
)
def test_a_bad_configuration_is_refused_with_file_line_and_what_to_do(
    stopped: World, old: str, new: str, line_holds: str, words: str
) -> None:
    config = stopped.places["JPN"].config
    text = config.read_text("utf-8")
    assert old in text
    changed = text.replace(old, new)
    config.write_text(changed, "utf-8")
    line = changed.splitlines().index(line_holds) + 1
    result = CliRunner().invoke(main, ["serve", "--config", str(config)])
    assert result.exit_code == 1
    assert f"{config}:{line}: " in result.output
    assert words in result.output


def test_check_refuses_a_policy_that_does_not_compile(stopped: World) -> None:
    place = stopped.places["JPN"]
    (place.policy / "partners" / "USA.yaml").write_text("partner: USA\nrules: none\n", "utf-8")
    result = CliRunner().invoke(main, ["serve", "--config", str(place.config), "--check"])
    assert result.exit_code == 1
    assert "USA.yaml:2" in result.output


def test_check_refuses_a_policy_that_is_not_the_one_that_was_signed(stopped: World) -> None:
    place = stopped.places["JPN"]
    with (place.policy / "policy.yaml").open("a", encoding="utf-8") as file:
        file.write("# one more word\n")
    result = CliRunner().invoke(main, ["serve", "--config", str(place.config), "--check"])
    assert result.exit_code == 1
    assert "Sign what is there" in result.output


def test_an_absent_configuration_is_refused() -> None:
    result = CliRunner().invoke(main, ["serve", "--config", "/nowhere/gateway.yaml"])
    assert result.exit_code == 1
    assert "/nowhere/gateway.yaml: The file cannot be read" in result.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_gateway_that_is_told_to_stop_ends_within_seconds_with_exit_code_0(
    stopped: World, number: signal.Signals
) -> None:
    place = stopped.places["USA"]
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(place.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            asyncio.run(_answers(stopped, "USA"))
            process.send_signal(number)
            _, log = process.communicate(timeout=STOP_WITHIN_S)
            assert process.returncode == 0, log.decode()
            assert b"spiffe://usa/gateway/a has stopped" in log
            assert b"Traceback" not in log
        finally:
            process.kill()


async def _answers(world: World, node: str) -> None:
    """Returns when the gateway answers. The connection is made again by the library, so nothing is waited for here."""
    async with asyncio.timeout(PATIENCE_S):
        await anext(aiter(world.places[node].officer().watch_decisions()))


def test_a_port_that_is_taken_is_named(world: World, stopped: World, tmp_path: Path) -> None:
    taken = world.places["JPN"].national
    config = stopped.places["JPN"].config
    config.write_text(config.read_text("utf-8").replace(stopped.places["JPN"].national, taken), "utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--config", str(config)],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert f"Error: cannot listen at {taken}" in result.stderr
    assert "Traceback" not in result.stderr


def test_python_dash_m_gateway_is_signalfire() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gateway", "--version"], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (result.returncode, result.stdout.split(",")[0]) == (0, "signalfire")


def test_a_gateway_that_cannot_start_says_why_and_ends_with_one(stopped: World) -> None:
    place = stopped.places["JPN"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = place.config.read_text("utf-8")
        listen = f"national: {{listen: 127.0.0.1:{taken.getsockname()[1]}}}"
        changed = re.sub(r"national: \{listen: [^}]*\}", listen, config)
        assert changed != config
        place.config.write_text(changed, "utf-8")
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(place.config)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 1
    assert "Error: " in ended.stderr
    assert "Traceback" not in ended.stderr
