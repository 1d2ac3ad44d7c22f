"""How each kind of fault is brought about. A strike returns when it is over; then what it struck has to recover."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.between import Links
from tests.faults.disk import Fault as DiskFault
from tests.faults.disk import Op, What
from tests.faults.machine import Machine
from tests.faults.proxy import CLEAR, Proxy, Shape
from tests.faults.schedule import DISKS, Fault, Kind
from tests.faults.systems import Pusher, Reader

READY_S: Final = 60.0
"""Seconds that a gateway may take to start."""

SLOW: Final = Shape(latency_s=0.3, jitter_s=0.2, bytes_per_s=20_000)
"""A link over a satellite that is nearly full."""

CORRUPT: Final = Shape(flip_chance=0.05)

UP_S: Final = (0.2, 1.5)
DOWN_S: Final = (0.1, 1.0)
"""How long a link that flaps is up, and down."""


@dataclass(frozen=True, slots=True)
class Field:
    """Everything that can be struck."""

    machines: Mapping[str, Machine]
    links: Links
    pushers: Mapping[str, Pusher]
    readers: Mapping[str, Reader]
    scratch: Path
    """A directory for backups."""
    turns: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """By thing that is struck."""


async def strike(fault: Fault, here: Field) -> bool:
    """Brings it about, and ends it. On a slow machine what struck the same thing before is waited for, and a gateway
    that still starts where the fault is not its end: a clock that is wrong from the start is another fault than one
    that jumps, and a process that heeds no signals yet ends by them, not in order.

    Returns whether it came about: its operation may not have come.
    """
    async with here.turns[fault.struck]:
        if fault.kind in DISKS or fault.kind is Kind.RESTART:
            await here.machines[fault.node].ready(READY_S)
        return await _STRIKES[fault.kind](fault, here) is not False


# --- a gateway's process


async def _kill(fault: Fault, here: Field) -> None:
    machine = here.machines[fault.node]
    machine.kill()
    await asyncio.sleep(fault.lasts_s)
    machine.start()


async def _freeze(fault: Fault, here: Field) -> None:
    machine = here.machines[fault.node]
    machine.freeze()
    try:
        await asyncio.sleep(fault.lasts_s)
    finally:
        machine.thaw()


async def _restart(fault: Fault, here: Field) -> None:
    machine = here.machines[fault.node]
    machine.wanted = False
    code = await asyncio.to_thread(machine.stop)
    if code != 0:
        machine.deaths.append(f"the gateway of {fault.node} was told to stop, and ended with exit code {code}")
    await asyncio.sleep(fault.lasts_s)
    machine.start()


# --- its disk and its clock


async def _end_at_io(fault: Fault, here: Field, what: What) -> bool:
    """It ends at one of the next operations on its disk, whichever that is."""
    machine = here.machines[fault.node]
    machine.dying = True
    try:
        await machine.told(arm=[DiskFault(what, nth=1 + fault.chance % 400)])
        met = await machine.died(fault.lasts_s)
        if not met:
            machine.kill()
        machine.wanted = False
    finally:
        machine.dying = False
    machine.start()
    return met


async def _kill_at_io(fault: Fault, here: Field) -> bool:
    return await _end_at_io(fault, here, What.KILL)


async def _power_loss(fault: Fault, here: Field) -> bool:
    return await _end_at_io(fault, here, What.POWER)


async def _io_error(fault: Fault, here: Field) -> bool:
    """One operation fails, or three, or all until it is over."""
    machine = here.machines[fault.node]
    chance = random.Random(fault.chance)
    op = chance.choice((Op.WRITE, Op.SYNC, Op.READ))
    times = chance.choice((1, 3, 0))
    nth = chance.randint(1, 10)
    await machine.told(arm=[DiskFault(What.IO_ERROR, nth=nth, ops=frozenset({op}), times=times)])
    await asyncio.sleep(fault.lasts_s)
    told = await machine.told(mend=True)
    return bool(told.get("met", {}).get(What.IO_ERROR.value))


async def _disk_full(fault: Fault, here: Field) -> None:
    await _while_told(fault, here, full=True)


async def _read_only(fault: Fault, here: Field) -> None:
    await _while_told(fault, here, read_only=True)


async def _old_backup(fault: Fault, here: Field) -> None:
    """What was acknowledged after the backup is gone from the store. Whether somebody tells the gateway is chance."""
    machine = here.machines[fault.node]
    backup = here.scratch / fault.node
    machine.kill()
    machine.back_up(backup)
    machine.start()
    await machine.ready(READY_S)
    await asyncio.sleep(fault.lasts_s)
    machine.kill()
    machine.restore(backup)
    machine.start(restored=fault.told)


async def _lost_store(fault: Fault, here: Field) -> None:
    machine = here.machines[fault.node]
    machine.kill()
    machine.lose_store()
    await asyncio.sleep(fault.lasts_s)
    machine.start(restored=fault.told)


async def _while_told(fault: Fault, here: Field, **what: bool) -> None:
    machine = here.machines[fault.node]
    await machine.told(**what)
    await asyncio.sleep(fault.lasts_s)
    await machine.told(mend=True)


async def _clock_jump(fault: Fault, here: Field) -> None:
    machine = here.machines[fault.node]
    chance = random.Random(fault.chance)
    machine.set_clock(chance.choice((-1, 1)) * chance.choice((5.0, 90.0, 4000.0)))
    try:
        await asyncio.sleep(fault.lasts_s)
    finally:
        machine.set_clock(0.0)


# --- a link


async def _on_link(fault: Fault, here: Field, begin: Callable[[Proxy], None]) -> None:
    links = here.links.between(fault.node, fault.partner)
    for link in links:
        await asyncio.to_thread(begin, link)
    try:
        await asyncio.sleep(fault.lasts_s)
    finally:
        for link in links:
            await asyncio.to_thread(link.shape, CLEAR)
            await asyncio.to_thread(link.heal)


async def _cut(fault: Fault, here: Field) -> None:
    await _on_link(fault, here, Proxy.cut)


async def _hole(fault: Fault, here: Field) -> None:
    await _on_link(fault, here, Proxy.hole)


async def _silent(fault: Fault, here: Field) -> None:
    await _on_link(fault, here, Proxy.silent)


async def _slow(fault: Fault, here: Field) -> None:
    await _on_link(fault, here, lambda link: link.shape(SLOW))


async def _corrupt(fault: Fault, here: Field) -> None:
    await _on_link(fault, here, lambda link: link.shape(CORRUPT))


async def _flap(fault: Fault, here: Field) -> None:
    await _on_link(fault, here, lambda link: link.flap(UP_S, DOWN_S))


# --- C2 systems


async def _pusher_crash(fault: Fault, here: Field) -> None:
    pusher = here.pushers[fault.node]
    await pusher.crash()
    await asyncio.sleep(fault.lasts_s)
    pusher.start()


async def _reader_crash(fault: Fault, here: Field) -> None:
    reader = here.readers[fault.node]
    await reader.crash()
    await asyncio.sleep(fault.lasts_s)
    reader.start()


_STRIKES: Final[Mapping[Kind, Callable[[Fault, Field], Awaitable[bool | None]]]] = {
    Kind.KILL: _kill,
    Kind.FREEZE: _freeze,
    Kind.RESTART: _restart,
    Kind.KILL_AT_IO: _kill_at_io,
    Kind.POWER_LOSS: _power_loss,
    Kind.IO_ERROR: _io_error,
    Kind.DISK_FULL: _disk_full,
    Kind.READ_ONLY: _read_only,
    Kind.CLOCK_JUMP: _clock_jump,
    Kind.OLD_BACKUP: _old_backup,
    Kind.LOST_STORE: _lost_store,
    Kind.CUT: _cut,
    Kind.HOLE: _hole,
    Kind.SILENT: _silent,
    Kind.SLOW: _slow,
    Kind.FLAP: _flap,
    Kind.CORRUPT: _corrupt,
    Kind.PUSHER_CRASH: _pusher_crash,
    Kind.READER_CRASH: _reader_crash,
}

STRIKES: Final[Sequence[Kind]] = tuple(_STRIKES)
"""Every kind that can be brought about."""
