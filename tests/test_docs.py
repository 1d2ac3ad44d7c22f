"""The documents leave nothing out, point at what is there, and show what works.

What has to be documented is read from the code: models, commands, metrics, descriptors. A new setting, option, metric,
method or refusal fails here until its page has it.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin

import click
import pytest
from click.testing import CliRunner
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from pydantic import BaseModel
from signalfire.v1 import c2_pb2, exchange_pb2, ledger_pb2, officer_pb2, report_pb2

import policy
from gateway.cli import main
from gateway.cli.audit_filters import EVENT_KINDS
from gateway.cli.connecting import PARTLY
from gateway.config import Config
from gateway.identity.errors import Refusal
from gateway.ledger.stores.sqlite import schema
from gateway.release.orders import EVENTS
from gateway.release.passing import WITHDRAWN, WITHDRAWN_HELD
from gateway.release.rulebook import NO_BUNDLE, NO_CLOCK, NO_POLICY
from gateway.reports.limits import ReportLimits
from gateway.reports.validate import validate_submitted
from gateway.telemetry import Telemetry
from policy import bundle, yaml_source
from policy.approve import Reason
from policy.decision import BuiltIn

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/*/README.md")])
EACH_PAGE: Final = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or higher."""
    lines = text(page).splitlines()
    start = lines.index(heading)
    level = len(heading) - len(heading.lstrip("#"))
    end = next((at for at in range(start + 1, len(lines)) if re.match(rf"#{{1,{level}}} ", lines[at])), len(lines))
    return "\n".join(lines[start:end])


def blocks(page: Path | str, language: str) -> list[str]:
    found = re.findall(rf"^[ ]*```{language}\n(.*?)^[ ]*```", text(str(page)), re.DOTALL | re.MULTILINE)
    return [str(block) for block in found]


# --- configuration


def keys(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a section that holds a value, with its default; mappings by the word that stands for their keys."""
    for name, field in model.model_fields.items():
        where = f"{path}{name}"
        kind = field.annotation
        if get_origin(kind) in (Union, UnionType):
            (kind,) = (part for part in get_args(kind) if part is not NoneType)
        if get_origin(kind) is dict:
            key = {"partners": "<NODE>", "clients": "<name>"}[name]
            yield from keys(get_args(kind)[1], f"{where}.{key}.")
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from keys(kind, f"{where}.")
        else:
            yield where, field.default


KEYS: Final = dict(keys(Config))


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_configuration_has_a_row(key: str) -> None:
    assert f"\n| `{key}` |" in text("docs/configuration.md")


@pytest.mark.parametrize("key", [key for key in KEYS if key.startswith("limits.")])
def test_every_limit_is_given_with_its_default(key: str) -> None:
    (row,) = re.findall(rf"\| `{re.escape(key)}` \|(.*)\|", text("docs/configuration.md"))
    default = KEYS[key]
    assert json.loads(row.split("|")[1]) == (list(default) if isinstance(default, tuple) else default)


def test_the_configuration_that_is_shown_is_valid() -> None:
    (shown,) = blocks("docs/configuration.md", "yaml")
    document, problems = yaml_source.read("gateway.yaml", shown.encode(), policy.Limits())
    assert document is not None
    assert not problems
    Config.model_validate(yaml_source.plain(document))


# --- commands


def commands(command: click.Command, path: str = "signalfire") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, f"{path} {name}")
    else:
        yield path, command


COMMANDS: Final = dict(commands(main))
CONNECTING: Final = {"--credentials", "--gateway", "--gateway-name"}


def options(command: click.Command) -> set[str]:
    return {max(p.opts, key=len) for p in command.params if isinstance(p, click.Option)}


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_a_section_with_each_of_its_options(path: str) -> None:
    shown = section("docs/cli.md", f"## `{path}`")
    own = options(COMMANDS[path])
    if own >= CONNECTING:
        shown += section("docs/cli.md", "## Finding a gateway")
    missing = {option for option in own if f"`{option}`" not in shown}
    assert not missing


def test_no_section_is_about_a_command_that_is_not_there() -> None:
    assert set(re.findall(r"^## `(signalfire .*)`$", text("docs/cli.md"), re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_the_readme_lists_every_command(path: str) -> None:
    *_, last = path.split()
    assert f"`{path}`" in text("README.md") or f", `{last}`" in section("README.md", "## Commands")


@pytest.mark.parametrize("code", [0, click.ClickException.exit_code, click.UsageError.exit_code, PARTLY])
def test_every_exit_code_is_explained(code: int) -> None:
    assert f"\n| `{code}` |" in text("docs/cli.md")


def shell_lines(page: str) -> Iterator[str]:
    """The lines of shell blocks that call `signalfire`, wherever in the line."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            yield from re.findall(r"(?:^|[\s;])(signalfire [^;|&#]*)", line)


@EACH_PAGE
def test_commands_that_are_shown_can_be_called_so(page: Path) -> None:
    for line in shell_lines(str(page.relative_to(ROOT))):
        words = shlex.split(line.split("2>>")[0])
        path = next((" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in COMMANDS), None)
        assert path is not None, line
        unknown = {word for word in words if word.startswith("--")} - options(COMMANDS[path])
        assert not unknown, line


def test_the_readmes_two_commands_are_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    shown = {name for page in PAGES for name in re.findall(r"(?:`|^ {4})make ([a-z-]+)", text(str(page)), re.MULTILINE)}
    assert {"demo", "test"} <= shown <= targets


# --- metrics


METRICS: Final = sorted(
    (sample_name, metric)
    for metric in Telemetry().registry.collect()
    for sample_name in [f"{metric.name}_total" if metric.type == "counter" else metric.name]
)


@pytest.mark.parametrize(("name", "metric"), METRICS, ids=[name for name, _ in METRICS])
def test_every_metric_is_listed_with_its_type(name: str, metric: Any) -> None:
    assert f"\n| `{name}` | {metric.type} |" in text("docs/metrics.md")


def test_no_metric_is_listed_that_is_not_there() -> None:
    shown = set(re.findall(r"signalfire_[a-z_]+", text("docs/metrics.md")))
    assert shown == {name for name, _ in METRICS}


@pytest.mark.parametrize(
    "attribute", [name for name, kept in vars(Telemetry()).items() if hasattr(kept, "_labelnames")]
)
def test_every_metrics_labels_are_listed(attribute: str) -> None:
    metric = getattr(Telemetry(), attribute)
    (row,) = re.findall(rf"\| `{metric._name}(?:_total)?` \|(.*)\|", text("docs/metrics.md"))
    assert re.findall(r"`([a-z]+)`", row.split("|")[1]) == list(metric._labelnames)


@pytest.mark.parametrize("reason", Refusal)
def test_every_reason_for_refusing_an_identity_is_explained(reason: Refusal) -> None:
    assert f"`{reason.value}`" in text("docs/metrics.md")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_for_refusing_an_order_is_explained(reason: Reason) -> None:
    assert f"\n| `{reason.value}` |" in section("docs/officer.md", "### Why an order is refused")


@pytest.mark.parametrize("kind", [*EVENTS.values(), "roster-pinned", "posture-over", "order-refused"])
def test_every_event_of_approval_is_explained(kind: str) -> None:
    assert f"\n| `{kind}` |" in text("docs/officer.md")


def test_the_kinds_of_events_that_can_be_asked_for_are_those_that_are_explained() -> None:
    explained = re.findall(r"^\| `([a-z-]+)` \|", section("docs/officer.md", "### Events"), re.MULTILINE)
    assert sorted(explained) == sorted(["kind", *EVENT_KINDS])


# --- the contract


METHODS: Final = [
    (page, method.name)
    for page, module, service in (
        ("docs/c2.md", c2_pb2, "C2Service"),
        ("docs/officer.md", officer_pb2, "OfficerService"),
        ("docs/protocol.md", exchange_pb2, "ExchangeService"),
    )
    for method in module.DESCRIPTOR.services_by_name[service].methods
]


@pytest.mark.parametrize(("page", "method"), METHODS)
def test_every_method_is_explained(page: str, method: str) -> None:
    assert re.search(rf"`(?:[A-Za-z0-9]+\.)?{method}`", text(page))


def messages(*roots: Descriptor) -> dict[str, Descriptor]:
    """The messages of the contract that can be reached from these."""
    found: dict[str, Descriptor] = {}
    waiting = list(roots)
    while waiting:
        message = waiting.pop()
        if message.full_name.startswith("signalfire.") and message.full_name not in found:
            found[message.full_name] = message
            waiting += [field.message_type for field in message.fields if field.message_type is not None]
    return found


def fields(page: str, *roots: Descriptor) -> list[Any]:
    return [
        pytest.param(page, field, id=f"{name.removeprefix('signalfire.v1.')}.{field.name}")
        for name, message in sorted(messages(*roots).items())
        for field in message.fields
    ]


@pytest.mark.parametrize(
    ("page", "field"),
    [
        *fields("docs/c2.md", report_pb2.Report.DESCRIPTOR, c2_pb2.SubscribeRequest.DESCRIPTOR),
        *fields("docs/c2.md", c2_pb2.SubmitResponse.DESCRIPTOR, c2_pb2.GetStatusResponse.DESCRIPTOR),
        *fields("docs/officer.md", ledger_pb2.DecisionRecord.DESCRIPTOR),
    ],
)
def test_every_field_is_explained(page: str, field: FieldDescriptor) -> None:
    assert f"`{field.name}`" in text(page)


@pytest.mark.parametrize(
    "enum",
    [*report_pb2.DESCRIPTOR.enum_types_by_name.values(), *c2_pb2.DESCRIPTOR.enum_types_by_name.values()],
    ids=lambda enum: enum.name,
)
def test_every_value_that_a_c2_system_sends_or_gets_is_listed(enum: EnumDescriptor) -> None:
    missing = {value.name for value in enum.values if value.number} - set(re.findall(r"`(\w+)`", text("docs/c2.md")))
    assert not missing


@pytest.mark.parametrize("message", sorted(exchange_pb2.DESCRIPTOR.message_types_by_name))
def test_every_message_between_gateways_is_named(message: str) -> None:
    if not message.endswith(("Request", "Response")):
        assert re.search(rf"`(?:\w+\.)?{message}[`.]", text("docs/protocol.md"))


@pytest.mark.parametrize("reason", [NO_BUNDLE, NO_CLOCK, NO_POLICY, WITHDRAWN, WITHDRAWN_HELD, BuiltIn.RECALLED])
def test_the_gateways_own_reasons_to_withhold_are_explained(reason: str) -> None:
    assert f"\n| `{reason}` |" in text("docs/officer.md")


def recorded_events() -> set[str]:
    """The kinds of event that the gateway's code names where it puts one on record."""
    found = set()
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                kinds = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "kind")]
                if called in {"RecordEvent", "record_event"}:
                    found |= {str(kind.value) for kind in kinds if isinstance(kind, ast.Constant)}
    return found


def test_every_event_that_is_recorded_is_explained() -> None:
    kinds = recorded_events()
    assert {"started", "entries-kept-back", "ledger-succeeded"} <= kinds
    assert not [kind for kind in kinds if f"\n| `{kind}` |" not in section("docs/officer.md", "### Events")]


def test_every_table_of_the_store_is_listed() -> None:
    tables = set(re.findall(r"CREATE TABLE (\w+)", "\n".join(schema.migrations())))
    assert tables <= set(re.findall(r"^\| `(\w+)` \|", section("docs/architecture.md", "## The store"), re.MULTILINE))


# --- links and examples


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    plain = re.sub(r"^ *```.*?^ *```", "", text(str(page)), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EACH_PAGE
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text(str(page))):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


@EACH_PAGE
def test_every_file_of_the_repository_that_is_named_is_there(page: Path) -> None:
    named = re.findall(r"`((?:gateway|policy|proto|tests|docs|ops|typings)/[\w/.-]+\.\w+)`", text(str(page)))
    assert not [name for name in named if not (ROOT / name).exists()]


def python_blocks() -> Iterator[Any]:
    for page in PAGES:
        for number, block in enumerate(blocks(page, "python")):
            yield pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
        for number, block in enumerate(
            re.findall(r"\.py <<'END'\n(.*?)^END$", text(str(page)), re.DOTALL | re.MULTILINE)
        ):
            yield pytest.param(block, id=f"{page.relative_to(ROOT)}-file-{number}")


@pytest.mark.parametrize("block", list(python_blocks()))
def test_what_python_examples_import_is_there(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_the_readmes_report_is_accepted() -> None:
    (shown,) = re.findall(r"<<END\n(\{.*?\n\})\nEND", text("README.md"), re.DOTALL)
    now = datetime.now(UTC).replace(microsecond=0)
    filled = shown.replace("$NOW", f"{now:%Y-%m-%dT%H:%M:%SZ}").replace("$ID", "20cb97b1-db92-4031-913f-1b1384485cbb")
    report = json_format.ParseDict(json.loads(filled), report_pb2.Report())
    assert not validate_submitted(report, node="JPN", now=int(now.timestamp()) * 10**9, limits=ReportLimits())


def test_the_officers_tutorial_shows_the_policy_that_init_writes_and_the_one_that_it_becomes(tmp_path: Path) -> None:
    target = tmp_path / "jpn-policy"
    made = CliRunner().invoke(main, ["policy", "init", str(target), "--node", "JPN", "--partner", "KOR"])
    assert made.exit_code == 0, made.output
    shown = section("docs/officer.md", "## From nothing to in force")
    assert bundle.load(target).digest.hex() in shown
    for name, was in (("policy.yaml", "until: 2034-01-01"), ("cases/warning.yaml", "2034-01-01")):
        file = target / name
        assert file.read_text().count(was) == 1
        file.write_text(file.read_text().replace(was, was.replace("2034", "2035")))
    assert bundle.load(target).digest.hex() in shown


def test_every_decision_record_is_listed_and_has_its_four_parts() -> None:
    records = sorted(path for path in ROOT.glob("docs/adr/*.md") if path.name != "README.md")
    assert [path.name[:4] for path in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for path in records:
        assert f"({path.name})" in text("docs/adr/README.md")
        parts = re.findall(r"^\*\*(.*?)\.\*\*", text(str(path)), re.MULTILINE)
        assert parts == ["Context", "Decision", "Options that lost", "Consequences"], path.name
