"""The vectors of reports that went onward are what their maker makes, and this implementation agrees with them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from signalfire.v1 import ledger_pb2

from gateway.ledger.checkpoint import LogPublicKey
from gateway.release.onward import NotBelieved, verify
from tests.release import onward_vectors
from tests.release.world import partner_of

VECTORS: dict[str, Any] = json.loads(onward_vectors.FILE.read_text())
PARTNERS = {"USA": replace(partner_of("USA"), log=(LogPublicKey(bytes.fromhex(VECTORS["log_key"])),))}


def judged(vector: dict[str, str]) -> None:
    onward = ledger_pb2.OnwardReport.FromString(bytes.fromhex(vector["onward_report"]))
    verify(onward, carrier=VECTORS["carrier"], node=VECTORS["node"], partners=PARTNERS)


def test_the_file_is_what_its_maker_makes() -> None:
    assert onward_vectors.build() == VECTORS


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
def test_what_is_proved_is_believed(vector: dict[str, str]) -> None:
    judged(vector)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_what_is_not_proved_is_refused(vector: dict[str, str]) -> None:
    with pytest.raises(NotBelieved):
        judged(vector)
