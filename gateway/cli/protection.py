"""The options with which commands lock and unlock private keys, and the asking for a passphrase."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from gateway.identity.errors import LockError, Refusal
from gateway.identity.locked import KeyLock, Unwrapper, Wrapper
from gateway.identity.relocking import method_of
from gateway.identity.unlocking import MIN_PASSPHRASE, Command, KeyFile, Passphrase, passphrase_in

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE: Final = click.Path(dir_okay=False, path_type=Path)


def locking_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the ways to lock; the command is given `wrapper`, a Wrapper, or None where no way is named."""

    @click.option(
        "--lock-with-passphrase-file", "to_passphrase", type=FILE, help="Lock with the passphrase in this file."
    )
    @click.option(
        "--lock-with-key-file",
        "to_key_file",
        type=NEW_FILE,
        help="Lock with this file of 32 random bytes, which is made if it is not there. Keep it apart from the keys.",
    )
    @click.option(
        "--lock-with-command",
        "to_command",
        metavar="PROGRAM",
        help="Lock with a program that is given the key-encryption key and prints it wrapped. With --unlock-command.",
    )
    @click.option(
        "--unlock-command",
        "back_command",
        metavar="PROGRAM",
        help="The program that unwraps it again, as `unlock: {command: ..}` of the configuration names it.",
    )
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        to_passphrase: Path | None,
        to_key_file: Path | None,
        to_command: str | None,
        back_command: str | None,
        **kwargs: Any,
    ) -> Any:
        if sum(each is not None for each in (to_passphrase, to_key_file, to_command)) > 1:
            raise click.UsageError("keys are locked in one way: give one of the --lock-with options")
        if (to_command is None) != (back_command is None):
            raise click.UsageError("--lock-with-command and --unlock-command go together")
        wrapper: Wrapper | None = None
        if to_passphrase is not None:
            wrapper = Passphrase.of_file(to_passphrase)
        elif to_key_file is not None:
            wrapper = KeyFile(to_key_file)
        elif to_command is not None and back_command is not None:
            wrapper = Command(shlex.split(back_command), shlex.split(to_command))
        return command(*args, wrapper=wrapper, **kwargs)

    return wrapped


def unlocking_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the ways to unlock; the command is given `unwrapper_of`, which makes an Unwrapper for a directory."""

    @click.option("--passphrase-file", type=FILE, help="File with the passphrase that unlocks. Asked for otherwise.")
    @click.option("--key-file", type=FILE, help="Key file that unlocks.")
    @click.option("--command", "program", metavar="PROGRAM", help="Program that unwraps the key-encryption key.")
    @functools.wraps(command)
    def wrapped(
        *args: Any, passphrase_file: Path | None, key_file: Path | None, program: str | None, **kwargs: Any
    ) -> Any:
        if sum(each is not None for each in (passphrase_file, key_file, program)) > 1:
            raise click.UsageError("keys are unlocked in one way: give one of --passphrase-file, --key-file, --command")

        def unwrapper_of(directory: Path) -> Unwrapper | None:
            if key_file is not None:
                return KeyFile(key_file)
            if program is not None:
                return Command(shlex.split(program))
            return passphrase_for(directory, passphrase_file)

        return command(*args, unwrapper_of=unwrapper_of, **kwargs)

    return wrapped


def passphrase_option(whose: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds --passphrase-file, which the command is given as `passphrase_file`."""
    return click.option("--passphrase-file", type=FILE, help=f"File with the passphrase of {whose}. Asked otherwise.")


def nation_lock(directory: Path, passphrase_file: Path | None) -> KeyLock:
    """The lock of a nation's directory, opened with a passphrase where it has one."""
    return KeyLock(directory, passphrase_for(directory, passphrase_file))


def passphrase_for(directory: Path, passphrase_file: Path | None) -> Passphrase | None:
    """What opens a directory that is locked by a passphrase: the file, or whoever sits there. None for other locks."""
    if passphrase_file is not None:
        return Passphrase.of_file(passphrase_file)
    if method_of(directory) != Passphrase.of_text("").method:
        return None
    return Passphrase(functools.cache(lambda: ask(f"Passphrase of {directory}")), str(directory))


def key_passphrase(path: Path, passphrase_file: Path | None) -> Callable[[], bytes]:
    """What gives the passphrase of one key file when it is needed."""
    if passphrase_file is not None:
        return lambda: passphrase_in(passphrase_file)
    return lambda: ask(f"Passphrase of {path}")


def new_passphrase(passphrase_file: Path | None, what: str, *, unlocked: bool) -> bytes | None:
    """The passphrase for what is made now: from the file, or asked for twice; None where it is to stay plain."""
    if unlocked and passphrase_file is not None:
        raise click.UsageError("--unlocked and --passphrase-file exclude each other")
    if unlocked:
        return None
    if passphrase_file is not None:
        return passphrase_in(passphrase_file)
    return ask(f"A passphrase for {what} ({MIN_PASSPHRASE} characters or more)", new=True)


def ask(prompt: str, *, new: bool = False) -> bytes:
    """What is typed, which is not shown. Raises LockError where nobody can type."""
    if not sys.stdin.isatty():
        raise LockError(
            Refusal.LOCKED,
            "a passphrase is needed, and there is nobody at a terminal to ask",
            where=prompt,
            mend="Give it with --passphrase-file"
            + (", or leave the key without encryption with --unlocked." if new else "."),
        )
    typed: str = click.prompt(prompt, hide_input=True, confirmation_prompt=new, err=True)
    return typed.encode("utf-8")
