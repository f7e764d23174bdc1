"""Image search: `ImageIndex`, nearest neighbours of pictures in code space.

Promises: exact distances, ties in the order of the pictures, the query's own content left out on request.
Must not know: labels' meaning, pages, command lines.
"""

from tlfeatures.search._index import ImageIndex, Neighbour, save_sheet

__all__ = ["ImageIndex", "Neighbour", "save_sheet"]
