"""The forms in which recorded decisions are written: whole for a machine, and harmless whatever stands in a record."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime
from typing import Any, Final

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2

from gateway.cli import audit_ocsf, audit_syslog
from gateway.cli.audit_forms import COLUMNS, Form, head, json_line, lines, table, text_line
from gateway.cli.audit_prose import BUILT_IN, explanation
from gateway.cli.audit_rows import rows_of
from gateway.cli.visible import visible
from gateway.release.passing import WITHDRAWN, WITHDRAWN_HELD
from gateway.release.rulebook import NO_BUNDLE, NO_CLOCK, NO_POLICY
from policy.decision import BuiltIn

REPORT: Final = "20cb97b1-db92-4031-913f-1b1384485cbb"
HOSTILE: Final = '\x1b]0;owned\x07\x1b[2J=1+1\r\n"]\\\u202e\u2028\ufeff[red]'


def decided(**changes: Any) -> officer_pb2.RecordedEntry:
    """A record with a release to KOR, and nothing for USA."""
    released = ledger_pb2.Decision(
        partner="KOR", outcome=ledger_pb2.OUTCOME_RELEASED, rule="warning", agreement="trilateral-2023",
        fields=["report_id", "threat.launch_country"], changed=["track.position.latitude_deg"],
        ledger="signalfire/v1/JPN/KOR/flash/1", index=198,
    )  # fmt: skip
    withheld = ledger_pb2.Decision(partner="USA", outcome=ledger_pb2.OUTCOME_WITHHELD, rule=BuiltIn.NOT_RELEASABLE)
    for name, value in changes.items():
        setattr(released, name, value)
    record = ledger_pb2.DecisionRecord(
        report_id=REPORT, kind="Track", event_id="ev-1", traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE,
        precedence=report_pb2.PRECEDENCE_FLASH, report_digest=b"\1" * 32, submitted_by="spiffe://jpn/c2/sensors",
        policy_digest=b"\2" * 32, posture="ROUTINE", decisions=[released, withheld], originator_node="JPN",
    )  # fmt: skip
    record.time.FromJsonString("2026-11-21T05:00:00.123456789Z")
    record.accepted_time.CopyFrom(record.time)
    return officer_pb2.RecordedEntry(ledger="signalfire/v1/JPN/decisions/1", index=7, decision_record=record)


def happened(kind: str = "audit-access", detail: str = "spiffe://jpn/officer/o: search: decisions") -> Any:
    event = ledger_pb2.NodeEvent(kind=kind, detail=detail)
    event.time.FromJsonString("2026-11-21T05:00:00Z")
    return officer_pb2.RecordedEntry(ledger="signalfire/v1/JPN/decisions/1", index=8, node_event=event)


def hostile() -> officer_pb2.RecordedEntry:
    entry = decided(rule=HOSTILE, agreement=HOSTILE, error=HOSTILE)
    entry.decision_record.event_id = HOSTILE
    entry.decision_record.submitted_by = HOSTILE
    entry.decision_record.posture = HOSTILE
    return entry


texts = st.text(max_size=300)

# --- harmless


@given(texts)
def test_visible_text_is_one_line_that_no_terminal_acts_on(text: str) -> None:
    shown = visible(text)
    assert "\n" not in shown
    assert not [each for each in shown if each < " " or "\x7f" <= each <= "\x9f" or each in "\u202a\u202e\u2066\u2028"]


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_what_is_visible_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize("form", list(Form))
def test_no_form_passes_on_an_escape_or_a_line_end(form: Form) -> None:
    for written in lines([hostile(), happened(detail=HOSTILE), happened(kind=HOSTILE)], form):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e\u2028]", written), form


def test_a_table_shows_escapes_and_markup_as_they_are() -> None:
    out = io.StringIO()
    console = Console(file=out, width=400, force_terminal=True, color_system=None)
    for shown in table([hostile(), happened(detail=HOSTILE)]):
        console.print(shown)
    assert "\x1b]" not in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()
    assert "\\x1b[2J" in out.getvalue()
    assert "[red]" in out.getvalue()


def test_prose_shows_no_escape_of_a_rule_or_a_report() -> None:
    told = officer_pb2.ExplainDecisionResponse(records=[hostile()], partners=[officer_pb2.PartnerView(partner="KOR")])
    told.policies.add(digest=b"\2" * 32, officers=[HOSTILE], order_sequence=1).rules.add(
        path="partners/KOR.yaml", line=1, rule=HOSTILE, text=HOSTILE
    )
    said = "\n".join(explanation(told))
    assert "\x1b" not in said
    assert "\u202e" not in said


# --- CSV


@given(st.lists(texts, min_size=1, max_size=4))
def test_csv_has_the_same_columns_whatever_stands_in_a_record_and_no_cell_is_a_formula(values: list[str]) -> None:
    entries = [decided(rule=value, error=value) for value in values] + [happened(detail=values[0])]
    rows = list(csv.reader([*head(Form.CSV), *lines(entries, Form.CSV)], strict=True))
    assert rows[0] == list(COLUMNS)
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert len(rows) == 1 + 2 * len(values) + 1
    for row in rows:
        # In countries where a spreadsheet takes ";" for the separator a cell may begin there too.
        parts = [part for cell in row if not cell.startswith("'") for part in cell.split(";")]
        assert not [part for part in parts if part.strip().startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))]


def test_every_cell_of_csv_stands_in_quotes() -> None:
    for line in [*head(Form.CSV), *lines([decided(), happened()], Form.CSV)]:
        assert re.fullmatch(r'"[^"]*"(,"[^"]*")*', line)


FORMULAS: Final = (
    "a;=HYPERLINK(1)", "x; =1+1", "\u2003=1+1", "=1+1", " =cmd|' /C calc'!A0", "@SUM(A1)", "+1", "-1", "\uff1d1",
    "\u00a0=1",
)  # fmt: skip


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_cell_that_begins_like_a_formula_is_quoted(cell: str) -> None:
    (row, _) = csv.DictReader([*head(Form.CSV), *lines([decided(rule=cell)], Form.CSV)])
    assert row["rule"] == f"'{cell}"
    assert row["outcome"] == "released"


# --- syslog (RFC 5424): the grammar of section 6, written out here a second time

PRINTABLE = r"[!-~]"
SYSLOG: Final = re.compile(
    r"<(?P<pri>0|[1-9][0-9]{0,2})>1 "
    r"(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})) "
    rf"(?P<host>-|{PRINTABLE}{{1,255}}) (?P<app>-|{PRINTABLE}{{1,48}}) (?P<proc>-|{PRINTABLE}{{1,128}}) "
    rf"(?P<id>-|{PRINTABLE}{{1,32}}) "
    r"\[(?P<sdid>[!#-<>-\\^-~]{1,32})(?P<params>(?: [!#-<>-\\^-~]{1,32}=\"(?:[^\"\\\]]|\\[\"\\\]])*\")*)\]"
    r"(?: (?P<msg>.*))?",
    re.DOTALL,
)
PARAM: Final = re.compile(r' ([^ =\]"]+)="((?:[^"\\\]]|\\["\\\]])*)"')


def parsed(message: str) -> tuple[dict[str, str], dict[str, str]]:
    match = SYSLOG.fullmatch(message)
    assert match is not None, message
    params = {name: re.sub(r'\\(["\\\]])', r"\1", value) for name, value in PARAM.findall(match["params"])}
    return {name: value or "" for name, value in match.groupdict().items()}, params


def syslog(entry: officer_pb2.RecordedEntry) -> list[str]:
    return list(lines([entry], Form.SYSLOG))


def test_a_decision_is_a_syslog_message_with_its_parameters() -> None:
    released, withheld = (parsed(each) for each in syslog(decided()))
    assert released[0]["pri"] == str(13 * 8 + 6)
    assert withheld[0]["pri"] == str(13 * 8 + 5)
    assert released[0]["time"] == "2026-11-21T05:00:00.123456Z"
    assert (released[0]["host"], released[0]["app"], released[0]["id"]) == ("JPN", "signalfire", "decision")
    assert released[0]["sdid"] == "signalfire@32473"
    assert released[1] == {
        "ledger": "signalfire/v1/JPN/decisions/1", "index": "7", "report": REPORT, "originator": "JPN", "kind": "Track",
        "event": "ev-1", "class": "EXERCISE", "precedence": "FLASH", "partner": "KOR", "outcome": "released",
        "rule": "warning", "agreement": "trilateral-2023", "policy": "02" * 32, "posture": "ROUTINE",
        "submittedBy": "spiffe://jpn/c2/sensors", "releaseLedger": "signalfire/v1/JPN/KOR/flash/1",
        "releaseIndex": "198",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "severity"),
    [
        (decided(error="no such field", outcome=ledger_pb2.OUTCOME_WITHHELD), 3),
        (decided(outcome=ledger_pb2.OUTCOME_HELD), 6),
        (decided(outcome=ledger_pb2.OUTCOME_WITHHELD), 5),
        (happened(), 5),
        (happened("order-refused"), 4),
        (happened("fork-evidence"), 2),
    ],
)
def test_the_severity_says_how_much_it_matters(entry: officer_pb2.RecordedEntry, severity: int) -> None:
    assert parsed(syslog(entry)[0])[0]["pri"] == str(13 * 8 + severity)


@given(texts, st.text(alphabet='"]\\\u00e9\u6f22x', max_size=4000))
def test_every_syslog_message_is_whole_and_at_most_2048_octets(one: str, two: str) -> None:
    entry = decided(rule=one, agreement=two, error=two)
    entry.decision_record.event_id, entry.decision_record.submitted_by = two, one + two
    for message in (*syslog(entry), *syslog(happened(detail=two)), *syslog(happened(kind=one, detail=one))):
        assert len(message.encode()) <= audit_syslog.MAX_OCTETS
        fields, params = parsed(message)
        assert fields["msg"].startswith("\ufeff") != fields["msg"].isascii()
        assert "kind" in params or not one


def test_syslog_gives_back_what_was_escaped() -> None:
    _, params = parsed(syslog(decided(rule='a "rule" [with] a \\ in it'))[0])
    assert params["rule"] == 'a "rule" [with] a \\ in it'


# --- OCSF: what schema.ocsf.io 1.6.0 requires of class 6003 and of the objects that are used here

REQUIRED: Final = {
    "": ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid",
         "actor", "api", "src_endpoint"],
    "api": ["operation"],
    "metadata": ["product", "version"],
}  # fmt: skip
AT_LEAST_ONE: Final = {
    "actor": {"process", "user", "invoked_by", "session", "app_name", "app_uid"},
    "src_endpoint": {"ip", "uid", "name", "hostname", "svc_name", "instance_uid", "interface_uid", "domain"},
    "dst_endpoint": {"ip", "uid", "name", "hostname", "svc_name", "instance_uid", "interface_uid", "domain"},
}
ACTIVITIES: Final = {0, 1, 2, 3, 4, 99}
SEVERITIES: Final = {0, 1, 2, 3, 4, 5, 6, 99}


@pytest.mark.parametrize("entry", [decided(), hostile(), happened(), happened("fork-evidence"), happened("", "")])
def test_an_ocsf_event_has_all_that_the_schema_requires(entry: officer_pb2.RecordedEntry) -> None:
    for line in lines([entry], Form.OCSF):
        event = json.loads(line)
        for path, names in REQUIRED.items():
            inside = event[path] if path else event
            assert [name for name in names if inside.get(name) in (None, "", {})] == []
        for path, names_ in AT_LEAST_ONE.items():
            if path in event:
                assert event[path].keys() & names_
        assert (event["category_uid"], event["class_uid"]) == (6, 6003)
        assert event["type_uid"] == 6003 * 100 + event["activity_id"]
        assert event["activity_id"] in ACTIVITIES
        assert event["severity_id"] in SEVERITIES
        assert event["metadata"]["version"] == audit_ocsf.SCHEMA == "1.6.0"
        assert event["metadata"]["product"]["name"]
        assert datetime.fromisoformat(event["metadata"]["original_time"]).timestamp() == pytest.approx(
            event["time"] / 1000, abs=0.001
        )


def test_an_ocsf_event_tells_decision_and_policy_with_the_actor() -> None:
    released, withheld = (json.loads(line) for line in lines([decided()], Form.OCSF))
    (authorised,) = released["actor"]["authorizations"]
    assert authorised["decision"] == "Released"
    assert authorised["policy"]["name"] == "warning"
    assert authorised["policy"]["uid"] == "02" * 32
    assert authorised["policy"]["group"]["name"] == "trilateral-2023"
    assert (released["status_id"], withheld["status_id"]) == (1, 2)
    assert released["dst_endpoint"] == {"name": "KOR"}
    assert released["resources"][0]["uid"] == REPORT


def test_a_look_is_told_as_a_read_by_the_officer() -> None:
    (line,) = lines([happened()], Form.OCSF)
    event = json.loads(line)
    assert (event["actor"]["app_uid"], event["api"]["operation"]) == ("spiffe://jpn/officer/o", "search")
    assert event["activity_name"] == "Read"


# --- the rest


def test_json_lines_give_the_record_back() -> None:
    for entry in (decided(), hostile(), happened()):
        line = json_line(entry)
        assert line.isascii()
        assert json_format.Parse(line, officer_pb2.RecordedEntry()) == entry


def test_a_line_of_a_watch_says_who_what_and_by_which_rule() -> None:
    released, _ = map(text_line, rows_of(decided()))
    assert released == (
        f"2026-11-21T05:00:00.123456789Z 7 KOR released warning: Track {REPORT} of JPN, ev-1, EXERCISE FLASH"
    )


@pytest.mark.parametrize("reason", [*BuiltIn, NO_BUNDLE, NO_CLOCK, NO_POLICY, WITHDRAWN, WITHDRAWN_HELD])
def test_every_built_in_reason_is_explained_in_words(reason: str) -> None:
    assert BUILT_IN[reason].endswith(".")
