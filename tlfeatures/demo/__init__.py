"""The main job on embedded data: the digits that come inside scikit-learn, drawn as pictures.

Promises: no downloads, the same pictures from the same seed, honest words about what was drawn.
Must not know: command lines.
"""

from tlfeatures.demo._digits import WHAT_WAS_DONE, draw_digits, write_digits
from tlfeatures.demo._run import DemoResult, make_demo

__all__ = ["WHAT_WAS_DONE", "DemoResult", "draw_digits", "make_demo", "write_digits"]
