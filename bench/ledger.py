"""What the ledger alone costs, in the embedded store, as it grows: appends, proofs, and opening.

Run from the top of the repository: ``PYTHONPATH=.:proto python bench/ledger.py [--sizes 1000,1000000] [--json FILE]``.
One ledger grows through the sizes; at each of them is measured:

- appends: entries a second by the entries of one commit. A commit is what the sequencer makes of it: the leaves are
  hashed, tiles written, the checkpoint is signed with Ed25519, and all is durable (an fsync) when it is counted;
- an inclusion proof of an entry at a random place, read from the stored tiles, and how many tiles that takes;
- the same for a consistency proof from a random size;
- opening: from the closed file to heads that take the next entry, once with the file in the system's cache and once
  after it was put out of it.

Entries are 32 random bytes: what an entry holds is no matter of the ledger. Needs some 200 bytes of disk an entry, in
``--dir``, and takes it away at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import Append, Commit, LedgerId, LedgerRow
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.ledger.tiles import Edge, node_reader
from gateway.release.heads import Heads

LEDGER = LedgerId(1)
ORIGIN = Origin.release("JPN", "KOR", Lane.FLASH, 1)
BATCHES = (1, 16, 256, 1024)
COMMITS, ENTRIES = 1024, 1 << 17
"""A batch size is measured until there were so many commits, or entries: a small ledger must not become a large one."""
PROOFS = 500
FILL = 4096
"""Entries a commit while the ledger grows to the next size."""


@dataclass
class Growing:
    """A ledger in a store of its own."""

    path: Path
    store: SqliteStore
    edge: Edge = field(default_factory=Edge.empty)
    key: LogKey = field(default_factory=lambda: LogKey(os.urandom(32)))

    def append(self, count: int) -> None:
        """Appends so many entries in one commit."""
        entries = [os.urandom(32) for _ in range(count)]
        first = self.edge.size
        edge, tiles = self.edge.grow([leaf_hash(entry) for entry in entries])
        root = edge.root()
        note = sign_checkpoint(Checkpoint(ORIGIN, edge.size, root), self.key).encode()
        self.store.commit(Commit(appends=[Append(LEDGER, first, count, bundle.encode(entries), tiles, root, note)]))
        self.edge = edge

    def grow_to(self, size: int) -> None:
        """Appends until the ledger has `size` entries."""
        told = time.monotonic()
        while self.edge.size < size:
            self.append(min(FILL, size - self.edge.size))
            if time.monotonic() - told > 10:
                told = time.monotonic()
                print(f"  {self.edge.size:,} of {size:,} entries", file=sys.stderr)

    def appends_a_second(self, batch: int) -> float:
        """Entries a second, in commits of `batch`."""
        commits = min(COMMITS, ENTRIES // batch)
        began = time.perf_counter()
        for _ in range(commits):
            self.append(batch)
        return commits * batch / (time.perf_counter() - began)

    def measured_appends(self) -> dict[str, float]:
        """The same for each batch size, in a copy, so that the ledger keeps its size."""
        self.store.close()
        copy = Path(shutil.copy(self.path, self.path.with_name("copy.sqlite")))
        self.store = SqliteStore(self.path)
        with copy.open("rb") as file:
            # Or the first commits would wait for the copy to reach the disk.
            os.fsync(file.fileno())
        rates: dict[str, float] = {}
        for batch in BATCHES:
            growing = Growing(copy, SqliteStore(copy))
            head = Heads.restore(growing.store).get(ORIGIN)
            assert head is not None
            growing.edge = head.edge
            rates[f"appends_{batch}"] = growing.appends_a_second(batch)
            growing.store.close()
        copy.unlink()
        return rates

    def proofs(self) -> dict[str, float]:
        """Microseconds of one proof, the median and the 99th of a hundred, and the tiles that one reads."""
        size, root = self.edge.size, self.edge.root()
        reads = 0

        def read_tile(level: int, index: int) -> bytes:
            nonlocal reads
            reads += 1
            return self.store.tile(LEDGER, level, index) or b""

        inclusion, consistency = [], []
        tiles = 0
        for _ in range(PROOFS):
            index = random.randrange(size)
            reads = 0
            began = time.perf_counter()
            proof = inclusion_proof(index, size, node_reader(size, read_tile, self.edge))
            inclusion.append(time.perf_counter() - began)
            tiles = max(tiles, reads)
            entry = self.store.entry(LEDGER, index)
            assert entry is not None
            verify_inclusion(leaf_hash(entry), index, size, proof, root)
            old = random.randrange(1, size)
            began = time.perf_counter()
            consistency_proof(old, size, node_reader(size, read_tile, self.edge))
            consistency.append(time.perf_counter() - began)
        return {
            "inclusion_us": statistics.median(inclusion) * 1e6,
            "inclusion_p99_us": statistics.quantiles(inclusion, n=100)[98] * 1e6,
            "inclusion_tiles": tiles,
            "consistency_us": statistics.median(consistency) * 1e6,
        }

    def open(self, *, cold: bool) -> float:
        """Seconds from the closed file to heads that take the next entry. The store is open again afterwards."""
        size, root = self.edge.size, self.edge.root()
        self.store.close()
        if cold:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.perf_counter()
        self.store = SqliteStore(self.path)
        head = Heads.restore(self.store).get(ORIGIN)
        took = time.perf_counter() - began
        assert head is not None
        assert (head.edge.size, head.edge.root()) == (size, root)
        self.edge = head.edge
        return took


def self_check(growing: Growing) -> None:
    """That what is measured is right: an old tree is a prefix of this one."""
    size, old = growing.edge.size, growing.edge.size // 2
    read = node_reader(size, lambda level, index: growing.store.tile(LEDGER, level, index) or b"", growing.edge)
    half = growing.store.checkpoint(LEDGER, size)
    assert half is not None
    rebuilt, _ = Edge.empty().grow(growing.store.leaves(LEDGER, 0, old))
    proof = consistency_proof(old, size, read)
    verify_consistency(old, size, rebuilt.root(), growing.edge.root(), proof)


def main() -> None:
    """Measures, and writes a table and, where asked for, JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1000,10000,100000,1000000,10000000")
    parser.add_argument("--dir", default=None, help="where the store is made; by default the system's temporary files")
    parser.add_argument("--json", default=None, help="also write the results to this file")
    asked = parser.parse_args()
    results: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(dir=asked.dir) as directory:
        path = Path(directory) / "ledger.sqlite"
        growing = Growing(path, SqliteStore(path))
        growing.store.commit(Commit(ledgers=[LedgerRow(LEDGER, ORIGIN, False, 0, EMPTY_ROOT)]))
        for size in sorted(int(size) for size in asked.sizes.split(",")):
            began = time.perf_counter()
            growing.grow_to(size)
            result: dict[str, float] = {"size": growing.edge.size, "fill_seconds": time.perf_counter() - began}
            if size <= 10_000:
                self_check(growing)
            result["open_ms"] = statistics.median(growing.open(cold=False) for _ in range(5)) * 1e3
            result["open_cold_ms"] = growing.open(cold=True) * 1e3
            result |= growing.proofs()
            result |= growing.measured_appends()
            result["file_mb"] = path.stat().st_size / 1e6
            results.append(result)
            print(f"{size:,} entries: {json.dumps(result)}", file=sys.stderr)
        growing.store.close()
    print(f"{'entries':>12}" + "".join(f"{f'{batch} a commit':>15}" for batch in BATCHES) + "   entries a second")
    for result in results:
        print(f"{result['size']:>12,.0f}" + "".join(f"{result[f'appends_{batch}']:>15,.0f}" for batch in BATCHES))
    heads = ("inclusion", "99 of 100", "tiles", "consistency", "open", "open, cold")
    print(f"\n{'entries':>12}" + "".join(f"{head:>15}" for head in heads))
    for r in results:
        proofs = f"{r['inclusion_us']:>12,.0f} us{r['inclusion_p99_us']:>12,.0f} us{r['inclusion_tiles']:>15.0f}"
        opening = f"{r['open_ms']:>12,.1f} ms{r['open_cold_ms']:>12,.1f} ms"
        print(f"{r['size']:>12,.0f}{proofs}{r['consistency_us']:>12,.0f} us{opening}")
    if asked.json:
        Path(asked.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
