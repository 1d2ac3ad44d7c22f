"""Every command explains itself."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from gateway.cli import main


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


COMMANDS = list(commands(main))
EACH = pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) or "main" for path, _ in COMMANDS])


@EACH
def test_help_shows_how_to_call_the_command(path: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    example = " ".join(("signalfire", *path))
    shown = [line.strip() for line in result.output.splitlines()[1:]]
    assert any(example in line for line in shown), f"no example of {example}"


@EACH
def test_every_option_says_what_it_is_for(path: tuple[str, ...], command: click.Command) -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)} {parameter.opts[0]}"


@EACH
def test_no_line_of_help_is_broken_by_a_narrow_terminal(path: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(main, [*path, "--help"], terminal_width=120)
    assert max(map(len, result.output.splitlines())) <= 120
