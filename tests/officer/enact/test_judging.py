"""Orders while a policy is being proved: none waits for the proof, and none is overtaken unseen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from gateway.demo.deployment import Deployed
from gateway.release.governance import WAITING_POLICIES
from policy import Bundle, digest_of, read_files
from policy.approve import Activate, DeclarePosture, Suspend
from policy.decision import BuiltIn
from policy.vocabulary import Posture
from tests.node import nations
from tests.node.nations import World, running
from tests.node.waiting import until
from tests.officer.enact.bringing import bring, decided, following, signed_by
from tests.patience import PATIENCE_S
from tests.policy.officers import SetProver


class Slow(SetProver):
    """A prover who, once told to wait, takes until he is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def unproved(self, bundle: Bundle) -> Sequence[str]:
        self.begun.set()
        assert self.go.wait(4 * PATIENCE_S)
        return super().unproved(bundle)


@pytest_asyncio.fixture
async def slow(jpn: Deployed, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Slow, World]]:
    prover = Slow()
    monkeypatch.setattr(nations, "PROOFS", prover)
    async with running({"JPN": jpn}, linked=False) as made:
        prover.begun.clear()
        prover.go.clear()
        try:
            yield prover, made
        finally:
            prover.go.set()


def changed(place: Deployed) -> dict[str, bytes]:
    return read_files(place.policy) | {"cases/another.yaml": b""}


async def test_a_suspension_overtakes_a_policy_that_is_being_proved(slow: tuple[Slow, World], jpn: Deployed) -> None:
    prover, world = slow
    files = changed(jpn)
    activating = asyncio.create_task(bring(jpn, Activate(digest_of(files)), "alice", "bob", files=files))
    await until(prover.begun.is_set, "the proof has begun")
    async with asyncio.timeout(PATIENCE_S):
        assert await bring(jpn, Suspend("KOR", "A leak"), "carol") == set()
    assert (await decided(world)).rule == BuiltIn.SUSPENDED
    prover.go.set()
    assert await activating == {"wrong_sequence"}
    assert (await decided(world)).rule == BuiltIn.SUSPENDED


async def test_a_posture_ends_while_a_policy_is_being_proved_and_does_not_come_back(
    slow: tuple[Slow, World], jpn: Deployed
) -> None:
    prover, world = slow
    over = datetime.now(UTC) + timedelta(seconds=1)
    assert await bring(jpn, DeclarePosture(Posture.IMMINENT, over), "alice", "bob") == set()
    files = changed(jpn)
    activating = asyncio.create_task(bring(jpn, Activate(digest_of(files)), "alice", "bob", files=files))
    await until(prover.begun.is_set, "the proof has begun")
    await world.event("JPN", "posture-over")
    prover.go.set()
    assert await activating == set()
    status = await jpn.officer().policy_status()
    assert (status.posture, status.policy_digest) == ("ROUTINE", digest_of(files))
    assert not status.HasField("posture_until")


async def test_no_more_policies_wait_to_be_judged_than_a_few(slow: tuple[Slow, World], jpn: Deployed) -> None:
    prover, _ = slow
    files = changed(jpn)
    signed = signed_by(jpn, await following(jpn, Activate(digest_of(files))), "alice", "bob").message()
    officer = jpn.officer()
    brought = [asyncio.create_task(officer.enact(signed, files)) for _ in range(WAITING_POLICIES + 1)]
    done, waiting = await asyncio.wait(brought, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    with pytest.raises(ConnectionError, match="other policies are being judged"):
        done.pop().result()
    prover.go.set()
    answers = await asyncio.gather(*waiting)
    assert sorted(bool(answer.refusals) for answer in answers) == [False] + [True] * (WAITING_POLICIES - 1)
