"""The verbs: their names, and their commands, each imported when it is first used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module

import click

VERBS = {
    "demo": "The whole job on embedded data and the embedded network.",
    "extract": "Fill the cache with the codes of pictures.",
    "fit": "Train and score classifiers on the codes of labelled pictures.",
    "predict": "Label pictures with a saved model.",
    "evaluate": "Score a saved model on labelled pictures.",
    "search": "Find the nearest pictures of a query.",
    "finetune": "Train the network further, where codes are not enough.",
    "advise": "Say which strategy suits the pictures: codes, or fine-tuning.",
    "look": "Look at the data: samples of augmented pictures.",
    "backbones": "List, describe and examine the networks.",
    "cache": "Where the cache is and what is in it.",
}


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
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


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
