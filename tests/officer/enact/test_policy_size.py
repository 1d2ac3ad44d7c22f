"""The largest policy that compiles can be put in force, and a larger one is refused before it is sent."""

from __future__ import annotations

from gateway.demo.deployment import Deployed
from policy import Limits, digest_of, read_files
from policy.approve import Activate
from tests.node.nations import World
from tests.officer.enact.bringing import bring
from tests.officer.enact.commands import connecting, run


def padded(files: dict[str, bytes], size: int) -> dict[str, bytes]:
    """The files, and cases beside them that make `size` bytes together, names included."""
    made = dict(files)
    while (missing := size - sum(len(name) + len(content) for name, content in made.items())) > 0:
        name = f"cases/pad-{len(made):03}.yaml"
        made[name] = b"#" * min(missing - len(name), 200_000)
    return made


async def test_the_largest_policy_that_compiles_reaches_the_gateway(world: World, jpn: Deployed) -> None:
    files = padded(read_files(jpn.policy), Limits().bundle_bytes)
    assert await bring(jpn, Activate(digest_of(files)), "alice", "bob", files=files) == set()


async def test_a_larger_policy_is_refused_before_it_is_signed_or_sent(jpn: Deployed) -> None:
    for name, content in padded(read_files(jpn.policy), Limits().bundle_bytes + 100).items():
        (jpn.policy / name).parent.mkdir(exist_ok=True)
        (jpn.policy / name).write_bytes(content)
    said = "The bundle has 3,145,828 bytes; the limit is 3,145,728."
    key, order = str(jpn.officer_key("alice")), str(jpn.order)
    for command in (
        ("sign", str(jpn.policy), "--key", key, "--first", str(jpn.roster)),
        ("activate", str(jpn.policy), order, *connecting(jpn)),
    ):
        code, output = await run(*command)
        assert (code, said in output) == (1, True), output
