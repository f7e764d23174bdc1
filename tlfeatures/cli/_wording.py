"""Messages of the rooms in the words of the command line.

A room names a parameter in backticks, as Python has it: `decode="fast"`. Here it becomes the option
of the command that runs, --decode fast; where that has none, a command that has it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, TypeVar

import click

from tlfeatures.cli._verbs import all_commands

OTHER_NAMES = {
    "heads": "head",
    "n_jobs": "jobs",
    "random_state": "seed",
    "n_blocks": "blocks",
    "n_neighbors": "k",
}
# The command line has nothing like them.
PYTHON_ALONE = ("on_bad", "y", "labels", "weights_id", "tensors")
LIKELY = ("fit", "extract", "finetune", "search", "predict")
TOKEN = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")
WAY_OUT = re.compile(
    rf"(?:,? or|;|,? and) (?:use|pass|give|set) `(?:{'|'.join(PYTHON_ALONE)})(?:=[^`]*)?`"
    r"(?: to \w+)?"
)
R = TypeVar("R")


def as_typed(words: str, command: click.Command | None = None) -> str:
    """The message with options in place of Python's parameters.

    Parameters
    ----------
    words : str
    command : Command, optional
        The one that runs; default: as click knows it.

    Examples
    --------
    >>> as_typed('see `decode="fast"`', find_command(["extract"]))
    'see --decode fast'
    >>> as_typed("use `backbone=NAME`", find_command(["predict"]))
    "use 'tlfeatures fit IMAGES --backbone NAME'"
    """
    if "`" not in words:
        return words
    command = command or running()
    return TOKEN.sub(lambda found: _option(found, command), WAY_OUT.sub("", words))


def with_typed(result: R) -> R:
    """A result whose `warnings` and bad pictures' reasons are in the words of the command line."""
    changes: dict[str, Any] = {}
    if hasattr(result, "warnings"):
        changes["warnings"] = type(result.warnings)(as_typed(each) for each in result.warnings)
    if hasattr(result, "bad"):
        changes["bad"] = [(path, as_typed(reason)) for path, reason in result.bad]
    if hasattr(result, "words"):
        changes["words"] = as_typed(result.words)
    made: R = replace(result, **changes)  # type: ignore[type-var]
    return made


def running() -> click.Command | None:
    """The command that runs in this thread."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.command


def _option(found: re.Match[str], command: click.Command | None) -> str:
    name, value = found.groups()
    option = _find(name, command)
    if option is not None:
        return _spell(option, value)
    commands = dict(all_commands())
    for words in [*LIKELY, *commands]:
        option = _find(name, commands[words])
        if option is not None:
            line = " ".join(["tlfeatures", words, *_arguments(commands[words])])
            return f"'{line} {_spell(option, value)}'"
    return found.group(0)


def _find(name: str, command: click.Command | None) -> click.Option | None:
    """The command's option for a parameter."""
    if command is None:
        return None
    long = OTHER_NAMES.get(name, name).replace("_", "-")
    wanted = {f"--{long}", f"-{long}"}
    options = (each for each in command.params if isinstance(each, click.Option))
    return next((each for each in options if wanted & set(each.opts)), None)


def _arguments(command: click.Command) -> list[str]:
    """Their names, as the help has them."""
    arguments = (each for each in command.params if isinstance(each, click.Argument))
    return [each.metavar or str(each.name).upper() for each in arguments]


def _spell(option: click.Option, value: str | None) -> str:
    """--decode fast; a flag stands alone; what is on or off in words is so here."""
    name = option.opts[0]
    if value is None or (option.is_flag and value == "True"):
        return name
    on_off = {"True": "on", "False": "off"}
    return f"{name} {on_off.get(value, value).strip(chr(34) + chr(39))}"
