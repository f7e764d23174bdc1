"""Image search: `ImageIndex`, nearest neighbours of pictures in code space.

Promises: exact distances, ties in the order of the pictures; a query's own file is not among them,
its copies are named.
Must not know: labels' meaning, pages, command lines.
"""

from tlfeatures.search._index import Answers, ImageIndex, Neighbour, Neighbours, save_sheet

__all__ = ["Answers", "ImageIndex", "Neighbour", "Neighbours", "save_sheet"]
