"""Makes tests/vectors/onward.json: reports that went onward, as the third nation finds them in its partner's ledger.

``PYTHONPATH=.:proto python -m tests.release.onward_vectors`` writes the file anew; it is the same every time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.merkle import leaf_hash, node_hash
from gateway.ledger.origin import Origin
from gateway.release.groups import parts_of
from gateway.release.onward import Inclusion, Passage, passed_on
from gateway.seal.epoch import Epoch
from policy.obligations import Obligations, Rounding, apply
from tests.reports.examples import change, launch_detection
from tests.seal.parties import JPN, seeded

FILE: Final = Path(__file__).parents[1] / "vectors" / "onward.json"
ORIGIN: Final = Origin("USA", "JPN", "flash", 1)
LOG: Final = LogKey(seeded("USA log key of the vectors")(32))
_PATH: Final = (leaf_hash(b"the opening of the epoch"), leaf_hash(b"another entry"))

Refused = tuple[str, Callable[[ledger_pb2.OnwardReport], object]]
REFUSED: Final[tuple[Refused, ...]] = (
    ("a value that is proved is altered", lambda o: change(o.report, threat__launch_area="Tonghae")),
    ("a value that is not proved and not derived", lambda o: change(o.report, originator_station="TPY-2")),
    ("the derivation is gone", lambda o: o.report.ClearField("derivations")),
    ("the report has another identifier", lambda o: change(o.report, report_id=launch_detection(2).report_id)),
    ("a part is left out", lambda o: o.proof.disclosed.parts.pop()),
    ("a salt is altered", lambda o: setattr(o.proof.disclosed.parts[0], "salt", bytes(32))),
    ("the index is another", lambda o: setattr(o.proof, "index", 0)),
    ("the path is cut short", lambda o: o.proof.path.pop()),
    ("the checkpoint is not there", lambda o: o.proof.ClearField("checkpoint")),
    ("the ledger is another", lambda o: setattr(o.proof, "origin", "signalfire/v1/USA/JPN/flash/2")),
)


def onward(partner: str = "KOR") -> ledger_pb2.OnwardReport:
    """What JPN passes on to `partner` of a launch that USA detected: without its station, the place coarser."""
    report = launch_detection(
        1, originator_node="USA", marking__policy="USA", marking__releasable_to=["JPN"],
        marking__onward_release=["AUS", "KOR"],
    )  # fmt: skip
    random = seeded("onward vectors")
    epoch, _ = Epoch.open_new(str(ORIGIN), 0, [("JPN", JPN.public)], random)
    entry = epoch.seal_parts(1, parts_of(report), random)
    root = node_hash(node_hash(_PATH[0], leaf_hash(entry)), _PATH[1])
    checkpoint = sign_checkpoint(Checkpoint(ORIGIN, 3, root), LOG).encode()
    copy = report_pb2.Report()
    copy.CopyFrom(report)
    change(copy, originator_station=None, source_sequence=None, marking__releasable_to=None)
    change(copy, marking__onward_release=["KOR"])
    apply(copy, Obligations(position=Rounding(20_000)), "JPN")
    passage = Passage(ORIGIN, 1, entry, epoch.open(1, entry))
    return passed_on(passage, Inclusion(_PATH, checkpoint), report, copy, node="JPN", partner=partner).onward_report


def build() -> dict[str, Any]:
    """The content of the file."""
    refused = []
    for name, tampering in REFUSED:
        tampered = onward()
        tampering(tampered)
        refused.append({"name": name, "onward_report": _hex(tampered)})
    refused.append({"name": "the permission that is shown is another node's", "onward_report": _hex(onward("AUS"))})
    return {
        "originator": "USA",
        "log_key": LOG.public.public_key.hex(),
        "carrier": "JPN",
        "node": "KOR",
        "accepted": [{"name": "without its station, and with a coarser place", "onward_report": _hex(onward())}],
        "refused": refused,
    }


def _hex(message: ledger_pb2.OnwardReport) -> str:
    return message.SerializeToString(deterministic=True).hex()


if __name__ == "__main__":
    FILE.write_text(json.dumps(build(), indent=1) + "\n")
