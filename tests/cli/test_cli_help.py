"""Help in two lengths, and what becomes of words that are wrong or old."""

from __future__ import annotations

import click
import pytest

from tlfeatures.cli import _old_words
from tlfeatures.cli._app import run
from tlfeatures.cli._help import CODES, GROUPS, MOST_EVERYDAY, Verb
from tlfeatures.cli._verbs import VERBS, all_commands, find_command

Capture = pytest.CaptureFixture[str]
LONG = [(words, each) for words, each in all_commands() if isinstance(each, Verb)]


def shown(capsys: Capture, *words: str) -> str:
    assert run([*words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("words", "command"), LONG, ids=[words for words, _ in LONG])
def test_help_shows_the_everyday_options_and_help_all_the_rest(
    words: str, command: Verb, capsys: Capture
) -> None:
    assert 0 < len(command.everyday) <= MOST_EVERYDAY
    short = shown(capsys, *words.split(), "--help")
    full = shown(capsys, *words.split(), "--help-all")
    options = [each for each in command.params if isinstance(each, click.Option)]
    for option in options:
        name = option.opts[-1]
        assert name in full
        is_shown = f"\n  {name} " in short or f", {name} " in short
        assert is_shown == (option.name in command.everyday), name
    assert command.example in short
    n_more = len(options) - len(command.everyday) - 1  # --help-all itself
    assert (f"--help-all shows {n_more} more options" in short) == (n_more > 0)
    assert " ".join(short.split()).count(CODES) == ("code" in (command.help or ""))


@pytest.mark.parametrize(("words", "command"), LONG, ids=[words for words, _ in LONG])
def test_everyday_options_are_explained(words: str, command: Verb) -> None:
    for option in command.params:
        if option.name in command.everyday:
            assert (option.help or "")[:1].isupper(), option.name


def test_shared_options_stand_in_one_group_each() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names))


def test_the_first_page_has_every_verb_by_what_it_is_for(capsys: Capture) -> None:
    page = shown(capsys, "help")
    assert page == shown(capsys, "--help")
    for section in ("Start:", "Ask:", "Go further:", "Underneath:"):
        assert section in page
    assert [verb for verb in VERBS if f"\n  {verb} " not in page] == []


def test_help_takes_a_verb(capsys: Capture) -> None:
    assert shown(capsys, "help", "fit") == shown(capsys, "fit", "--help")
    assert shown(capsys, "help", "cache", "gc") == shown(capsys, "cache", "gc", "--help")


def test_a_wrong_verb_gets_the_nearest_one(capsys: Capture) -> None:
    assert run(["serch", "x"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: there is no verb 'serch'; did you mean 'search'?")
    assert len(err.splitlines()) == 1
    assert run(["quux"]) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("old", list(_old_words.VERBS), ids=" ".join)
def test_an_old_verb_is_answered_with_the_new_one(old: tuple[str, ...], capsys: Capture) -> None:
    assert run([*old, "x", "y"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {' '.join(old)} is now ")
    assert len(err.splitlines()) == 1


def test_a_folder_may_have_an_old_words_name(tmp_path: object, capsys: Capture) -> None:
    assert _old_words.answer(["look", "augment"]) is None
    assert _old_words.answer(["look", "augment", "folder"]) is not None
    assert _old_words.answer(["fit", "advise"]) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fit x --compile on", "--kernels on or off"),
        ("fit x --with-weights", "--without-weights"),
        ("finetune x --train-batch 8", "--train-batch-size"),
    ],
)
def test_an_old_option_is_answered_with_the_new_one(words: str, said: str, capsys: Capture) -> None:
    assert run(words.split()) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "is gone" in err


def test_short_forms(capsys: Capture) -> None:
    for verb in ("fit", "predict", "extract", "finetune", "demo"):
        command = find_command([verb])
        assert command is not None
        opts = {opt for param in command.params for opt in param.opts}
        assert {"-o", "-q"} <= opts
