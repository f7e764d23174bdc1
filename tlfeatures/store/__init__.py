"""The HDF5 cache of CNN codes: which numbers they are, where they lie, how they are read again.

Promises: announced rows survive a kill, each row is checked when read, no row of another spec.
Must not know: pictures, networks, torch, scikit-learn; a row is 16 bytes of key and d floats.
"""

from tlfeatures.store._cache import CodeCache
from tlfeatures.store._codes import Codes
from tlfeatures.store._files import check_folder, scratch_file
from tlfeatures.store._folder import default_cache_dir, user_cache_dir
from tlfeatures.store._probes import Probes, relative_difference, tolerance
from tlfeatures.store._spec import CodeSpec
from tlfeatures.store._writer import ShardWriter
from tlfeatures.store.memory._file_memo import FileMemo
from tlfeatures.store.memory._memo import AnswerMemo, SpecMemo, facts_of
from tlfeatures.store.upkeep._export import export_codes
from tlfeatures.store.upkeep._gc import Collection, gc_cache
from tlfeatures.store.upkeep._info import (
    OWN_CONTRACTS,
    CacheFolder,
    cache_info,
    cache_totals,
    folder_size,
    newest_contract,
)
from tlfeatures.store.upkeep._kernels import KERNELS, CompiledFile, compiled_totals, list_compiled
from tlfeatures.store.upkeep._take import Taken, merge_caches
from tlfeatures.store.upkeep._verify import (
    Problem,
    Repair,
    Verification,
    repair_cache,
    verify_cache,
)

__all__ = [
    "KERNELS",
    "OWN_CONTRACTS",
    "AnswerMemo",
    "CacheFolder",
    "CodeCache",
    "CodeSpec",
    "Codes",
    "Collection",
    "CompiledFile",
    "FileMemo",
    "Probes",
    "Problem",
    "Repair",
    "ShardWriter",
    "SpecMemo",
    "Taken",
    "Verification",
    "cache_info",
    "cache_totals",
    "check_folder",
    "compiled_totals",
    "default_cache_dir",
    "export_codes",
    "facts_of",
    "folder_size",
    "gc_cache",
    "list_compiled",
    "merge_caches",
    "newest_contract",
    "relative_difference",
    "tolerance",
    "repair_cache",
    "scratch_file",
    "user_cache_dir",
    "verify_cache",
]
