"""The service manager hears that the gateway is ready and alive, and does not hear it of one that is stuck."""

from __future__ import annotations

import asyncio
import configparser
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.watchdog import LAG_EVERY_S, ServiceManager, keep_telling, measure_lag

UNIT = Path(__file__).parents[1] / "ops" / "systemd" / "signalfire.service"


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def everything(heard: socket.socket) -> list[str]:
    told = []
    try:
        while True:
            told.append(heard.recv(4096).decode())
    except BlockingIOError:
        return told


def test_what_is_told_arrives_as_lines_of_the_protocol(heard: socket.socket) -> None:
    manager = ServiceManager(heard.getsockname())
    manager.tell(READY="1", STATUS="takes\nreports")
    assert everything(heard) == ["READY=1\nSTATUS=takes reports"]


def test_without_a_service_manager_or_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    ServiceManager().tell(READY="1")
    ServiceManager(str(tmp_path / "nobody")).tell(READY="1")


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "20000000"}, 20.0),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7"}, 20.0),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "8"}, None),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "soon"}, None),
        ({"NOTIFY_SOCKET": "/run/n"}, None),
    ],
)
def test_the_watchdog_is_that_of_this_process(environment: dict[str, str], watchdog_s: float | None) -> None:
    assert ServiceManager.of(environment, 7) == ServiceManager("/run/n", watchdog_s)


async def test_the_watchdog_is_told_twice_in_its_time_and_the_status_when_it_changes(heard: socket.socket) -> None:
    slept: list[float] = []
    states = iter(["takes reports", "takes reports", "the disk is full"])

    async def alive() -> None:
        pass

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await keep_telling(ServiceManager(heard.getsockname(), 20.0), alive, lambda: next(states), sleep)
    assert slept == [10.0] * 3
    assert everything(heard) == [
        "WATCHDOG=1", "STATUS=takes reports", "WATCHDOG=1", "WATCHDOG=1", "STATUS=the disk is full",
    ]  # fmt: skip


async def test_a_sequencer_that_is_stuck_is_not_said_to_be_alive(heard: socket.socket) -> None:
    stuck = asyncio.Event()

    async def alive() -> None:
        await stuck.wait()

    telling = asyncio.create_task(keep_telling(ServiceManager(heard.getsockname(), 20.0), alive, lambda: "all is well"))
    await asyncio.sleep(0)
    assert everything(heard) == []
    stuck.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert "WATCHDOG=1" in everything(heard)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def test_the_lag_of_the_event_loop_is_what_a_sleep_takes_too_long() -> None:
    now = 100.0
    lags: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds + 0.7
        if len(lags) == 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await measure_lag(lags.append, lambda: now, sleep)
    assert lags == [pytest.approx(0.7)] * 2
    assert LAG_EVERY_S > 0


def test_the_unit_has_the_watchdog_and_takes_away_what_a_gateway_does_not_need() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # names of systemd keep their case
    unit.read_string(UNIT.read_text(encoding="utf-8"))
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 10
    assert service["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert service["ExecStart"].endswith("signalfire serve --config /etc/signalfire/gateway.yaml")
    assert service["CapabilityBoundingSet"] == ""
    for name in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "RestrictNamespaces"):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict"
    # What says whether the clock is synchronised must be left to it.
    assert "ProtectClock" not in service
    assert "adjtimex" in service["SystemCallFilter"]
    assert os.path.isabs(service["ReadWritePaths"])
