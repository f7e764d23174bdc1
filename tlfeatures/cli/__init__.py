"""The command line: one module a verb; each parses, calls one public function, prints.

Promises: results on stdout, words on stderr, exit codes 0, 1, 2, one line for an error.
Must not know: how anything is computed. Importing it imports neither torch nor scikit-learn.
"""

from tlfeatures.cli._app import cli, main

__all__ = ["cli", "main"]
