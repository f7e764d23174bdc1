"""The group of commands, and what becomes of errors."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Sequence

import click

from tlfeatures._version import __version__
from tlfeatures.cli import _old_words as old_words
from tlfeatures.cli._echo import echo
from tlfeatures.cli._verbs import Verbs, find_command
from tlfeatures.cli._wording import as_typed
from tlfeatures.errors import TlfeaturesError, UsageError

RARELY = (50_000, 20, 20)  # for the garbage collector: imports make a million objects that stay
COMPLAINING = "triton"  # of whatever of its own is not collected at the end
EXTRACTION = "tlfeatures.extraction"
STOPPED = "stopped; what was computed is in the cache, the same command goes on from there."


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tlfeatures")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Code a folder of pictures once, then ask it questions.

    A pretrained network turns each picture into a code, which is kept in a cache. Classifiers and
    image search work on the codes. Start with 'tlfeatures demo', then 'tlfeatures look FOLDER' and
    'tlfeatures fit FOLDER' on class folders of your own.

    'tlfeatures VERB --help' shows a verb's everyday options, --help-all all of them.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 the words are wrong, 1 anything else."""
    # Workers that are ended by Ctrl-C leave semaphores to a process that tidies up and complains.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    gc.set_threshold(*RARELY)
    code = run(sys.argv[1:] if arguments is None else list(arguments))
    if EXTRACTION in sys.modules:
        sys.modules[EXTRACTION].end_workers()
    if COMPLAINING not in sys.modules:
        gc.freeze()  # looking once more at all that torch leaves behind takes half a second
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command line; return the exit code."""
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    try:
        if (today := old_words.answer(arguments)) is not None:
            raise UsageError(today)
        answer = cli.main(arguments, prog_name="tlfeatures", standalone_mode=False)
        sys.stdout.flush()  # here a full disk can still be said
        return answer if isinstance(answer, int) else 0
    except click.NoSuchOption as error:
        hint = old_words.OPTIONS.get(error.option_name)
        if hint is None:
            error.show()
        else:
            _complain(f"error: {error.option_name} is gone; use {hint}.")
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as stop:
        words = stop.__cause__ or stop  # click has made an Abort of the interrupt
        _complain(str(words) or STOPPED)
        return 1
    except BrokenPipeError:  # whoever reads has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (TlfeaturesError, OSError, MemoryError) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        line = as_typed(str(error) or type(error).__name__, find_command(arguments))
        _complain(f"error: {line}")
        return 2 if isinstance(error, UsageError) else 1
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        line = as_typed(str(error) or "no more is known", find_command(arguments))
        _complain(f"error: {type(error).__name__}: {line}; with --debug before the verb, where.")
        return 1


def _complain(words: str) -> None:
    echo(" ".join(words.splitlines()), err=True)
