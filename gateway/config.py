"""The configuration of one gateway: one YAML file, strictly read. docs/configuration.md explains every key.

Everything in it is checked before anything starts: an unknown key, a value of the wrong kind and a file that is not
there
are errors with file, line, what and how to mend it, all of them at once. Paths are relative to the file's own
directory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator
from signalfire.v1 import report_pb2

from gateway.alarms import AlarmLimits
from gateway.c2.grants import Grant, PushGrant, ReadGrant
from gateway.c2.limits import C2Limits
from gateway.c2.quotas import QuotaLimits
from gateway.config_limits import LimitsSection, Section
from gateway.exchange.limits import ExchangeLimits
from gateway.identity.key_names import root_key_name
from gateway.identity.locked import KeyLock, Unwrapper
from gateway.identity.unlocking import Command, KeyFile, Passphrase
from gateway.ledger.errors import NoteError
from gateway.ledger.note import Ed25519Verifier
from gateway.officer.access import OfficerLimits
from gateway.release.letting_go import Retention
from gateway.release.room import StoreLimits
from gateway.release.sequencer import SequencerLimits
from gateway.release.witness import WitnessLimits
from gateway.reports.kinds import Kind
from gateway.synchronisation import Synchronised
from policy.countries import NODE_CODES
from policy.errors import Problem, did_you_mean
from policy.limits import Limits as YamlLimits
from policy.vocabulary import Classification, TrafficClass
from policy.yaml_source import line_of, plain, read

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PREFIX: Final = "PRECEDENCE_"

PRECEDENCES: Final = {name.removeprefix(_PREFIX): value for name, value in report_pb2.Precedence.items() if value}
"""Precedences by the officer's word."""


class ConfigError(Exception):
    """A configuration is refused. `problems` holds everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


def _node(value: str) -> str:
    if value not in NODE_CODES:
        raise ValueError(f'"{value[:16]}" is not an ISO 3166-1 alpha-3 code, such as JPN')
    return value


def _address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or int(match[2]) > 65535:
        raise ValueError(f'"{value[:64]}" is not an address, such as 127.0.0.1:7101')
    return value


def _client_name(value: str) -> str:
    if _NAME.fullmatch(value) is None:
        raise ValueError(f'"{value[:64]}" is not the name of a C2 system, such as sensor-net')
    return value


def _word(value: str, words: Mapping[str, Any], what: str) -> str:
    if value not in words:
        raise ValueError(f'"{value[:32]}" is not a {what}. {did_you_mean(value, words)}')
    return value


def _root(value: str) -> str:
    try:
        Ed25519Verifier.from_vkey(value)
    except NoteError as error:
        raise ValueError(f"is not the verifier key of a root: {error}") from error
    return value


Node = Annotated[str, AfterValidator(_node)]
Root = Annotated[str, AfterValidator(_root)]
Address = Annotated[str, AfterValidator(_address)]
ClientName = Annotated[str, AfterValidator(_client_name)]
KindName = Annotated[str, AfterValidator(lambda v: _word(v, {k.value: k for k in Kind}, "kind of report"))]
TrafficName = Annotated[str, AfterValidator(lambda v: _word(v, TrafficClass.__members__, "traffic class"))]
PrecedenceName = Annotated[str, AfterValidator(lambda v: _word(v, PRECEDENCES, "precedence"))]
LevelName = Annotated[str, AfterValidator(lambda v: _word(v, Classification.__members__, "classification"))]


class Listener(Section):
    """Where one side is served."""

    listen: Address


class PartnerSection(Section):
    """One partner: its offline root's verifier key, confirmed in person, and its trust bundle."""

    root: Root
    bundle: Path


class TrustSection(Section):
    """This node's own trust bundle, and its offline root's verifier key."""

    root: Root
    bundle: Path


class UnlockSection(Section):
    """How the keys directory is unlocked: exactly one way."""

    passphrase_file: Path | None = None
    key_file: Path | None = None
    command: list[str] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> UnlockSection:
        if sum(way is not None for way in (self.passphrase_file, self.key_file, self.command)) != 1:
            raise ValueError("give exactly one of passphrase_file, key_file and command")
        if self.command is not None and not (self.command and Path(self.command[0]).is_absolute()):
            raise ValueError("command is a list that begins with the absolute path of a program")
        return self

    def files(self) -> dict[str, Path]:
        """The files that are named, by key."""
        named = {"passphrase_file": self.passphrase_file, "key_file": self.key_file}
        return {name: path for name, path in named.items() if path is not None}

    def unwrapper(self) -> Unwrapper:
        """The same as what unwraps the key."""
        if self.passphrase_file is not None:
            return Passphrase.of_file(self.passphrase_file)
        if self.key_file is not None:
            return KeyFile(self.key_file)
        return Command(tuple(self.command or ()))


class PushSection(Section):
    """What a C2 system may push."""

    stations: list[Annotated[str, Field(min_length=1, max_length=65)]]
    kinds: list[KindName]
    traffic_classes: list[TrafficName]
    precedences: list[PrecedenceName]
    ceiling: LevelName


class ReadSection(Section):
    """What a C2 system may read."""

    traffic_classes: list[TrafficName]
    ceiling: LevelName
    caveats: list[str] = Field(default_factory=list)


class ClientSection(Section):
    """What one C2 system may do."""

    push: PushSection | None = None
    read: ReadSection | None = None

    def grant(self) -> Grant:
        """The same as a value."""
        push = (
            None
            if self.push is None
            else PushGrant(
                frozenset(self.push.stations),
                frozenset(Kind(kind) for kind in self.push.kinds),
                frozenset(int(TrafficClass[name]) for name in self.push.traffic_classes),
                frozenset(int(PRECEDENCES[name]) for name in self.push.precedences),
                report_pb2.Classification.Value(f"CLASSIFICATION_{self.push.ceiling}"),
            )
        )
        read = (
            None
            if self.read is None
            else ReadGrant(
                frozenset(int(TrafficClass[name]) for name in self.read.traffic_classes),
                report_pb2.Classification.Value(f"CLASSIFICATION_{self.read.ceiling}"),
                frozenset(self.read.caveats),
            )
        )
        return Grant(push, read)


class RetentionSection(Section):
    """For how many days contents are kept (`Retention`); absent: for ever."""

    reports_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    entries_days: Annotated[int, Field(ge=1, le=36_500)] | None = None

    def days(self) -> Retention:
        """The same as a value."""
        return Retention(self.reports_days, self.entries_days)


class ClockSection(Section):
    """What is asked of the machine's clock (`gateway.synchronisation`)."""

    synchronised: Synchronised = Synchronised.IF_KNOWN


class Config(Section):
    """The configuration of one gateway."""

    node: Node
    keys: Path
    unlock: UnlockSection | None = None
    trust: TrustSection | None = None
    store: Path
    roster: Path
    policy: Path | None = None
    order: Path | None = None
    national: Listener
    exchange: Listener
    metrics: Listener | None = None
    partners: dict[Node, PartnerSection]
    clients: dict[ClientName, ClientSection]
    retention: RetentionSection = RetentionSection()
    clock: ClockSection = ClockSection()
    limits: LimitsSection = LimitsSection()

    @model_validator(mode="after")
    def _not_its_own_partner(self) -> Config:
        if self.node in self.partners:
            raise ValueError(f"{self.node} is its own partner; name other nodes")
        return self

    @model_validator(mode="after")
    def _own_root_is_its_own(self) -> Config:
        if self.trust is not None:
            name = Ed25519Verifier.from_vkey(self.trust.root).name
            if name != root_key_name(self.node):
                raise ValueError(f'the root in trust is the key "{name}", not "{root_key_name(self.node)}"')
        return self

    @model_validator(mode="after")
    def _each_root_is_its_partners(self) -> Config:
        for node, partner in self.partners.items():
            name = Ed25519Verifier.from_vkey(partner.root).name
            if name != root_key_name(node):
                raise ValueError(f'the root of partner {node} is the key "{name}", not "{root_key_name(node)}"')
        return self

    def key_lock(self) -> KeyLock:
        """The lock of the keys directory, and what opens it: one object for the process, since opening takes time."""
        return KeyLock(self.keys, None if self.unlock is None else self.unlock.unwrapper())

    def grants(self) -> dict[str, Grant]:
        """What each C2 system may do, by SPIFFE ID."""
        return {f"spiffe://{self.node.lower()}/c2/{name}": client.grant() for name, client in self.clients.items()}

    def exchange_limits(self) -> ExchangeLimits:
        """The limits of the exchange."""
        return ExchangeLimits(**self.limits.exchange.model_dump())

    def commit_limits(self) -> SequencerLimits:
        """The limits of a commit."""
        return SequencerLimits(**self.limits.commits.model_dump())

    def officer_limits(self) -> OfficerLimits:
        """The limits of officers."""
        return OfficerLimits(**self.limits.officers.model_dump())

    def witness_limits(self) -> WitnessLimits:
        """The limits of witness ledgers."""
        return WitnessLimits(**self.limits.witness.model_dump())

    def alarm_limits(self) -> AlarmLimits:
        """When something becomes an alarm."""
        return AlarmLimits(**self.limits.alarms.model_dump())

    def store_limits(self) -> StoreLimits:
        """How much room is kept free for the store."""
        return StoreLimits(**self.limits.store.model_dump())

    def quotas(self) -> QuotaLimits:
        """What each C2 system may push."""
        return QuotaLimits(**self.limits.quotas.model_dump())

    def c2_limits(self) -> C2Limits:
        """The limits of the national side."""
        return C2Limits(**self.limits.c2.model_dump())


def load(path: Path, *, files_needed: bool = True) -> Config:
    """The configuration in `path`, its paths made absolute. Raises ConfigError, where `files_needed` also for what it
    names and is not there.
    """
    name = str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(name, 0, f"The file cannot be read: {error.strerror}.", "Name a file.")]) from error
    document, problems = read(name, raw, YamlLimits())
    if document is None or problems:
        raise ConfigError(problems)
    try:
        config = Config.model_validate(plain(document))
    except ValidationError as error:
        raise ConfigError([_problem(name, document, detail) for detail in error.errors()]) from error
    base = path.resolve().parent
    config = config.model_copy(
        update={
            "keys": base / config.keys,
            "unlock": None
            if config.unlock is None
            else config.unlock.model_copy(update={name: base / path for name, path in config.unlock.files().items()}),
            "trust": None
            if config.trust is None
            else config.trust.model_copy(update={"bundle": base / config.trust.bundle}),
            "store": base / config.store,
            "roster": base / config.roster,
            "policy": None if config.policy is None else base / config.policy,
            "order": None if config.order is None else base / config.order,
            "partners": {
                node: partner.model_copy(update={"bundle": base / partner.bundle})
                for node, partner in config.partners.items()
            },
        }
    )
    if not files_needed:
        return config
    missing = [
        Problem(name, line_of(document, where), f'There is no "{found}".', "Correct the path, or put it there.")
        for where, found in (
            (("keys",), config.keys),
            *((("unlock", name), path) for name, path in (config.unlock.files() if config.unlock else {}).items()),
            (("trust", "bundle"), None if config.trust is None else config.trust.bundle),
            (("roster",), config.roster),
            (("policy",), config.policy),
            (("order",), config.order),
            (("store",), config.store.parent),
            *((("partners", node, "bundle"), partner.bundle) for node, partner in config.partners.items()),
        )
        if found is not None and not found.exists()
    ]
    if missing:
        raise ConfigError(missing)
    return config


def _problem(name: str, document: Any, detail: Any) -> Problem:
    """One of pydantic's findings in words, with its line."""
    where = tuple(step for step in detail["loc"] if step != "[key]")
    line = line_of(document, where)
    shown = ".".join(str(step) for step in where) or "the file"
    match detail["type"]:
        case "extra_forbidden":
            return Problem(
                name, line, f'"{shown}" is not a known key.', did_you_mean(str(where[-1]), _keys_at(where[:-1]))
            )
        case "missing":
            return Problem(name, line, f'"{shown}" is missing.', "Add it; docs/configuration.md explains it.")
        case "value_error":
            return Problem(name, line, f"{shown}: {detail['ctx']['error']}.", "")
        case _:
            return Problem(name, line, f"{shown}: {detail['msg']}.", "See docs/configuration.md.")


def _keys_at(where: tuple[Any, ...]) -> list[str]:
    """The keys that the section at `where` may have."""
    model: Any = Config
    for step in where:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(step))
            if field is None:
                return []
            model = field.annotation
        else:
            # A mapping by name, or a list: the step names one of its sections.
            model = _section(model)
    model = _section(model)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _section(annotation: Any) -> Any:
    """The section's model itself, or inside an optional or a mapping of sections."""
    for inner in getattr(annotation, "__args__", ()):
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return inner
    return annotation
