"""What this node has signed under a key that is out of use, as it goes to partners: the same text, under today's key.

Partners believe what comes on a stream under the keys of the newest bundle alone. A ledger outlives its keys: its
segments, and the reasons for what is kept back, were signed by the key of their day. The text is on record, so to sign
it again states nothing new.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.ledger.note import Note, Signer, sign_note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Run
from gateway.release.signatory import Signatory


def signed_by(raw: bytes, signer: Signer) -> bytes:
    """An own note as it is where `signer` has signed it, and otherwise its text, signed by `signer`."""
    note = Note.parse(raw)
    if any((line.name, line.key_id) == (signer.name, signer.key_id) for line in note.signatures):
        return raw
    return sign_note(note.text, signer).encode()


def presented(run: Run, origin: Origin, signatory: Signatory) -> Run:
    """A run of an own ledger with its checkpoint, and the reasons for what is absent, under the log key in use."""
    checkpoint = signed_by(run.checkpoint, signatory.log.signer(origin))
    absent = [replace(row, note=signed_by(row.note, signatory.gateway)) for row in run.absent]
    return replace(run, checkpoint=checkpoint, absent=absent)
