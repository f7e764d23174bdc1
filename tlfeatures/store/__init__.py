"""The HDF5 cache of CNN codes: which numbers they are, where they lie, how they are read again.

Promises: announced rows survive a kill, each row is checked when read, no row of another spec.
Must not know: pictures, networks, torch, scikit-learn; a row is 16 bytes of key and d floats.
"""

from tlfeatures.store._cache import CodeCache, default_cache_dir
from tlfeatures.store._codes import Codes
from tlfeatures.store._export import export_codes
from tlfeatures.store._info import CacheFolder, cache_info, cache_totals
from tlfeatures.store._memo import RangeMemo, SpecMemo
from tlfeatures.store._spec import CodeSpec
from tlfeatures.store._writer import ShardWriter

__all__ = [
    "CacheFolder",
    "CodeCache",
    "CodeSpec",
    "Codes",
    "RangeMemo",
    "ShardWriter",
    "SpecMemo",
    "cache_info",
    "cache_totals",
    "default_cache_dir",
    "export_codes",
]
