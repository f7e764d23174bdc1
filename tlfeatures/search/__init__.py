"""Image search: `ImageIndex`, nearest neighbours of pictures in code space.

Promises: exact distances, ties in the order of the pictures; `search` leaves out a query's content.
Must not know: labels' meaning, pages, command lines.
"""

from tlfeatures.search._index import ImageIndex, Neighbour, save_sheet

__all__ = ["ImageIndex", "Neighbour", "save_sheet"]
