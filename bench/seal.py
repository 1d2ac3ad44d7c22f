"""What sealing costs: microseconds to seal and to open one entry, and to open an epoch and read one back.

Run from the top of the repository: ``PYTHONPATH=.:proto python bench/seal.py``.
Each figure is the best of five runs, in one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from timeit import repeat

from gateway.seal.epoch import Epoch
from gateway.seal.keys import SealingPrivateKey

ORIGIN = "signalfire/v1/JPN/KOR/flash/1"


def measure(what: str, step: Callable[[], object], times: int) -> None:
    """Print how long one call of `step` takes."""
    best = min(repeat(step, number=times, repeat=5)) / times
    print(f"{what:<32} {best * 1e6:8.1f} us")


def seal_next(epoch: Epoch, index: Iterator[int], content: bytes) -> bytes:
    """Seal at the next index: an epoch takes each one once."""
    return epoch.seal(next(index), content)


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=[400], metavar="BYTES", help="of a content; default: 400")
    sizes = parser.parse_args().sizes
    recipient, origin = SealingPrivateKey.generate(), SealingPrivateKey.generate()
    readers = [("KOR", recipient.public), ("JPN", origin.public)]
    epoch, opening = Epoch.open_new(ORIGIN, 0, readers)
    reader = Epoch.from_opening(ORIGIN, opening, 0, "KOR", [recipient])
    measure("open an epoch for two readers", lambda: Epoch.open_new(ORIGIN, 0, readers), 200)
    measure("read an epoch back", lambda: Epoch.from_opening(ORIGIN, opening, 0, "KOR", [recipient]), 200)
    index = count(1)
    for size in sizes:
        content = bytes(size)
        first = next(index)
        entry = epoch.seal(first, content)
        measure(f"seal {size} bytes", partial(seal_next, epoch, index, content), 5000)
        measure(f"open {size} bytes", partial(reader.open, first, entry), 5000)


if __name__ == "__main__":
    main()
