"""The verbs: their names, and their commands, each imported when it is first used."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from importlib import import_module

import click

from tlfeatures.errors import UsageError

SECTIONS = {
    "Start": {
        "demo": "Show the whole job on embedded pictures.",
        "look": "What is in this folder? (no network)",
    },
    "Ask": {
        "fit": "Can these classes be told apart? Train and score classifiers.",
        "predict": "What are these pictures, and, where labels are given, how right is the model?",
        "search": "What is like this picture?",
    },
    "Go further": {
        "finetune": "Would training the network help? Then do it.",
    },
    "Underneath": {
        "extract": "Fill the cache with the codes of pictures.",
        "backbones": "List, describe and examine networks.",
        "cache": "Inspect, verify, merge and clear the cache.",
    },
}
VERBS = {verb: words for section in SECTIONS.values() for verb, words in section.items()}


def command_of(verb: str) -> click.Command:
    """The verb's command, which its module calls `command`."""
    command: click.Command = import_module(f"tlfeatures.cli._{verb}").command
    return command


class Verbs(click.Group):
    """Imports a verb's module when the verb is used; the help needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command."""
        return command_of(cmd_name) if cmd_name in VERBS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and one line each, without importing them."""
        for section, verbs in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl(list(verbs.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that is named.

        Raises
        ------
        UsageError
            If there is none of that name.
        """
        if args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"there is no verb {args[0]!r}; {hint}'tlfeatures --help' lists them.")
        return super().resolve_command(ctx, args)


def find_command(arguments: Sequence[str]) -> click.Command | None:
    """The command that these arguments run; None if they name none."""
    found: click.Command | None = None
    for word in arguments:
        if word.startswith("-"):
            continue
        if found is None:
            if word not in VERBS:
                return None
            found = command_of(word)
        elif isinstance(found, click.Group):
            inside = found.get_command(click.Context(found), word)
            if inside is None:
                return None
            found = inside
    return found


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its words, "cache export"; groups are not among them."""
    for verb in VERBS:
        command = command_of(verb)
        if isinstance(command, click.Group):
            yield from ((f"{verb} {name}", each) for name, each in command.commands.items())
        else:
            yield verb, command
