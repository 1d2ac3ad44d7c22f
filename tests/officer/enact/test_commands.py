"""Orders by the command line: signed, brought, and what is in force shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from signalfire.v1 import officer_pb2

from gateway.cli import approvals
from gateway.demo.deployment import OFFICERS, Deployed
from policy import digest_of, read_files
from policy.approve import CarryFor, Route, Suspend
from tests.node.nations import World, running, settle
from tests.officer.enact.bringing import bring
from tests.officer.enact.commands import connecting, invoke, run


async def test_two_officers_sign_and_activate_a_policy_from_the_command_line(
    world: World, jpn: Deployed, tmp_path: Path
) -> None:
    (jpn.policy / "partners" / "KOR.yaml").write_text("partner: KOR\nrules: []\n", "utf-8")
    order, keys = str(tmp_path / "next.order"), [str(jpn.officer_key(name)) for name in OFFICERS]
    policy = (str(jpn.policy), "--although-cases-fail")
    code, said = await run("sign", *policy, "--key", keys[0], "--out", order, *connecting(jpn))
    assert code == 0, said
    assert "Signed by alice." in said
    assert "1 of 2 signatures" in said
    code, said = await run("sign", str(jpn.policy), "--order", order, "--key", keys[0])
    assert (code, "alice has signed it already" in said) == (1, True)
    code, said = await run("sign", *policy, "--order", order, "--key", keys[1], *connecting(jpn))
    assert code == 0, said
    assert "Signed by alice.\nSigned by bob." in said
    assert "2 of 2 signatures" in said
    code, said = await run("show-order", order, "--roster", str(jpn.roster))
    assert code == 0
    assert f"puts the policy {digest_of(read_files(jpn.policy)).hex()} in force" in said
    code, said = await run("activate", str(jpn.policy), order, *connecting(jpn))
    assert code == 0, said
    code, said = await run("activate", str(jpn.policy), order, *connecting(jpn))
    assert code == 1
    assert "wrong_sequence" in said


async def test_the_second_officer_does_not_sign_another_policy_than_he_sees(
    jpn: Deployed, settled: dict[str, Deployed], tmp_path: Path
) -> None:
    (jpn.policy / "partners" / "KOR.yaml").write_text("partner: KOR\nrules: []\n", "utf-8")
    code, said = await run("sign", str(jpn.policy), "--order", str(jpn.order), "--key", str(jpn.officer_key("carol")))
    assert code == 1
    assert "does not activate" in said


async def test_a_partner_is_suspended_in_one_step_and_the_status_tells_it(
    world: World, jpn: Deployed, tmp_path: Path
) -> None:
    key = str(jpn.officer_key("carol"))
    code, said = await run("suspend", "KOR", "--reason", "A leak", "--key", key, *connecting(jpn))
    assert code == 0, said
    code, said = await run("status", "--json", *connecting(jpn))
    assert code == 0
    assert json.loads(said)["suspended"][0]["partner"] == "KOR"
    saved = tmp_path / "status.json"
    saved.write_text(said, "utf-8")
    order = str(tmp_path / "resume.order")
    code, said = await run("sign", "--resume", "KOR", "--after", str(saved), "--key", key, "--out", order)
    assert code == 0, said
    code, said = await run("enact", order, *connecting(jpn))
    assert code == 1
    assert "too_few_signatures" in said
    code, said = await run("sign", "--order", order, "--key", str(jpn.officer_key("alice")))
    assert code == 0, said
    code, said = await run("enact", order, *connecting(jpn))
    assert code == 0, said
    code, said = await run("status", *connecting(jpn))
    assert "policy" in said
    assert "A leak" not in said


async def test_routes_and_carrying_are_in_force_once_two_have_signed_and_survive_a_restart(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR", "USA")
    place = places["JPN"]
    async with running({"JPN": place}, linked=False) as world:
        assert await bring(place, Route("KOR", ("USA",)), "alice") == {"too_few_signatures"}
        assert await bring(place, Route("KOR", ("USA",)), "alice", "bob") == set()
        assert await bring(place, CarryFor("KOR", "USA"), "alice", "carol") == set()
        assert (await world.event("JPN", "route-changed")).detail.startswith("order 2 ")
        await world.stop("JPN")
        node = await world.start("JPN")
        assert node.parts.sequencer.rulebook.routes == {"KOR": ("USA",)}
        code, said = await run("status", "--json", *connecting(place))
        assert code == 0
        assert json.loads(said)["routes"] == [{"partner": "KOR", "carriers": ["USA"]}]
        assert json.loads(said)["carries"] == [{"one": "KOR", "other": "USA"}]
        assert await bring(place, Suspend("USA", "A leak"), "bob") == set()
        assert not node.parts.sequencer.rulebook.routes
        assert not node.parts.sequencer.rulebook.carries


async def test_what_is_ordered_of_routes_from_the_command_line_is_judged_by_the_gateway(
    world: World, jpn: Deployed, tmp_path: Path
) -> None:
    keys = [str(jpn.officer_key(name)) for name in OFFICERS]
    for number, (arguments, told) in enumerate(
        [
            (("--route", "KOR", "--through", "USA"), "USA is no partner here"),
            (("--carry-for", "USA", "KOR"), "USA is no partner here"),
        ]
    ):
        order = str(tmp_path / f"{number}.order")
        code, said = await run("sign", *arguments, "--key", keys[0], "--out", order, *connecting(jpn))
        assert code == 0, said
        code, said = await run("sign", "--order", order, "--key", keys[1])
        assert code == 0, said
        code, said = await run("enact", order, *connecting(jpn))
        # Japan has one partner alone here: what names another is judged, and refused.
        assert (code, told in said) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--route", "KOR"],
        ["--route", "KOR", "--through", "USA", "--ended"],
        ["--route", "KOR", "--through", "usa"],
        ["--through", "USA"],
        ["--ended"],
        ["--carry-for", "KOR"],
        ["--carry-for", "KOR", "USA", "--route", "KOR", "--ended"],
        ["--suspend", "KOR"],
        ["--reason", "Why"],
        ["--suspend", "KOR", "--reason", "Why", "--resume", "KOR"],
        ["--resume", "KOR", "--until", "2026-01-01T00:00:00Z"],
        ["--posture", "IMMINENT", "--until", "tomorrow"],
        ["--posture", "IMMINENT", "--until", "2026-01-01T00:00:00"],
        ["--resume", "KOR"],
    ],
    ids=" ".join,
)
def test_an_order_that_is_not_one_thing_in_one_place_is_wrong_usage(jpn: Deployed, arguments: list[str]) -> None:
    code, _ = invoke("sign", *arguments, "--key", str(jpn.officer_key("alice")))
    assert code == 2


def test_the_status_shows_who_carries_and_marks_who_is_suspended(capsys: pytest.CaptureFixture[str]) -> None:
    approvals._show(
        officer_pb2.GetPolicyStatusResponse(
            node="JPN",
            routes=[officer_pb2.Route(partner="KOR", carriers=["USA", "FRA"])],
            carries=[officer_pb2.CarryFor(one="KOR", other="USA")],
            suspended=[officer_pb2.Suspension(partner="USA", reason="A leak", sequence=4)],
        )
    )
    shown = capsys.readouterr().out
    assert "USA (suspended), FRA" in shown
    assert "we carry between" in shown
