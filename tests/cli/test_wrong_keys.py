"""A keys directory that is not that of the store: nothing starts with it, and every command names the key."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway import config as configuration
from gateway.cli import main
from gateway.identity.keyring import KeyKind
from gateway.identity.node_keys import PARTS_SIZES, write_secret
from gateway.node import Node
from gateway.release.errors import KeyNotHeld
from tests.cli.conftest import World, make
from tests.patience import PATIENCE_S

OTHER = 7
"""Each byte of the key that takes another's place."""

WORDS = {
    KeyKind.STORAGE: "the store is sealed under the storage key",
    KeyKind.LOG: "is not the one that signed the checkpoint",
}


@pytest.fixture(scope="module")
def once_up(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two nations, of whom Japan's gateway ran once."""
    world = make(tmp_path_factory.mktemp("once"))
    gateway = world.gateways["JPN"]
    try:
        gateway.start()
        asyncio.run(gateway.ready(PATIENCE_S))
    finally:
        gateway.stop()
    return world


@pytest.fixture(params=[KeyKind.STORAGE, KeyKind.LOG])
def changed(request: pytest.FixtureRequest, once_up: World, tmp_path: Path) -> tuple[Path, KeyKind]:
    """A copy of Japan's gateway with another key in one file, and of which kind."""
    kind: KeyKind = request.param
    home = shutil.copytree(once_up.places["JPN"].directory, tmp_path / "jpn")
    (part,) = kind.secret.parts
    write_secret(home / "keys" / kind.default_file, kind.secret, {part: bytes([OTHER]) * PARTS_SIZES[part]})
    return home / "gateway.yaml", kind


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_the_right_keys_pass_every_check(once_up: World) -> None:
    config = str(once_up.places["JPN"].config)
    assert run("serve", "--config", config, "--check").exit_code == 0
    assert run("ledger", "verify", "--config", config).exit_code == 0


def test_a_gateway_does_not_start_with_a_key_that_is_not_its_stores(changed: tuple[Path, KeyKind]) -> None:
    path, kind = changed

    async def start() -> None:
        node = Node(configuration.load(path))
        try:
            with pytest.raises(KeyNotHeld, match=WORDS[kind]) as refused:
                await node.start()
            assert f"Restore {kind.default_file}" in str(refused.value)
        finally:
            await node.stop()

    asyncio.run(start())


def test_check_refuses_it_and_names_the_key_and_the_remedy(changed: tuple[Path, KeyKind]) -> None:
    path, kind = changed
    result = run("serve", "--config", str(path), "--check")
    assert result.exit_code == 1
    assert WORDS[kind] in result.output
    assert f"Restore {kind.default_file}" in result.output


def test_the_doctor_has_it_as_a_problem(changed: tuple[Path, KeyKind]) -> None:
    path, kind = changed
    result = run("doctor", "--config", str(path), "--no-dial", "--json")
    assert result.exit_code == 3
    found = [each for each in json.loads(result.output)["findings"] if WORDS[kind] in each["what"]]
    assert [each["level"] for each in found] == ["problem"]
    assert f"Restore {kind.default_file}" in found[0]["remedy"]


def test_verify_says_it_in_its_first_line_and_finds_the_store_not_sound(changed: tuple[Path, KeyKind]) -> None:
    path, kind = changed
    result = run("ledger", "verify", "--config", str(path))
    assert result.exit_code == 3
    assert WORDS[kind] in result.stderr.splitlines()[0]
    findings = json.loads(run("ledger", "verify", "--config", str(path), "--json").stdout)["findings"]
    assert WORDS[kind] in findings[0]["what"]
