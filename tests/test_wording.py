"""Every command and option that a message, a help or a page names is typed: it must exist there.

A room names a parameter as Python has it, in backticks; the command line makes an option of it.
A command is named whole, in quotes: 'tlfeatures cache verify --repair'.
"""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest

import tlfeatures
from tlfeatures.advice import advise
from tlfeatures.backbones import BackboneRequest
from tlfeatures.classification import TransferClassifier, evaluate_baseline
from tlfeatures.cli import cli
from tlfeatures.cli._verbs import VERBS, all_commands, find_command
from tlfeatures.cli._wording import OTHER_NAMES, PYTHON_ALONE, TOKEN, WAY_OUT, as_typed
from tlfeatures.extraction import CNNCodes, RunOptions
from tlfeatures.finetuning import FineTunedClassifier, evaluate_finetuning
from tlfeatures.pictures import DecodeOptions, load_pictures
from tlfeatures.search import ImageIndex

ROOT = Path(tlfeatures.__file__).parent
LONG = re.compile(r"(?<![\w/-])--[a-z][a-z-]*\b")
QUOTED = re.compile(r"'(tlfeatures [^']*)'")
NAMED = re.compile(rf"'((?:{'|'.join(VERBS)})(?: [a-z-]+)*)'")
PUBLIC = (
    CNNCodes, TransferClassifier, TransferClassifier.save, TransferClassifier.load,
    FineTunedClassifier, FineTunedClassifier.fit, ImageIndex, ImageIndex.search, RunOptions,
    DecodeOptions, BackboneRequest, evaluate_baseline, evaluate_finetuning, advise,
    load_pictures,
)  # fmt: skip
COMMANDS = dict(all_commands())


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module that somebody may read, with `{}` for what is put in; no docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            silent |= {id(part) for part in node.values}
            yield (
                node.lineno,
                "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "{}"
                    for part in node.values
                ),
            )
        elif isinstance(getattr(node, "value", None), str) and id(node) not in silent:
            yield node.lineno, node.value  # type: ignore[attr-defined]


@cache
def messages() -> list[tuple[str, str]]:
    """Where each text stands, and the text."""
    paths = sorted(ROOT.rglob("*.py"))
    return [
        (f"{path.relative_to(ROOT)}:{line}", text) for path in paths for line, text in strings(path)
    ]


def rooms() -> list[tuple[str, str]]:
    """Texts outside the command line."""
    return [(place, text) for place, text in messages() if not place.startswith("cli/")]


def helps() -> list[tuple[str, str]]:
    """Every help, as it is printed."""
    found = [("tlfeatures", cli.get_help(click.Context(cli, info_name="tlfeatures")))]
    for words, command in COMMANDS.items():
        found.append((words, command.get_help(click.Context(command, info_name=words))))
    return found


def options_of(command: click.Command) -> set[str]:
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts)}


def type_it(line: str) -> None:
    """Let click parse a command line; values that are left open are filled in.

    Raises
    ------
    click.UsageError
        If there is no such command or option.
    """
    _, *arguments = shlex.split(line.replace("{}", ""))
    command: click.Command = cli
    while isinstance(command, click.Group):
        assert arguments, f"{line} names a group, no command"
        context = click.Context(command)
        name = arguments.pop(0)
        if name.startswith("-"):
            assert name in options_of(command) | {"-h", "--help"}, line
            if name.endswith(("-h", "help")):
                return
            continue
        found = command.get_command(context, name)
        assert found is not None, f"{line}: there is no {name}"
        command = found
    given = {word for word in arguments if word.startswith("-")}
    assert given <= options_of(command) | {"-h", "--help"}, f"{line}: {given - options_of(command)}"


def parameters() -> set[str]:
    """Of all that a person calls from Python."""
    found: set[str] = set()
    for each in PUBLIC:
        found |= set(inspect.signature(each).parameters)
    return found


def test_commands_that_messages_quote_exist_with_their_options() -> None:
    quoted = [(place, line) for place, text in messages() for line in QUOTED.findall(text)]
    assert len(quoted) > 8
    for _, line in quoted:
        type_it(line)


def test_commands_that_messages_or_helps_name_by_their_verb_exist() -> None:
    named = [(p, line) for p, text in [*messages(), *helps()] for line in NAMED.findall(text)]
    assert len(named) > 5
    for _, line in named:
        if line.split()[0] in ("cache", "backbones", "look") or " " in line:
            type_it(f"tlfeatures {line}")


def test_lines_to_copy_exist_with_their_options() -> None:
    from tlfeatures.demo._run import NEXT_STEPS

    for line in NEXT_STEPS:
        type_it(line)


def test_rooms_name_parameters_as_python_has_them() -> None:
    known = parameters() | set(PYTHON_ALONE)
    named = [(p, found[1]) for p, text in rooms() for found in TOKEN.finditer(text)]
    assert len(named) > 25
    assert [(place, name) for place, name in named if name not in known] == []


def test_each_parameter_that_a_message_names_is_an_option_of_a_command() -> None:
    for place, text in rooms():
        for found in TOKEN.finditer(WAY_OUT.sub("", text)):
            if found[1] not in parameters() | set(PYTHON_ALONE):
                continue
            said = as_typed(found[0], None)
            assert said.startswith("'tlfeatures "), f"{place}: {found[0]} is no option of a command"
            type_it(said.strip("'"))


def test_rooms_name_no_option_without_its_command() -> None:
    """Whoever reads the message in Python has no --option; both may be named."""
    bare = []
    for place, text in rooms():
        rest = re.sub(r"pip install .*", "", QUOTED.sub("", text))
        for option in LONG.findall(rest):
            python = option[2:].replace("-", "_")
            if text.startswith("tlfeatures ") or re.search(rf"\b{python}\s*=", rest):
                continue
            bare.append((place, option))
    pieces = ("advice/_costs.py", "demo/_run.py")  # whole lines, typed in tests/advice and above
    assert [each for each in bare if not each[0].startswith(pieces)] == []


@pytest.mark.parametrize("module", sorted((ROOT / "cli").glob("_*.py")), ids=lambda p: p.stem)
def test_options_that_a_command_names_are_its_own(module: Path) -> None:
    own = [command for words, command in COMMANDS.items() if words.split()[0] == module.stem[1:]]
    if module.stem == "_old_words":
        return  # what it names is gone; tests/cli/test_cli_help.py types it
    users = own or list(COMMANDS.values())
    known = set().union(*(options_of(each) for each in users)) | {"-h", "--help", "--debug"}
    for line, text in strings(module):
        if LONG.fullmatch(text):
            continue  # an argument of a command that is put together, not a message
        for option in LONG.findall(QUOTED.sub("", text)):
            assert option in known, f"{module.name}:{line}: {option}"


@pytest.mark.parametrize("words", ["tlfeatures", *COMMANDS])
def test_options_that_a_help_names_are_those_of_the_command(words: str) -> None:
    command = cli if words == "tlfeatures" else COMMANDS[words]
    known = options_of(command) | {"-h", "--help", "--help-all"}
    assert set(LONG.findall(dict(helps())[words])) <= known


def test_a_parameter_becomes_the_option_of_the_command_that_runs() -> None:
    said = "see `decode='fast'`; `n_jobs=1` or `exif=False`"
    assert as_typed(said, find_command(["fit", "x"])) == "see --decode fast; --jobs 1 or --exif off"
    assert as_typed("`retry_bad=True` tries them", COMMANDS["predict"]) == "--retry-bad tries them"


def test_where_the_command_has_no_such_option_one_that_has_it_is_named() -> None:
    said = as_typed("use `weights=FILE`, or `backbone='embedded'`.", COMMANDS["predict"])
    assert said == "use --weights FILE, or 'tlfeatures fit IMAGES --backbone embedded'."


def test_what_python_alone_has_is_not_said_on_the_command_line() -> None:
    said = "2 bad pictures; remove them, or use `on_bad='nan'`."
    assert as_typed(said, COMMANDS["search"]) == "2 bad pictures; remove them."
    assert all(name in parameters() or name == "tensors" for name in PYTHON_ALONE if name != "y")


def test_other_words_in_backticks_stay() -> None:
    assert as_typed("a file `x=1`, `--y`, `Z`", COMMANDS["fit"]) == "a file `x=1`, `--y`, `Z`"


def test_other_names_are_those_of_options() -> None:
    every: Any = set().union(*(options_of(each) for each in COMMANDS.values()))
    assert {f"--{name}" for name in OTHER_NAMES.values() if len(name) > 1} <= every
