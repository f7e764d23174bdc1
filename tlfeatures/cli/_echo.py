"""Lines on stdout and stderr, in whatever code page they have."""

from __future__ import annotations

import sys

import click


def echo(words: str = "", *, err: bool = False) -> None:
    """Print a line, as far as the stream can hold it."""
    click.echo(printable(words, err=err), err=err)


def printable(words: str, *, err: bool = False) -> str:
    r"""The same text; what the stream cannot hold is shown as \xe9, \u0107 or \udce9.

    The last is a byte of a file name that is not UTF-8.
    """
    encoding = encoding_of(err=err)
    return words.encode(encoding, "backslashreplace").decode(encoding)


def is_utf8(words: str) -> bool:
    """Whether stdout is UTF-8, and the text without names that are not."""
    try:
        words.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return encoding_of().lower().replace("-", "") == "utf8"


def encoding_of(*, err: bool = False) -> str:
    """What the stream is encoded in."""
    stream = sys.stderr if err else sys.stdout
    return getattr(stream, "encoding", None) or "utf-8"
