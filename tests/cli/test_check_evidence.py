"""What a pair of statements proves against a nation, by the keys that it has in use."""

from __future__ import annotations

import pytest

from gateway.cli.ledger_evidence import check
from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.evidence import EvidenceError, encode
from tests.audit.nations import NEW_LOG, NOW_S, TO_KOR, nation, rotated
from tests.release.world import keys_of

OLD_LOG = LogKey(keys_of("JPN").log_seed)


def stated(root: bytes, key: LogKey) -> bytes:
    return sign_checkpoint(Checkpoint(TO_KOR, 7, root), key).encode()


def test_two_statements_under_keys_in_use_prove_it() -> None:
    pair = encode(stated(b"a" * 32, OLD_LOG), stated(b"b" * 32, OLD_LOG))
    assert check(pair, nation("JPN")).origin == TO_KOR


@pytest.mark.parametrize("until", [NOW_S - 1, NOW_S + 400 * 86_400])
@pytest.mark.parametrize("other", [OLD_LOG, NEW_LOG])
def test_a_statement_under_a_retired_key_proves_nothing_and_that_is_said(other: LogKey, until: int) -> None:
    pair = encode(stated(b"a" * 32, OLD_LOG), stated(b"b" * 32, other))
    with pytest.raises(EvidenceError, match="a key that JPN has retired signed one of the two"):
        check(pair, nation("JPN", **rotated("JPN", until)))
