"""The vectors for other implementations are what the byte tables give, and this implementation agrees with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.seal.entry import parse_header
from gateway.seal.epoch import Epoch, content_of
from gateway.seal.errors import SealError
from gateway.seal.keys import SealingPrivateKey
from tests.seal import entry_vectors
from tests.seal import reference_entry as reference
from tests.seal.parties import READERS, seeded

VECTORS: dict[str, Any] = json.loads(entry_vectors.FILE.read_text())
ACCEPTED: list[dict[str, Any]] = VECTORS["accepted"]
REFUSED: list[dict[str, Any]] = VECTORS["refused"]
ORIGIN: str = VECTORS["origin"]
EPOCH: int = VECTORS["epoch"]
OPENING = bytes.fromhex(VECTORS["opening"])


def private_key(reader: dict[str, str]) -> SealingPrivateKey:
    return SealingPrivateKey(bytes.fromhex(reader["mlkem_seed"]), bytes.fromhex(reader["x25519"]))


def reading_epoch(reader: dict[str, str]) -> Epoch:
    return Epoch.from_opening(ORIGIN, OPENING, EPOCH, reader["node"], [private_key(reader)])


def name_of(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def test_the_file_is_what_its_maker_makes() -> None:
    assert entry_vectors.build(VECTORS["opening"]) == VECTORS


@pytest.mark.parametrize("reader", VECTORS["readers"], ids=lambda reader: reader["node"])
def test_every_reader_finds_the_content_key_in_the_opening(reader: dict[str, str]) -> None:
    assert private_key(reader).key_id.hex() == reader["key_id"]
    position = [each["node"] for each in VECTORS["readers"]].index(reader["node"])
    # After header and suite, each wrap is a field of 1194 bytes behind 3 of tag and length; its ciphertext is last.
    wrap = OPENING[46 + 1197 * position :][:1197]
    found = reference.unwrapped(
        wrap[-1168:],
        bytes.fromhex(reader["mlkem_seed"]),
        bytes.fromhex(reader["x25519"]),
        bytes.fromhex(reader["info"]),
    )
    assert found.hex() == VECTORS["content_key"]


@pytest.mark.parametrize("reader", VECTORS["readers"], ids=lambda reader: reader["node"])
@pytest.mark.parametrize("vector", ACCEPTED, ids=name_of)
def test_every_reader_opens_every_accepted_entry(vector: dict[str, Any], reader: dict[str, str]) -> None:
    payload = reading_epoch(reader).open(vector["index"], bytes.fromhex(vector["entry"]))
    assert payload.SerializeToString(deterministic=True).hex() == vector["payload"]
    assert content_of(payload).hex() == vector["content"]


@pytest.mark.parametrize("vector", ACCEPTED, ids=name_of)
def test_the_same_payload_is_sealed_into_the_same_entry(vector: dict[str, Any]) -> None:
    content_key = bytes.fromhex(VECTORS["content_key"])
    epoch, _ = Epoch.open_new(ORIGIN, EPOCH, READERS, lambda size: content_key)
    entry = bytes.fromhex(vector["entry"])
    parts = epoch.open(vector["index"], entry).parts
    assert epoch.seal_parts(vector["index"], parts) == entry


def test_content_in_one_part_is_sealed_into_the_same_entry() -> None:
    content_key = bytes.fromhex(VECTORS["content_key"])
    vector = next(each for each in ACCEPTED if each["name"] == "short")
    epoch, _ = Epoch.open_new(ORIGIN, EPOCH, READERS, lambda size: content_key)
    sealed = epoch.seal(vector["index"], bytes.fromhex(vector["content"]), seeded("salt of short"))
    assert sealed.hex() == vector["entry"]


@pytest.mark.parametrize("vector", ACCEPTED, ids=name_of)
def test_an_accepted_entry_begins_with_its_header(vector: dict[str, Any]) -> None:
    entry = bytes.fromhex(vector["entry"])
    assert entry[:44].hex() == vector["header"]
    assert parse_header(entry).epoch == EPOCH


@pytest.mark.parametrize("vector", REFUSED, ids=name_of)
def test_every_refused_entry_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(SealError):
        reading_epoch(VECTORS["readers"][0]).open(vector["index"], bytes.fromhex(vector["entry"]))
