"""A signature that is not exactly what it must be is refused at both doors: with a batch, and as a receipt for one."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.errors import LedgerError
from gateway.ledger.note import Note, SignatureLine, sign_note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind
from gateway.release.batch import IncomingBatch
from gateway.release.steps import KeepCosignature
from tests.release.world import RELEASE_ALL, Site, partner_of, rules, signatory_of
from tests.reports.examples import NOW, SECOND, launch_detection

TO_KOR: Final = Origin("JPN", "KOR", "flash", 1)
TO_USA: Final = Origin("JPN", "USA", "flash", 1)


@dataclass(frozen=True, slots=True)
class Doors:
    """A batch of JPN's on its way to KOR, and the checkpoint and the receipt for it as they ought to be."""

    jpn: Site
    kor: Site
    batch: IncomingBatch
    size: int
    root: bytes

    def checkpoint(self, text: str) -> bytes:
        """A text under JPN's rightful key for this ledger."""
        return sign_note(text, signatory_of("JPN").log.signer(TO_KOR)).encode()

    def receipt(self, text: str) -> bytes:
        """A text with a line of KOR's rightful receipt key that is one of another text: those that are no checkpoint
        cannot be cosigned.
        """
        line = cosign(Checkpoint(TO_KOR, self.size, self.root).text(), signatory_of("KOR").receipt, NOW // SECOND)
        return Note(text, (line,)).encode()

    def refuses_checkpoint(self, raw: bytes) -> str:
        """Why KOR refuses the batch with this checkpoint. Nothing of it is kept."""
        with pytest.raises(LedgerError) as refused:
            self.kor.do(self.kor.receive(replace(self.batch, checkpoint=raw)))
        assert self.kor.store.ledgers() == []
        return str(refused.value)

    def refuses_receipt(self, raw: bytes) -> str:
        """Why JPN refuses this receipt. Nothing of it is kept."""
        with pytest.raises(LedgerError) as refused:
            self.jpn.do(KeepCosignature(TO_KOR, CosignatureKind.RECEIPT, raw, partner_of("KOR")))
        assert self.jpn.store.cosignature(self.jpn.row(TO_KOR).id, CosignatureKind.RECEIPT, "KOR") is None
        return str(refused.value)


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Doors]:
    jpn, kor = Site("JPN", tmp_path / "jpn.db"), Site("KOR", tmp_path / "kor.db")
    for seed in range(6):
        jpn.take(launch_detection(seed), rules(KOR=RELEASE_ALL))
    row = jpn.row(TO_KOR)
    yield Doors(jpn, kor, jpn.incoming(TO_KOR), row.size, row.root)
    for site in (jpn, kor):
        site.close()


def test_the_doors_are_open_for_what_is_right(doors: Doors) -> None:
    receipt = doors.kor.do(doors.kor.receive(doors.batch)).receipt
    assert doors.jpn.do(KeepCosignature(TO_KOR, CosignatureKind.RECEIPT, receipt, partner_of("KOR"))) == doors.size


def text(size: str | None = None, root: str | None = None) -> Callable[[Doors], str]:
    def made(doors: Doors) -> str:
        body = b64encode(doors.root).decode() if root is None else root
        return f"{TO_KOR}\n{doors.size if size is None else size}\n{body}\n"

    return made


SPELLINGS: Final = {
    "junk for base64": text(root="!!!!" * 11),
    "base64 with a line break's place": text(root="AAAA AAAA"),
    "a root of 31 bytes": text(root=b64encode(bytes(31)).decode()),
    "a root of 33 bytes": text(root=b64encode(bytes(33)).decode()),
    "the size +5": text("+5"),
    "the size 007": text("007"),
    "the size 1_000": text("1_000"),
    "the size -1": text("-1"),
    "a size beyond 63 bits": text(str(2**63)),
    "an extension line": lambda doors: text()(doors) + "extension\n",
    "no root": lambda doors: f"{TO_KOR}\n{doors.size}\n",
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_checkpoint_in_another_spelling_is_refused_though_its_key_signed_it(
    doors: Doors, spelling: Callable[[Doors], str]
) -> None:
    made = spelling(doors)
    assert "checkpoint" in doors.refuses_checkpoint(doors.checkpoint(made))
    assert "checkpoint" in doors.refuses_receipt(doors.receipt(made))


def test_seventeen_signature_lines_are_refused(doors: Doors) -> None:
    for raw, refuse in (
        (doors.batch.checkpoint, doors.refuses_checkpoint),
        (doors.receipt(text()(doors)), doors.refuses_receipt),
    ):
        note = Note.parse(raw)
        strangers = tuple(SignatureLine(f"stranger-{n}", n, b"s" * 64) for n in range(17 - len(note.signatures)))
        lines = "".join(Note(note.text, (line,)).encode().decode().split("\n\n", 1)[1] for line in strangers)
        assert "signature" in refuse(raw + lines.encode())


def test_an_unknown_key_is_refused_at_both_doors(doors: Doors) -> None:
    checkpoint = Checkpoint(TO_KOR, doors.size, doors.root)
    assert "batch at 0" in doors.refuses_checkpoint(sign_checkpoint(checkpoint, LogKey(b"s" * 32)).encode())
    line = cosign(checkpoint.text(), signatory_of("USA").receipt, NOW // SECOND)
    assert "no signature by a key" in doors.refuses_receipt(Note(checkpoint.text(), (line,)).encode())


def test_a_known_key_under_another_algorithm_is_refused_at_both_doors(doors: Doors) -> None:
    checkpoint = Checkpoint(TO_KOR, doors.size, doors.root)
    # The owner's post-quantum key, rightly used, where its Ed25519 line is due; the recipient's where its receipt is.
    for node, refuse in (("JPN", doors.refuses_checkpoint), ("KOR", doors.refuses_receipt)):
        line = cosign(checkpoint.text(), signatory_of(node).pq, NOW // SECOND)
        assert refuse(Note(checkpoint.text(), (line,)).encode())


def test_what_holds_for_another_ledger_is_refused_at_both_doors(doors: Doors) -> None:
    other = Checkpoint(TO_USA, doors.size, doors.root)
    assert "batch at 0" in doors.refuses_checkpoint(sign_checkpoint(other, signatory_of("JPN").log).encode())
    line = cosign(other.text(), signatory_of("KOR").receipt, NOW // SECOND)
    assert str(TO_USA) in doors.refuses_receipt(Note(other.text(), (line,)).encode())


def test_another_root_of_the_same_size_is_refused_at_both_doors(doors: Doors) -> None:
    forged = Checkpoint(TO_KOR, doors.size, b"r" * 32)
    assert "do not give the root" in doors.refuses_checkpoint(sign_checkpoint(forged, signatory_of("JPN").log).encode())
    line = cosign(forged.text(), signatory_of("KOR").receipt, NOW // SECOND)
    assert "another checkpoint" in doors.refuses_receipt(Note(forged.text(), (line,)).encode())


def test_a_ledger_never_shrinks_by_what_came_before_and_is_refused_where_it_is_another(doors: Doors) -> None:
    doors.kor.do(doors.kor.receive(doors.batch))
    shorter = doors.jpn.incoming(TO_KOR, 0, 1)
    assert shorter.count < doors.batch.count
    # What is held already is passed over, by whichever way it comes again.
    doors.kor.do(doors.kor.receive(shorter))
    assert doors.kor.row(TO_KOR).size == doors.size
    other = Checkpoint(TO_KOR, shorter.count, b"r" * 32)
    rewritten = replace(shorter, checkpoint=sign_checkpoint(other, signatory_of("JPN").log).encode())
    with pytest.raises(LedgerError, match=r"another root|two roots|contradict"):
        doors.kor.do(doors.kor.receive(rewritten))
    assert doors.kor.row(TO_KOR).size == doors.size
