"""Words and progress on stderr."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from tlfeatures.cli._echo import echo
from tlfeatures.cli._wording import as_typed, running

if TYPE_CHECKING:
    from tlfeatures.extraction import Progress


class ProgressLine:
    """A tqdm line with pictures/s and the time left; nothing when quiet.

    Parameters
    ----------
    quiet : bool
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._command = running()  # threads that say something know of none
        self._bar: Any = None

    def __call__(self, progress: Progress) -> None:
        if self.quiet:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=progress.total,
                initial=progress.done,  # done before the line's clock starts: no part of its rate
                unit=" pictures",
                file=sys.stderr,
                leave=False,
            )
        self._bar.update(progress.done - self._bar.n)
        if progress.done == progress.total:
            self._bar.close()
            self._bar = None

    def listen(self) -> None:
        """Say what the package logs, each line once, as notes."""
        logger = logging.getLogger("tlfeatures")
        for old in [h for h in logger.handlers if isinstance(h, _Notes)]:
            logger.removeHandler(old)
        logger.addHandler(_Notes(self))
        logger.setLevel(logging.INFO)
        logger.propagate = False

    def say(self, words: str) -> None:
        """One line on stderr, above the progress line if that is there."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.clear()
        echo(as_typed(words, self._command), err=True)
        if self._bar is not None:
            self._bar.refresh()


class _Notes(logging.Handler):
    def __init__(self, line: ProgressLine) -> None:
        super().__init__()
        self._line = line
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        if words not in self._said:
            self._said.add(words)
            self._line.say(f"note: {words}")
