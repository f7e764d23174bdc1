"""The code store against a plain .npy memory map and a single h5py file, on the same disk.

    python benchmarks/store.py [--codes codes.h5] [--rows 100000] [--folder DIR] [--rounds 5]

codes.h5 is an exported file of real codes (`tlfeatures extract --out`; without it codes are drawn,
which says nothing about compression); its rows are repeated with
a little noise where they are positive, so that ReLU's zeros stay. Contenders take turns; reported
are medians. "Cold": the files' pages are dropped from the page cache first. Compression by blosc
is measured where hdf5plugin is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tlfeatures.store import CodeCache, Codes, CodeSpec, FileMemo

BLOCK = 1024  # rows read at a time, by all contenders


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codes", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="store-bench-", dir=given.folder))
    try:
        real = h5py.File(given.codes)["codes"][()] if given.codes else draw()
        kind = "real" if given.codes else "drawn"
        print(
            f"{len(real)} {kind} codes of {real.shape[1]} values, {(real == 0).mean():.0%} zeros\n"
        )
        layouts(np.resize(real, (16_384, real.shape[1])), folder, given.rounds)
        compare(repeat(real, given.rows), folder, given.rounds)
        look_up(folder, given.rounds)
    finally:
        shutil.rmtree(folder)


def draw() -> Any:
    """Half-normal values, an eighth of them zero."""
    rng = np.random.default_rng(0)
    codes = np.abs(rng.standard_normal((1500, 2048), dtype=np.float32))
    return codes * (rng.random(codes.shape, dtype=np.float32) > 1 / 8)


def repeat(real: Any, n_rows: int) -> Any:
    """`n_rows` rows of real codes, each with noise of its own where it is positive."""
    rng = np.random.default_rng(0)
    codes = np.resize(real, (n_rows, real.shape[1]))
    for start in range(0, n_rows, 4096):
        part = codes[start : start + 4096]
        part *= 1 + 0.01 * rng.standard_normal(part.shape, dtype=np.float32)
    return codes


def layouts(codes: Any, folder: Path, rounds: int) -> None:
    """Size, write and scan of one file in every layout."""
    ways = dataset_options()
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    sizes: dict[str, int] = {}
    for _ in range(rounds):
        for name, options in ways.items():
            path = folder / "layout.h5"
            stored = codes.astype(options.get("dtype", "float32"))
            write = timed(lambda p=path, s=stored, o=options: write_file(p, s, o))
            warm = timed(lambda p=path: scan_h5(p))
            drop_pages(path)
            cold = timed(lambda p=path: scan_h5(p))
            times[name].append((write, warm, cold))
            sizes[name] = path.stat().st_size
            path.unlink()
    table(
        f"One HDF5 file, {len(codes)} x {codes.shape[1]}, without our checksums (MB/s of float32)",
        ["layout", "size %", "write", "scan warm", "scan cold"],
        [
            [
                name,
                f"{100 * sizes[name] / codes.nbytes:.0f}",
                *(
                    f"{codes.nbytes / 1e6 / statistics.median(column):.0f}"
                    for column in zip(*rows, strict=True)
                ),
            ]
            for name, rows in times.items()
        ],
    )


def dataset_options() -> dict[str, dict[str, Any]]:
    """Layouts by name: what `create_dataset` is told."""
    chunked = {"chunks": (64, None)}
    found: dict[str, dict[str, Any]] = {
        "contiguous float32": {},
        "contiguous float16": {"dtype": "float16"},
        "chunks of 1 row": {"chunks": (1, None)},
        "chunks of 64 rows": chunked,
        "the same, fletcher32": {**chunked, "fletcher32": True},
        "lzf": {**chunked, "compression": "lzf"},
        "shuffle + lzf": {**chunked, "compression": "lzf", "shuffle": True},
        "gzip 1": {**chunked, "compression": "gzip", "compression_opts": 1},
    }
    try:
        import hdf5plugin
    except ImportError:
        return found
    for name in ("lz4", "zstd"):
        blosc = hdf5plugin.Blosc(cname=name, clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE)
        found[f"blosc {name}, shuffle"] = {**chunked, **blosc}
    return found


def write_file(path: Path, codes: Any, options: dict[str, Any]) -> None:
    """One dataset, on the disk when this returns."""
    options = {k: v for k, v in options.items() if k != "dtype"}
    if "chunks" in options:
        options["chunks"] = (options["chunks"][0], codes.shape[1])
    with h5py.File(path, "w") as file:
        file.create_dataset("codes", data=codes, **options)
    sync(path)


def scan_h5(path: Path) -> float:
    """Sum over all values, block by block."""
    with h5py.File(path, "r") as file:
        codes = file["codes"]
        return sum(float(codes[i : i + BLOCK].sum(dtype="f4")) for i in range(0, len(codes), BLOCK))


def compare(codes: Any, folder: Path, rounds: int) -> None:
    """Write, scan and gather: the store, a memory map, one HDF5 file."""
    spec = CodeSpec("bench", "0" * 64, "layer", "avg", codes.shape[1], {})
    keys = [os.urandom(16) for _ in range(len(codes))]
    npy, h5 = folder / "codes.npy", folder / "codes.h5"
    store_folder = folder / "store"

    def write_store() -> None:
        shutil.rmtree(store_folder, ignore_errors=True)
        with CodeCache(store_folder, spec).writer() as writer:
            for i in range(0, len(codes), 32):
                writer.append(keys[i : i + 32], codes[i : i + 32])

    def write_npy() -> None:
        np.save(npy, codes)
        sync(npy)

    writers = {
        "store": write_store,
        "memory map": write_npy,
        "one h5py file": lambda: write_file(h5, codes, {}),
    }
    paths = {"store": store_folder, "memory map": npy, "one h5py file": h5}
    write = {name: [] for name in writers}
    for _ in range(max(1, rounds // 2)):
        for name, call in writers.items():
            write[name].append(timed(call))
    cache = CodeCache(store_folder, spec)
    codes_of_all = Codes(cache, keys)
    rng = np.random.default_rng(1)

    def scan_store() -> float:
        return sum(float(block.sum()) for block in codes_of_all.iter_chunks(BLOCK))

    def scan_npy() -> float:
        mapped = np.load(npy, mmap_mode="r")
        return sum(
            float(np.array(mapped[i : i + BLOCK]).sum()) for i in range(0, len(mapped), BLOCK)
        )

    def gather_h5(rows: Any) -> Any:
        with h5py.File(h5, "r") as file:
            return file["codes"][np.sort(rows)]

    scans = {"store": scan_store, "memory map": scan_npy, "one h5py file": lambda: scan_h5(h5)}
    gathers: dict[str, Callable[[Any], Any]] = {
        "store": lambda rows: cache.read([keys[row] for row in rows]),
        "memory map": lambda rows: np.load(npy, mmap_mode="r")[rows],
        "one h5py file": gather_h5,
    }
    cache.refresh()
    warm, cold, gather = ({name: [] for name in scans} for _ in range(3))
    for _ in range(rounds):
        for name, call in scans.items():
            drop_pages(paths[name])
            cold[name].append(timed(call))
            warm[name].append(timed(call))
        for name, pick in gathers.items():
            rows = rng.choice(len(codes), 100, replace=False)
            gather[name].append(timed(lambda p=pick, r=rows: p(r)))
    size = codes.nbytes / 1e6
    table(
        f"{len(codes)} x {codes.shape[1]} float32; the store checks every row",
        ["", "write MB/s", "cold scan MB/s", "warm scan MB/s", "100 random rows, warm, ms"],
        [
            [
                name,
                *(f"{size / statistics.median(t[name]):.0f}" for t in (write, cold, warm)),
                f"{1000 * statistics.median(gather[name]):.1f}",
            ]
            for name in scans
        ],
    )
    ratio = [
        statistics.median(t["memory map"]) / statistics.median(t["store"]) for t in (cold, warm)
    ]
    print(f"Store / memory map: cold {ratio[0]:.2f}, warm {ratio[1]:.2f}\n")
    fresh = [timed(lambda: CodeCache(store_folder, spec).find(keys)) for _ in range(rounds)]
    again = [timed(lambda: cache.find(keys)) for _ in range(rounds)]
    print(
        f"Finding {len(keys)} keys: {statistics.median(fresh):.3f} s with a new cache object, "
        f"{statistics.median(again):.3f} s again\n"
    )


def look_up(folder: Path, rounds: int) -> None:
    """100,000 files by the memo: stat, path digest, search."""
    files = []
    for i in range(100):
        (folder / "files" / f"{i:03}").mkdir(parents=True)
        for j in range(1000):
            files.append(str(folder / "files" / f"{i:03}" / f"{j:04}.jpg"))
            Path(files[-1]).touch()
    time.sleep(2.1)  # files changed within two seconds are not remembered
    memo = FileMemo(folder / "memo")
    _, facts = memo.look_up(files)
    memo.remember(files, facts, [os.urandom(16) for _ in files])
    times = [timed(lambda: FileMemo(folder / "memo").look_up(files)) for _ in range(rounds)]
    if not all(FileMemo(folder / "memo").look_up(files)[0]):
        raise SystemExit("some files were not found by the memo")
    print(f"Looking up {len(files)} files by the memo: {statistics.median(times):.2f} s")


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def sync(path: Path) -> None:
    """Wait until the file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def drop_pages(path: Path) -> None:
    """Drop a file's or folder's pages from the page cache."""
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Print one Markdown table."""
    print(f"### {title}\n")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


if __name__ == "__main__":
    main()
