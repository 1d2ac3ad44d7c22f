"""Whoever follows a partner ends within a second of being told to, whatever it is at: dialling, reading or pausing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from signalfire.v1 import exchange_pb2_grpc

from gateway.client import Client, Connector
from gateway.demo.deployment import Deployed
from gateway.exchange.allowance import Allowance
from gateway.exchange.dialling import LinkError
from gateway.exchange.server import ExchangeLimits
from gateway.exchange.way import LOST_REASON, Forks, Way
from tests.exchange.relaying import allow, relayed, three
from tests.faults.between import links, reached_at
from tests.node.nations import World, running, settle, until
