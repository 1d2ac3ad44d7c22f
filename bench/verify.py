"""What `signalfire ledger verify` costs as a store grows: time, and the most memory that it ever holds.

Run from the top of the repository: ``PYTHONPATH=.:proto python bench/verify.py [--sizes 10000,100000,1000000]``.

A store is filled by the gateway's own way: reports are decided, released to one partner and withheld from another,
sealed, signed and recorded, ``--commit`` of them in a commit. Every tenth commit brings as many reports of the partner,
and has his receipt and a post-quantum line. Then a process of its own verifies the store; of it the processor's time
and the largest resident size are told, beside the time of SQLite's own check of the file, which is part of it.

Needs some 5 kB of disk a report, in ``--dir``, and takes it away at the end. ``--store FILE`` keeps the store there,
and verifies it where it is there already.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from signalfire.v1 import report_pb2

from gateway.audit.verify import verify_store
from gateway.identity.key_names import gateway_key_name
from gateway.identity.node_keys import NodeKeys
from gateway.ledger.checkpoint import LogPublicKey
from gateway.ledger.cosignature import Ed25519CosignatureVerifier, MLDSA44CosignatureVerifier, pq_name, receipt_name
from gateway.ledger.note import Ed25519Verifier
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.release.batch import IncomingBatch
from gateway.release.heads import Heads
from gateway.release.opening import Opener
from gateway.release.pipeline import TakeReport
from gateway.release.plan import Plan
from gateway.release.rulebook import Rulebook
from gateway.release.sequencer import Step
from gateway.release.signatory import Partner, Signatory
from gateway.release.steps import KeepCosignature, ReceiveBatch, SignPostQuantum
from gateway.release.verdicts import Verdicts
from gateway.release.witness import Beat
from gateway.reports.limits import ReportLimits
from gateway.seal.keys import SealingPublicKey
from policy import compile_bundle

SECOND: Final = 1_000_000_000
BEGAN: Final = 1_700_000_000 * SECOND
NODES: Final = ("JPN", "KOR", "USA")
SEEDS: Final = ("log_seed", "receipt_seed", "pq_seed", "sealing_mlkem768_seed", "sealing_x25519_private", "storage_key")
RULES: Final = """\
rules:
  - name: everything
    effect: release
    reason: A measurement
    kinds: [LaunchDetection, Track, ImpactPrediction, Correction, Cancellation, AllClear]
    traffic_classes: [LIVE, EXERCISE, TEST]
    ceiling: SECRET
    fields: [envelope@1, threat@1, launch@1, track@1, impact@1, recall@1]
"""


def keys(folder: Path) -> dict[str, NodeKeys]:
    """Every node's keys, the same for the same folder, so that a store that was kept can be verified."""
    path = folder / "seeds.json"
    if not path.exists():
        made = {node: NodeKeys.generate(gateway_key_pem=b"", gateway_certificate_pem=b"") for node in NODES}
        path.write_text(json.dumps({node: [getattr(made[node], name).hex() for name in SEEDS] for node in NODES}))
    return {
        node: NodeKeys(
            gateway_key_pem=b"",
            gateway_certificate_pem=b"",
            **dict(zip(SEEDS, map(bytes.fromhex, seeds), strict=True)),
        )
        for node, seeds in json.loads(path.read_text()).items()
    }


def partner(node: str, of: NodeKeys) -> Partner:
    """A node's public keys, as its trust bundle gives them."""
    public = of.public()
    return Partner(
        node=node,
        log=(LogPublicKey(public.log),),
        gateway=(Ed25519Verifier(gateway_key_name(node), public.log),),
        receipt=(Ed25519CosignatureVerifier(receipt_name(node), public.receipt),),
        pq=(MLDSA44CosignatureVerifier(pq_name(node), public.pq),),
        sealing=SealingPublicKey(public.sealing_mlkem768, public.sealing_x25519),
    )


def rulebook(node: str) -> Rulebook:
    """Everything goes to Japan and Korea, nothing to the United States."""
    files = {"policy.yaml": f"node: {node}\nposture: ROUTINE\n".encode()}
    for other in NODES:
        if other != node:
            text = "rules: []\n" if other == "USA" else RULES
            files[f"partners/{other}.yaml"] = f"partner: {other}\n{text}".encode()
    policy = compile_bundle(files)
    return Rulebook(policy, tuple(other for other in NODES if other != node), policy.posture)


class Node:
    """One node with a store, whose steps are made durable here."""

    def __init__(self, node: str, path: Path, of: dict[str, NodeKeys]) -> None:
        self.node = node
        self.signatory = Signatory.from_keys(node, of[node])
        self.partners = {other: partner(other, of[other]) for other in NODES if other != node}
        self.store = SqliteStore(path)
        self.heads = Heads.restore(self.store)
        self.verdicts = Verdicts.restore(self.store, self.signatory.storage)
        self.opener = Opener(node, self.signatory.sealing)
        self.rulebook = rulebook(node)
        self.now_ns = BEGAN

    def do(self, *steps: Step[Any]) -> list[Any]:
        """Several steps in one commit."""
        self.now_ns += SECOND // 20
        plan = Plan(
            self.heads, self.store, self.signatory, self.partners, lambda: self.now_ns, self.rulebook,
            verdicts=self.verdicts,
        )  # fmt: skip
        done = [step.apply(plan) for step in steps]
        plan.finish()
        self.store.commit(plan.commit)
        self.heads.adopt(plan.ledgers.changed, plan.ledgers.ended)
        self.verdicts.adopt(plan.given_verdicts)
        return done

    def send(self, other: Node, origin: Origin) -> None:
        """What another node does not have yet of an own ledger; its receipt comes back."""
        own = self.store.ledger(origin)
        assert own is not None
        while True:
            there = other.store.ledger(origin)
            run = self.store.run(own.id, 0 if there is None else there.size, 1 << 20)
            if run is None:
                return
            batch = IncomingBatch(origin, run.first, run.count, run.entries, [], run.checkpoint)
            (received,) = other.do(ReceiveBatch(batch, other.partners[self.node], other.opener, ReportLimits()))
            receipt = KeepCosignature(origin, CosignatureKind.RECEIPT, received.receipt, self.partners[other.node])
            self.do(receipt)


def reports(node: str, chance: random.Random) -> Iterator[report_pb2.Report]:
    """Tracks of one node, without end; one in a hundred takes back the one before it."""
    before = ""
    for number in itertools.count():
        report = report_pb2.Report(
            report_id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            originator_node=node,
            event_id=f"event-{number // 50}",
            traffic_class=report_pb2.TRAFFIC_CLASS_LIVE,
            precedence=report_pb2.PRECEDENCE_PRIORITY,
        )
        report.report_time.FromNanoseconds(BEGAN)
        report.marking.policy = node
        report.marking.classification = report_pb2.CLASSIFICATION_RESTRICTED
        report.marking.releasable_to.extend(other for other in NODES if other != node)
        if number % 100 == 99:
            report.cancellation.report_ids.append(before)
            report.cancellation.reason = report_pb2.WITHDRAWAL_REASON_FALSE_ALARM
        else:
            track = report.track
            track.track_id = str(uuid.UUID(int=number // 20 + 1, version=4))
            track.status = report_pb2.TRACK_STATUS_MAINTAINING
            track.point_type = report_pb2.TRACK_POINT_TYPE_ESTIMATED
            track.position.latitude_deg = chance.uniform(30, 45)
            track.position.longitude_deg = chance.uniform(125, 145)
            track.position.height_m = chance.uniform(0, 300_000)
        before = report.report_id
        yield report


def fill(path: Path, count: int, a_commit: int) -> float:
    """Makes a store of `count` own reports. Returns how many seconds that took."""
    of = keys(path.parent)
    began = told = time.monotonic()
    with tempfile.TemporaryDirectory(dir=path.parent) as beside:
        jpn, kor = Node("JPN", path, of), Node("KOR", Path(beside) / "kor.sqlite", of)
        own, theirs = reports("JPN", random.Random(1)), reports("KOR", random.Random(2))
        done = 0
        for turn in itertools.count():
            if done >= count:
                break
            some = list(itertools.islice(own, min(a_commit, count - done)))
            jpn.do(*(TakeReport.of(report, "spiffe://jpn/c2/radar", lambda _: True) for report in some))
            done += len(some)
            if turn % 10 == 0:
                sent = itertools.islice(theirs, a_commit)
                kor.do(*(TakeReport.of(report, "spiffe://kor/c2/radar", lambda _: True) for report in sent))
                exchange(jpn, kor)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                print(f"  {done:,} of {count:,} reports, {done / (told - began):,.0f} a second", file=sys.stderr)
        exchange(jpn, kor)
        jpn.store.close()
        kor.store.close()
    return time.monotonic() - began


def exchange(jpn: Node, kor: Node) -> None:
    """A beat of Japan's; what is new goes both ways and is confirmed, and Japan's ledgers are signed once more."""
    jpn.do(Beat(frozenset(jpn.partners)))
    for owner, other in ((jpn, kor), (kor, jpn)):
        for row in owner.store.ledgers():
            if row.origin.owner == owner.node and row.origin.recipient == other.node:
                owner.send(other, row.origin)
    for row in jpn.store.ledgers():
        if not row.replica:
            jpn.do(SignPostQuantum(row.origin))


def measured(path: Path) -> dict[str, float]:
    """Verifies a store, and says what that cost this process. Raises SystemExit where the store is not sound."""
    of = keys(path.parent)
    partners = {node: partner(node, of[node]) for node in NODES if node != "JPN"}
    store = SqliteReader(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, began_work = time.perf_counter(), time.process_time()
    store.damage()
    whole, whole_work = time.perf_counter() - began, time.process_time() - began_work
    began, began_work = time.perf_counter(), time.process_time()
    found = verify_store(store, Signatory.from_keys("JPN", of["JPN"]), partners)
    took, worked = time.perf_counter() - began, time.process_time() - began_work
    if not found.sound:
        raise SystemExit(f"the store is not sound: {found.findings[0]}")
    return {
        "reports": found.reports,
        "entries": sum(each.size for each in found.ledgers),
        "checkpoints": sum(each.checkpoints for each in found.ledgers),
        "file_mb": path.stat().st_size / 1e6,
        "file_check_s": whole,
        "file_check_processor_s": whole_work,
        "verify_s": took,
        "verify_processor_s": worked,
        "before_mb": before / 1024,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Fills and verifies, and writes a table and, where asked for, JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="10000,100000,1000000", help="reports in the store")
    parser.add_argument("--commit", type=int, default=16, help="reports a commit")
    parser.add_argument("--dir", default=None, help="where stores are made; by default the system's temporary files")
    parser.add_argument("--store", type=Path, default=None, help="a store that is kept, of the first size")
    parser.add_argument("--measure", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--json", default=None, help="also write the results to this file")
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measured(asked.measure)))
        return
    results = []
    for size in [int(size) for size in asked.sizes.split(",")][: 1 if asked.store else None]:
        with tempfile.TemporaryDirectory(dir=asked.dir) as directory:
            path = asked.store or Path(directory) / "store.sqlite"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                fill(path, size, asked.commit)
            # A process of its own: the largest size of this one is that of the filling.
            command = [sys.executable, __file__, "--measure", str(path)]
            results.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    print(f"{'reports':>10}{'entries':>12}{'file':>12}{'its check':>12}{'verify':>12}{'processor':>12}{'peak':>12}")
    for r in results:
        print(
            f"{r['reports']:>10,}{r['entries']:>12,}{r['file_mb']:>9,.0f} MB{r['file_check_s']:>10,.1f} s"
            f"{r['verify_s']:>10,.1f} s{r['verify_processor_s']:>10,.1f} s{r['peak_mb']:>9,.0f} MB"
        )
    if asked.json:
        Path(asked.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
