"""The stored codes of given pictures as one plain file, without any network."""

from __future__ import annotations

import os

from tlfeatures.errors import ImageReadError, StoreError
from tlfeatures.extraction._extract import remembered_bad
from tlfeatures.pictures import DecodeOptions, Pictures, content_digest, row_key
from tlfeatures.store import CodeCache, Codes, export_codes, find_folder


def export_pictures(
    root: str | os.PathLike[str],
    words: str,
    pictures: Pictures,
    out: str | os.PathLike[str],
    options: DecodeOptions | None = None,
) -> tuple[tuple[int, int], list[tuple[str, str]]]:
    """Write the stored codes of these pictures, with paths and labels.

    Parameters
    ----------
    root : path
        The cache folder.
    words : str
        Which codes: a folder of the cache, see `store.find_folder`.
    pictures : Pictures
        In this order; those that are remembered as bad, or cannot be read, are left out.
    out : path
    options : DecodeOptions, optional
        As they were when the codes were extracted.

    Returns
    -------
    shape : (n, d)
    bad : list of (path, reason)
        The pictures that were left out.

    Raises
    ------
    StoreError
        If a picture has no codes in that folder, or the file cannot be written.
    """
    options = options or DecodeOptions()
    cache = CodeCache(root, find_folder(root, words)[1])
    keys, bad = [], {}
    for row, item in enumerate(pictures.items):
        try:
            keys.append(row_key(content_digest(item), options))
        except ImageReadError as error:
            keys.append(b"")
            bad[row] = str(error)
    bad |= remembered_bad([cache], keys, options)
    rows = [row for row in range(len(pictures)) if row not in bad]
    wanted = [keys[row] for row in rows]
    n_missing = int((~cache.find(wanted)).sum())
    if n_missing:
        raise StoreError(
            f"{n_missing} of {len(pictures)} pictures have no codes in {cache.folder}; extract "
            "them first, or name the `exif` and `range` that they were extracted with."
        )
    kept: Pictures = pictures[rows]
    labels = None if kept.labels is None else kept.labels.tolist()
    codes = Codes(cache, wanted, kept.paths, labels)
    export_codes(codes, out)
    return codes.shape, [(pictures.paths[row], bad[row]) for row in sorted(bad)]
