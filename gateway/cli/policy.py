"""`signalfire policy`: the officer's tools. Each takes the directory of a bundle; no gateway need run."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Final

import click

import policy as language
from gateway.cli import approvals, policy_questions
from gateway.cli.bundles import DIRECTORY, cases_of, load, refused
from policy import prove as proofs
from policy import yaml_source
from policy.cases import Case, read_cases
from policy.compile import AREAS
from policy.countries import NODE_CODES
from policy.errors import PolicyError, Problem, did_you_mean_country
from policy.format import formatted
from policy.schema import schemas

_TEMPLATE: Final = Path(language.__file__).parent / "template"
SCHEMA_DIRECTORY: Final = ".schema"
"""Where `init` puts the JSON Schemas: a bundle passes over names that begin with a dot."""


@click.group()
def policy() -> None:
    """Write, test, prove and explain the release policy, then sign it and put it in force.

    DIR is the directory of a bundle: policy.yaml, and partners/, invariants.yaml, areas/ and cases/ beside it.

    \b
    Begin:    signalfire policy init jpn-policy --node JPN --partner KOR
    Check:    signalfire policy check jpn-policy
    Test:     signalfire policy test jpn-policy --require-coverage
    Prove:    signalfire policy prove jpn-policy
    Explain:  signalfire policy explain jpn-policy report.json --partner KOR
    Compare:  signalfire policy diff jpn-policy jpn-policy-new --traffic reports.jsonl
    """


@policy.command()
@click.argument("directory", metavar="DIR", type=DIRECTORY)
def check(directory: Path) -> None:
    """Read the whole bundle and tell everything that is wrong with it, each with file, line and how to mend it.

    Beyond what a gateway refuses, cases that cannot be read are told, and rules that can never decide, which is proved.

    \b
    Exit code 0: nothing is wrong; 1: something is.
    Example: signalfire policy check jpn-policy
    """
    bundle = load(directory)
    found: list[Problem] = []
    cases: tuple[Case, ...] = ()
    try:
        cases = read_cases(bundle)
    except PolicyError as error:
        found += error.problems
    for shadow in proofs.shadowed(bundle):
        file = f"partners/{shadow.partner}.yaml"
        because = _why_never(shadow.by)
        what = f'The rule "{shadow.rule}" never decides: {because}.'
        line = _line_of_rule(file, bundle.files[file], shadow.rule)
        found.append(Problem(file, line, what, "Take it out, or mend its condition."))
    if found:
        raise refused(directory, found)
    for partner, rules in bundle.partners.items():
        click.echo(f"{partner}: {_count(len(rules.rules), 'rule')}")
    counts = (
        _count(len(bundle.partners), "partner"),
        _count(len(bundle.agreements), "agreement"),
        _count(len(bundle.invariants), "invariant"),
        _count(len(cases), "case"),
    )
    click.echo(f"{directory}: the policy of {bundle.node} is in order: {', '.join(counts)}")
    click.echo(f"digest {bundle.digest.hex()}")


def _why_never(by: tuple[str, ...]) -> str:
    if not by:
        return "it matches no valid report"
    if len(by) == 1:
        return f'"{by[0]}" always decides before it'
    named = [f'"{name}"' for name in by]
    return f"between them {', '.join(named[:-1])} and {named[-1]} decide everything that it would"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _line_of_rule(file: str, content: bytes, rule: str) -> int:
    """The line on which a rule is named; 0 where it is not found."""
    root, _ = yaml_source.read(file, content, language.Limits())
    listing = root.entries.get("rules") if isinstance(root, yaml_source.Mapping) else None
    for node in listing.items if isinstance(listing, yaml_source.Listing) else ():
        written = yaml_source.plain(node)
        if isinstance(written, dict) and written.get("name") == rule:
            return yaml_source.line_of(node, ("name",))
    return 0


@policy.command()
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit code 1 where something would change.")
@click.argument("path", metavar="DIR|FILE", type=click.Path(exists=True, path_type=Path))
def fmt(path: Path, only_check: bool) -> None:
    """Lay the files of a bundle out in the one way: keys in order, even space, every comment kept.

    What the files say does not change; that is checked before anything is written. A bundle that `check` refuses is
    left as it is.

    \b
    Exit code 0: all is laid out so; 1: with --check, something is not, or the bundle is refused.
    Examples: signalfire policy fmt jpn-policy
              signalfire policy fmt jpn-policy/partners/KOR.yaml --check
    """
    directory = (
        path if path.is_dir() else path.parent.parent if path.parent.name in ("partners", "cases") else path.parent
    )
    bundle = load(directory)
    cases_of(directory, bundle)
    wanted = None if path.is_dir() else path.relative_to(directory).as_posix()
    changed: dict[str, bytes] = {}
    for name, content in sorted(bundle.files.items()):
        if name.startswith(f"{AREAS}/") or wanted not in (None, name):
            continue
        try:
            laid_out = formatted(name, content)
        except PolicyError as error:
            raise refused(directory, error.problems) from error
        if laid_out != content:
            changed[name] = laid_out
    language.compile_bundle({**bundle.files, **changed})
    for name, content in changed.items():
        click.echo(f"{directory}/{name}")
        if not only_check:
            _replace(directory / name, content)
    if changed and only_check:
        sys.exit(1)


def _replace(path: Path, content: bytes) -> None:
    """Replaces a file whole, so that whatever fails leaves the old one or the new one."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(content)
        shutil.copymode(path, beside)
        beside.replace(path)
    except OSError as error:
        raise click.ClickException(str(error)) from error


@policy.command()
@click.option("--node", required=True, metavar="CODE", help="Your nation's node: ISO 3166-1 alpha-3, such as JPN.")
@click.option("--partner", required=True, metavar="CODE", help="The partner that the example is about, such as KOR.")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def init(directory: Path, node: str, partner: str) -> None:
    """Write a commented example of a policy, which `check`, `test` and `prove` find in order as it stands.

    Also written are JSON Schemas, under DIR/.schema, so that editors complete and check the files. Nothing is ever
    overwritten.

    \b
    Exit code 0: it is written; 1: there is something in DIR already.
    Example: signalfire policy init jpn-policy --node JPN --partner KOR
    """
    for code in (node, partner):
        if code not in NODE_CODES:
            raise click.UsageError(f'"{code}" is not a node\'s code. {did_you_mean_country(code)}')
    if node == partner:
        raise click.UsageError("A node is not its own partner: give two codes.")
    files = {
        path.relative_to(_TEMPLATE).as_posix().replace("PARTNER", partner): path.read_text("utf-8")
        .replace("PARTNER", partner)
        .replace("NODE", node)
        for path in sorted(_TEMPLATE.rglob("*.yaml"))
    }
    files |= {f"{SCHEMA_DIRECTORY}/{name}.json": _schema_text(name) for name in schemas()}
    try:
        if directory.exists() and any(directory.iterdir()):
            raise click.ClickException(f"{directory} is not empty: name a new directory, or empty this one")
        for name, text in files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            with (directory / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    for name in files:
        if not name.startswith("."):
            click.echo(f"{directory}/{name}")
    click.echo(f"next: signalfire policy test {directory}")


def _schema_text(name: str) -> str:
    return json.dumps(schemas()[name], indent=2, ensure_ascii=False) + "\n"


@policy.command()
@click.option(
    "--dir", "directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Write all here."
)
@click.argument("name", required=False, type=click.Choice(["policy", "partner", "invariants", "cases"]))
def schema(name: str | None, directory: Path | None) -> None:
    """Print the JSON Schema (draft 2020-12) of one kind of file, or write all of them into a directory.

    Editors that know the YAML language server use it where a file begins with
    "# yaml-language-server: $schema=.schema/policy.json", as those of `init` do.

    \b
    Examples: signalfire policy schema partner
              signalfire policy schema --dir jpn-policy/.schema
    """
    if (name is None) is (directory is None):
        raise click.UsageError("Name policy, partner, invariants or cases, or give --dir.")
    if name is not None:
        click.echo(_schema_text(name), nl=False)
    if directory is not None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for each in schemas():
                (directory / f"{each}.json").write_text(_schema_text(each), "utf-8")
                click.echo(f"{directory}/{each}.json")
        except OSError as error:
            raise click.ClickException(str(error)) from error


for command in (*policy_questions.COMMANDS, *approvals.COMMANDS):
    policy.add_command(command)
