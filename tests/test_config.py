"""A configuration is read strictly: whatever is wrong with it is said with file, line and remedy, all of it at once."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gateway.config import Config, ConfigError, load
from gateway.demo.deployment import Deployed
from gateway.exchange.limits import ExchangeLimits
from gateway.identity import issuing
from gateway.identity.errors import IdentityError, LockError
from gateway.identity.relocking import lock_directory
from gateway.identity.unlocking import KeyFile
from gateway.node import Node, StartError
from gateway.reports.kinds import Kind
from policy.errors import Problem
from tests.node.nations import forget, settle


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    return settle(Path(tmp_path_factory.mktemp("nations")), "JPN", "KOR", "USA")


@pytest.fixture
def jpn(settled: dict[str, Deployed], tmp_path: Path) -> Deployed:
    """A copy of JPN's deployment, to be spoilt."""
    place = settled["JPN"]
    copy = Deployed("JPN", tmp_path / "jpn", place.national, place.exchange)
    shutil.copytree(place.directory, copy.directory)
    # In block style, one value a line, so that lines can be told apart.
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 1000
    content = yaml.load(place.config)
    with copy.config.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)
    return copy


def edited(place: Deployed, *changes: tuple[str, str]) -> Path:
    """The configuration with each of these texts, which it holds, replaced."""
    text = place.config.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    place.config.write_text(text)
    return place.config


def problems(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as refused:
        load(path)
    found = tuple(refused.value.problems)
    assert str(refused.value) == "\n".join(map(str, found))
    assert all(problem.file == str(path) for problem in found)
    return found


def line(path: Path, beginning: str) -> int:
    """Number of the first line that begins so, spaces aside."""
    lines = path.read_text().split("\n")
    return next(number for number, text in enumerate(lines, 1) if text.strip().startswith(beginning))


def test_the_configuration_that_is_deployed_is_read_whole(jpn: Deployed) -> None:
    config = load(jpn.config)
    assert (config.node, set(config.partners)) == ("JPN", {"KOR", "USA"})
    assert config.policy is not None
    assert config.order is not None
    own = (config.keys, config.store, config.roster, config.policy, config.order)
    for path in (*own, *(each.bundle for each in config.partners.values())):
        assert path.is_absolute()
        assert path.is_relative_to(jpn.directory)
    push = config.grants()["spiffe://jpn/c2/sensors"].push
    assert push is not None
    assert push.kinds == frozenset(Kind)
    assert config.grants()["spiffe://jpn/c2/command"].push is None
    assert config.exchange_limits().heartbeat_s == pytest.approx(0.1)
    assert config.exchange_limits().streams == ExchangeLimits().streams
    assert config.limits.reports.limits().max_age == timedelta(hours=1)


def test_an_unknown_key_is_named_with_its_line_and_the_key_that_was_meant(jpn: Deployed) -> None:
    path = edited(jpn, ("store: store.db", "stor: store.db"), ("    heartbeat_s:", "    heartbeat:"))
    found = {problem.what: problem for problem in problems(path)}
    assert set(found) == {
        '"stor" is not a known key.',
        '"store" is missing.',
        '"limits.exchange.heartbeat" is not a known key.',
    }
    assert found['"stor" is not a known key.'].line == line(path, "stor:")
    assert found['"stor" is not a known key.'].remedy == 'Did you mean "store"?'
    assert found['"limits.exchange.heartbeat" is not a known key.'].line == line(path, "heartbeat:")
    assert found['"limits.exchange.heartbeat" is not a known key.'].remedy == 'Did you mean "heartbeat_s"?'


@pytest.mark.parametrize(
    ("section", "meant"),
    [
        ("partners:\n  KOR:\n    bundel: x\n", "bundle"),
        ("clients:\n  a:\n    pusch: {}\n", "push"),
        ("clients:\n  a:\n    read:\n      ceilling: SECRET\n", "ceiling"),
        ("national:\n  lisen: 127.0.0.1:1\n", "listen"),
        ("limits:\n  reprts: {}\n", "reports"),
        ("limits:\n  c2:\n    inflight: 3\n", "in_flight"),
    ],
)
def test_a_misspelt_key_in_any_section_is_met_with_the_right_one(tmp_path: Path, section: str, meant: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(section)
    assert f'Did you mean "{meant}"?' in {problem.remedy for problem in problems(path)}


def test_every_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("node: JPN\n")
    missing = {problem.what for problem in problems(path)}
    assert missing == {
        f'"{key}" is missing.' for key in ("keys", "store", "roster", "national", "exchange", "partners", "clients")
    }


OUT_OF_RANGE = [
    ("heartbeat_s: 0.1", "heartbeat_s: 0", "limits.exchange.heartbeat_s"),
    ("heartbeat_s: 0.1", "heartbeat_s: -1", "limits.exchange.heartbeat_s"),
    ("heartbeat_s: 0.1", "heartbeat_s: .nan", "limits.exchange.heartbeat_s"),
    ("heartbeat_s: 0.1", "heartbeat_s: soon", "limits.exchange.heartbeat_s"),
    ("handshake_s: 10.0", "handshake_s: 61", "limits.exchange.handshake_s"),
    ("handshake_s: 10.0", "handshake_s: 0.9", "limits.exchange.handshake_s"),
    ("silence_s: 5.0", "silence_s: 0.15", "silence_s is less than two heartbeats"),
    ("silence_s: 5.0", "streams: 4", "limits.exchange.streams"),
    ("silence_s: 5.0", "batch_bytes: 65536", "limits.exchange.batch_bytes"),
    ("silence_s: 5.0", "batch_bytes: 1.5", "limits.exchange.batch_bytes"),
    ("  exchange:\n    ", "  reports: {max_bytes: 60001}\n  exchange:\n    ", "limits.reports.max_bytes"),
    ("  exchange:\n    ", "  reports: {max_ahead_s: 1, flag_ahead_s: 2}\n  exchange:\n    ", "flag_ahead_s is larger"),
    ("  exchange:\n    ", "  reports: {max_age_s: -1}\n  exchange:\n    ", "limits.reports.max_age_s"),
    ("  exchange:\n    ", "  reports: {max_age_s: 1e300}\n  exchange:\n    ", "limits.reports.max_age_s"),
    ("  exchange:\n    ", "  reports: {max_age_s: .inf}\n  exchange:\n    ", "limits.reports.max_age_s"),
    ("  exchange:\n    ", "  commits: {steps: 0}\n  exchange:\n    ", "limits.commits.steps"),
    ("  exchange:\n    ", "  c2: {subscriptions: 0}\n  exchange:\n    ", "limits.c2.subscriptions"),
    ("limits:\n", "retention: {reports_days: 0}\nlimits:\n", "retention.reports_days"),
    ("limits:\n", "retention: {entries_days: 0.5}\nlimits:\n", "retention.entries_days"),
]


@pytest.mark.parametrize(("old", "new", "where"), OUT_OF_RANGE, ids=[new.strip() for _, new, _ in OUT_OF_RANGE])
def test_a_limit_out_of_its_range_is_refused_with_its_line(jpn: Deployed, old: str, new: str, where: str) -> None:
    path = edited(jpn, (old, new))
    (problem,) = problems(path)
    assert where in problem.what
    assert problem.line > 0


WRONG_VALUES = [
    ("node: JPN", "node: ABC", '"ABC" is not an ISO 3166-1 alpha-3 code'),
    ("node: JPN", "node: [JPN]", "node"),
    ("partners:\n  KOR:", "partners:\n  ATLANTIS:", '"ATLANTIS" is not an ISO 3166-1 alpha-3 code'),
    ("listen: 127.0.0.1:", "listen: nowhere", "is not an address"),
    ("listen: 127.0.0.1:", "listen: 127.0.0.1:9", "is not an address"),
    ("- LaunchDetection", "- LaunchDetections", 'Did you mean "LaunchDetection"?'),
    ("- LIVE", "- LIFE", 'Did you mean "LIVE"?'),
    ("- FLASH", "- FLUSH", 'Did you mean "FLASH"?'),
    ("ceiling: TOP_SECRET", "ceiling: TOP SECRET", 'Did you mean "TOP_SECRET"?'),
    ("  sensors:", "  Sensors_1:", "is not the name of a C2 system"),
    ("    root: ", "    root: x", "is not the verifier key of a root"),
]


@pytest.mark.parametrize(("old", "new", "words"), WRONG_VALUES, ids=[new.strip() for _, new, _ in WRONG_VALUES])
def test_a_value_of_the_wrong_kind_is_refused_with_its_line(jpn: Deployed, old: str, new: str, words: str) -> None:
    path = edited(jpn, (old, new))
    found = problems(path)
    assert any(words in f"{problem.what} {problem.remedy}" for problem in found), found
    assert all(problem.line > 0 for problem in found)


def test_everything_that_is_wrong_is_said_at_once(jpn: Deployed) -> None:
    path = edited(
        jpn,
        ("node: JPN", "node: ABC"),
        ("silence_s: 5.0", "streams: 4"),
        ("roster: roster.yaml", "rooster: roster.yaml"),
        ("- FLASH", "- FLUSH"),
    )
    found = problems(path)
    assert len(found) == 5  # the misspelt key counts twice: it is unknown, and the right one is missing
    assert len({problem.line for problem in found}) >= 4


def test_files_that_are_not_there_are_named_all_at_once(jpn: Deployed) -> None:
    (jpn.directory / "partners" / "KOR.bundle.note").unlink()
    path = edited(
        jpn, ("keys: keys", "keys: kyes"), ("policy: policy", "policy: pol"), ("store: store.db", "store: no/store.db")
    )
    found = {problem.line for problem in problems(path)}
    assert found == {
        line(path, "keys:"),
        line(path, "policy:"),
        line(path, "store:"),
        line(path, "bundle: partners/KOR"),
    }


def test_a_configuration_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path / "none.yaml")
    assert "cannot be read" in problem.what


@pytest.mark.parametrize(
    ("unlock", "word"),
    [
        ("{}", "exactly one"),
        ("{key_file: a, passphrase_file: b}", "exactly one"),
        ("{command: []}", "absolute path"),
        ("{command: [unwrap]}", "absolute path"),
        ("{key_file: not-there}", "There is no"),
        ("{pass_phrase_file: a}", "not a known key"),
    ],
)
def test_keys_are_unlocked_in_exactly_one_way_that_is_there(jpn: Deployed, unlock: str, word: str) -> None:
    path = edited(jpn, ("keys: keys", f"keys: keys\nunlock: {unlock}"))
    assert any(word in str(problem) for problem in problems(path))


def test_a_node_starts_with_keys_that_are_locked_once_it_is_said_how(jpn: Deployed) -> None:
    way = KeyFile(jpn.directory / "unlock")
    way.make()
    lock_directory(jpn.directory / "keys", way)
    with pytest.raises(LockError, match="nothing is given to unlock"):
        Node(load(jpn.config))
    node = Node(load(edited(jpn, ("keys: keys", "keys: keys\nunlock: {key_file: unlock}"))))
    assert not any("not encrypted" in remark for remark in node.remarks())


def test_a_node_may_not_be_its_own_partner(jpn: Deployed) -> None:
    path = edited(jpn, ("node: JPN", "node: KOR"))
    assert any("KOR is its own partner" in problem.what for problem in problems(path))


def test_the_root_of_one_partner_does_not_serve_for_another(jpn: Deployed) -> None:
    text = jpn.config.read_text()
    swapped = text.replace("  KOR:", "  ???:").replace("  USA:", "  KOR:").replace("  ???:", "  USA:")
    jpn.config.write_text(swapped)
    found = problems(jpn.config)
    assert any('the root of partner USA is the key "signalfire/v1/KOR/root"' in problem.what for problem in found)


def test_a_key_that_stands_twice_is_refused(jpn: Deployed) -> None:
    path = edited(jpn, ("node: JPN", "node: JPN\nnode: JPN"))
    (problem,) = problems(path)
    assert problem.line == line(path, "node: JPN") + 1
    assert "node" in problem.what


@pytest.mark.parametrize(
    "text", ["", "[]", "just words", "node: &a JPN\nkeys: *a\n", "node: !!python/object:os.system x\n", "a: b: c", "\t"]
)
def test_what_is_no_mapping_of_plain_values_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    assert problems(path)


# --- what stops a start


def start(place: Deployed) -> Node:
    forget(place)
    return Node(load(place.config))


def test_a_misspelt_field_in_a_policy_is_named_with_file_and_line_before_the_start(jpn: Deployed) -> None:
    rules = jpn.directory / "policy" / "partners" / "KOR.yaml"
    text = rules.read_text().replace("report.threat.launch_country ==", "report.threat.launch_contry ==", 1)
    rules.write_text(text)
    (fault,) = start(jpn).refused_files()
    number = next(number for number, each in enumerate(text.split("\n"), 1) if "launch_contry" in each)
    assert f"partners/KOR.yaml:{number}: " in fault
    assert not jpn.store.exists()


def test_another_nodes_policy_is_named_before_the_start(jpn: Deployed, settled: dict[str, Deployed]) -> None:
    shutil.rmtree(jpn.directory / "policy")
    shutil.copytree(settled["KOR"].directory / "policy", jpn.directory / "policy")
    faults = start(jpn).refused_files()
    assert any("The policy is that of KOR. Give the policy of JPN." in fault for fault in faults)


def test_another_nodes_roster_is_named_before_the_start(jpn: Deployed, settled: dict[str, Deployed]) -> None:
    shutil.copy(settled["KOR"].roster, jpn.roster)
    assert any("The roster is that of KOR" in fault for fault in start(jpn).refused_files())


def test_another_nodes_certificate_stops_the_start(jpn: Deployed, settled: dict[str, Deployed]) -> None:
    shutil.rmtree(jpn.directory / "keys")
    shutil.copytree(settled["KOR"].directory / "keys", jpn.directory / "keys")
    with pytest.raises(StartError, match="is the certificate of spiffe://kor/gateway/a"):
        start(jpn)


def test_a_certificate_of_another_role_stops_the_start(jpn: Deployed) -> None:
    for kind in ("key", "crt"):
        shutil.copy(jpn.directory / "c2" / "command" / f"c2.{kind}.pem", jpn.directory / "keys" / f"gateway.{kind}.pem")
    with pytest.raises(StartError, match="is the certificate of spiffe://jpn/c2/command"):
        start(jpn)


def spoil_key(place: Deployed) -> None:
    (place.directory / "keys" / "log.key").write_text("{}")


def open_key(place: Deployed) -> None:
    (place.directory / "keys" / "log.key").chmod(0o644)


def lose_key(place: Deployed) -> None:
    (place.directory / "keys" / "sealing.key").unlink()


def mistake_key(place: Deployed) -> None:
    shutil.copy(place.directory / "keys" / "receipt.key", place.directory / "keys" / "log.key")


@pytest.mark.parametrize("spoil", [spoil_key, open_key, lose_key, mistake_key])
def test_a_key_that_is_missing_exposed_malformed_or_another_stops_the_start(
    jpn: Deployed, spoil: Callable[[Deployed], None]
) -> None:
    spoil(jpn)
    with pytest.raises(IdentityError) as refused:
        start(jpn)
    assert refused.value.mend


async def test_an_address_that_is_taken_stops_the_start_and_says_which(jpn: Deployed) -> None:
    host, _, port = jpn.national.rpartition(":")
    with socket.create_server((host, int(port))):
        node = start(jpn)
        with pytest.raises(StartError, match=f"cannot listen at {jpn.national}"):
            await node.start()
        await node.stop()


async def test_a_certificate_that_is_not_that_of_the_key_stops_the_start(jpn: Deployed, tmp_path: Path) -> None:
    pki = jpn.directory / "pki"
    issuing.issue_gateway(
        pki, "a", tmp_path / "other", now=datetime.now(UTC) + timedelta(seconds=2), address=jpn.exchange,
        keys_from=jpn.directory / "keys",
    )  # fmt: skip
    shutil.copy(tmp_path / "other" / "gateway.crt.pem", jpn.directory / "keys" / "gateway.crt.pem")
    node = start(jpn)
    with pytest.raises(IdentityError, match="the private key is not that of the certificate"):
        await node.start()
    await node.stop()


def test_every_setting_has_a_place_in_the_model(jpn: Deployed) -> None:
    config = load(jpn.config)
    for section, limits in (
        (config.limits.exchange, config.exchange_limits()),
        (config.limits.commits, config.commit_limits()),
        (config.limits.c2, config.c2_limits()),
    ):
        assert set(type(section).model_fields) == set(type(limits).__dataclass_fields__)
    assert isinstance(config, Config)
