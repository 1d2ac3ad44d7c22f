"""Recovery records: they open for the recovery key, in their place, and nowhere else; their size says nothing."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import ledger_pb2

from gateway.seal.errors import NonceError, OpenError, PayloadTooLarge, WrapError
from gateway.seal.keys import SealingPrivateKey
from gateway.seal.recovery import CAPACITIES, RecordKey, unwrap_record_key

LEDGER = "signalfire/v1/JPN/KOR/flash/1"
OTHER = "signalfire/v1/JPN/USA/flash/1"


@functools.cache
def recovery_key(number: int = 0) -> SealingPrivateKey:
    return SealingPrivateKey.generate()


def sealed(
    record: ledger_pb2.RecoveryRecord, index: int = 2, capacity: int = CAPACITIES[0]
) -> ledger_pb2.SealedRecovery:
    key, wrap = RecordKey.draw_new(LEDGER, index, 0, "JPN", recovery_key().public)
    return ledger_pb2.SealedRecovery(key=wrap, key_index=index, ciphertext=key.seal(index, record, capacity))


def record_of(*rules: str) -> ledger_pb2.RecoveryRecord:
    return ledger_pb2.RecoveryRecord(
        decisions="signalfire/v1/JPN/decisions/1",
        decided=[ledger_pb2.RecoveredDecision(report_id=bytes(16), rule=rule) for rule in rules],
    )


@given(st.lists(st.text(max_size=20), max_size=20), st.sampled_from(CAPACITIES))
def test_a_record_comes_back_as_it_was_and_only_its_capacity_shows(rules: list[str], capacity: int) -> None:
    record = record_of(*rules)
    found = sealed(record, capacity=capacity)
    raw = unwrap_record_key(LEDGER, found, 2, "JPN", recovery_key())
    assert RecordKey.read_with(LEDGER, 2, raw).open(2, found.ciphertext) == record
    assert len(found.ciphertext) == capacity + 16


def test_the_key_unwraps_for_its_ledger_index_and_recovery_key_alone() -> None:
    found = sealed(record_of("a"))
    for line, index, key in ((OTHER, 2, recovery_key()), (LEDGER, 2, recovery_key(1))):
        with pytest.raises(WrapError):
            unwrap_record_key(line, found, index, "JPN", key)
    moved = ledger_pb2.SealedRecovery()
    moved.CopyFrom(found)
    moved.key_index = 3
    with pytest.raises(WrapError):
        unwrap_record_key(LEDGER, moved, 3, "JPN", recovery_key())
    with pytest.raises(WrapError):
        unwrap_record_key(LEDGER, found, 3, "JPN", recovery_key())


def test_a_record_opens_at_its_own_index_of_its_own_ledger_alone() -> None:
    found = sealed(record_of("a"))
    raw = unwrap_record_key(LEDGER, found, 2, "JPN", recovery_key())
    for line, key_index, index in ((LEDGER, 2, 3), (LEDGER, 1, 2), (OTHER, 2, 2)):
        with pytest.raises(OpenError):
            RecordKey.read_with(line, key_index, raw).open(index, found.ciphertext)


@given(st.integers(0, CAPACITIES[0] + 15), st.integers(1, 255))
def test_a_record_of_which_one_byte_was_altered_does_not_open(at: int, flip: int) -> None:
    found = sealed(record_of("a"))
    raw = unwrap_record_key(LEDGER, found, 2, "JPN", recovery_key())
    altered = bytearray(found.ciphertext)
    altered[at] ^= flip
    with pytest.raises(OpenError):
        RecordKey.read_with(LEDGER, 2, raw).open(2, bytes(altered))


def test_what_is_longer_than_its_capacity_is_not_sealed() -> None:
    with pytest.raises(PayloadTooLarge):
        sealed(record_of("a" * CAPACITIES[0]))


def test_no_index_is_sealed_twice_under_one_key_and_a_key_that_was_read_back_seals_nothing() -> None:
    key, _ = RecordKey.draw_new(LEDGER, 2, 0, "JPN", recovery_key().public)
    key.seal(2, record_of(), CAPACITIES[0])
    key.seal(4, record_of(), CAPACITIES[0])
    for index in (2, 3, 4):
        with pytest.raises(NonceError):
            key.seal(index, record_of(), CAPACITIES[0])
    with pytest.raises(NonceError):
        RecordKey.read_with(LEDGER, 2, bytes(32)).seal(9, record_of(), CAPACITIES[0])
