#!/usr/bin/env python3
"""Extraction end to end, from JPEG files to codes, side by side in one run.

    python benchmarks/extract.py [--networks resnet50 resnet18 vgg16] [--rounds 3] [--cached]

All contenders have the same networks, the same seeded random weights and the same pictures, and a
process of their own each time. They take turns, round by round, slow ones on a slice of the
pictures that moves with the round. Rates are steady ones: from the first batch's end to the last
one's, of tlfeatures from the first picture's decoding to the last batch's end; the seconds of the
whole process, start-up included, stand beside them. Ratios are those within a round; shown is the
median over the rounds. In the same rounds the parts are measured: the network in several ways,
single-threaded ones both alone and in a process a core at once, decoding, and both together as a
worker does them. Those that the ceiling is made of, the tutorials' way and the expert's also take
short turns with a run of tlfeatures, which is stopped meanwhile: hosts become faster and slower by
the second.

The pictures are seeded crops of the photographs in --data, written to build/ once, and the peers
live in an environment of their own, made there too. Writes a table to --out, anew after each round.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _cached import measure_cached
from _children import Part, run_child, run_in_turns, run_together
from _crops import list_crops, write_crops
from _extract_report import CEILING_PARTS, IN_TURNS, Results, write_report
from _machine import count_cores, read_ticks, share_taken
from _peers import make_environment

from tlfeatures.engine import CPU_BATCH

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "extract"
NETWORKS = ("resnet50", "resnet18", "vgg16")
WHOLE = "resnet50"  # of which the tutorials' way takes all pictures once, for the totals
WIDTH = 500
OWN_CONTENDERS = ("tutorials", "expert")
PEERS = ("img2vec", "embetter", "timm")
ALL_CORES = (("eager", "float32"), ("channels_last", "float32"), ("channels_last", "bf16"))
# glibc gives large blocks back after each operation; workers of tlfeatures tell it not to
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": 0, "MALLOC_TRIM_THRESHOLD_": 2**31 - 1}
COMPILED = {"TORCHINDUCTOR_CACHE_DIR": BUILD / "compiled"}  # of the parts
COMPILED_BATCH = {("vgg16", "bf16"): 64}  # where Inductor was faster than with 16 or 32
ONE_THREAD = "--one-thread"
TURN_S = 0.125  # of tlfeatures, and of each that takes turns with it


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    Attributes
    ----------
    given : namespace
        The options.
    folder : Path
        The pictures.
    peers : Path or None
        The interpreter of the peers' environment.
    facts : dict
        For the head of the report.
    """

    given: Any
    folder: Path
    peers: Path | None
    facts: dict[str, Any]
    results: Results = field(default_factory=Results)

    def run(
        self,
        network: str,
        way: str,
        turn: int,
        measure: Callable[..., dict[str, Any]],
        *arguments: Any,
    ) -> None:
        """Measure and keep."""
        self.keep(network, way, turn, measure(self, network, *arguments))

    def keep(self, network: str, way: str, turn: int, found: dict[str, Any]) -> None:
        """Keep what was found, and say it."""
        self.results.add(network, way, turn, found)
        figures = ((name, found[name]) for name in ("images_per_s", "wall_s") if name in found)
        words = found.get("failed") or ", ".join(f"{name} {value:.1f}" for name, value in figures)
        print(f"{network}, round {turn + 1}, {way}: {words}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and write the report."""
    for each in (signal.SIGTERM, signal.SIGHUP):  # so that stopped processes are ended too
        signal.signal(each, lambda number, _: sys.exit(128 + number))
    given = read_options()
    bench = prepare(given)
    for network in given.networks:
        for turn in range(given.rounds):
            before = read_ticks()
            take_turn(bench, network, turn)
            bench.results.taken[network].append(share_taken(before, read_ticks()))
            write_report(given.out, bench.results, bench.facts)
    if given.cached:
        bench.facts["cached"] = measure_cached(given.data, BUILD)
    write_report(given.out, bench.results, bench.facts)
    print(given.out.read_text())


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--pictures", type=int, default=2000, help="that tlfeatures takes a round")
    parser.add_argument("--slice", type=int, default=300, help="pictures of the others a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each part by itself")
    parser.add_argument("--no-peers", action="store_true", help="without those to be installed")
    parser.add_argument(
        "--no-whole", action="store_true", help="the tutorials' total is extrapolated from a slice"
    )
    parser.add_argument(
        "--turns-only", action="store_true", help="what is measured in turns, no more"
    )
    parser.add_argument("--cached", action="store_true", help="a second run on 10,000 pictures")
    parser.add_argument("--out", type=Path, help="default: extract.md, or turns.md, in results")
    given = parser.parse_args()
    name = "turns.md" if given.turns_only else "extract.md"
    given.out = given.out or HERE / "results" / name
    return given


def prepare(given: argparse.Namespace) -> Bench:
    """Pictures, weights and the peers' environment: made where they are not there yet."""
    load = os.getloadavg()[1]  # of the five minutes before
    folder = BUILD / f"pictures-{given.pictures}"
    pictures = write_crops(given.data, folder, given.pictures, WIDTH)
    for network in given.networks:
        if not weights_of(network).exists():
            weights_of(network).parent.mkdir(parents=True, exist_ok=True)
            script = HERE / "_networks.py"
            subprocess.run([sys.executable, script, network, weights_of(network)], check=True)
    others = f"others than tlfeatures on slices of {given.slice}"
    if given.turns_only:
        others = "only what is measured in turns"
    facts = {"pictures": pictures, "rounds": given.rounds, "others": others, "load": load}
    facts["peers"] = {}
    peers = None
    if not given.no_peers and not given.turns_only:
        try:
            peers, facts["peers"] = make_environment(BUILD.parent / "peers")
        except subprocess.CalledProcessError as error:
            print(f"peers are left out, they cannot be installed: {error}", file=sys.stderr)
    for path in list_crops(folder):
        path.read_bytes()  # into the page cache, for all alike
    return Bench(given, folder, peers, facts)


def weights_of(network: str) -> Path:
    """The file of random weights."""
    return BUILD / "weights" / f"{network}.safetensors"


def take_turn(bench: Bench, network: str, turn: int) -> None:
    """One round: everything once, and in turns tlfeatures, its ceiling's parts and two others."""
    measure_in_turns(bench, network, turn)
    if bench.given.turns_only:
        return
    for precision in ("bf16", "float32"):
        bench.run(network, f"tlfeatures {precision}", turn, tlfeatures, precision)
    for way in OWN_CONTENDERS + (PEERS if bench.peers else ()):
        bench.run(network, way, turn, contender, way, turn)
    if network == WHOLE and turn == 0 and not bench.given.no_whole:
        bench.run(network, "tutorials, all", turn, contender, "tutorials")
    for name, arguments, processes in list_parts(network):
        bench.run(network, name, turn, part, arguments, processes)


def measure_in_turns(bench: Bench, network: str, turn: int) -> None:
    """Runs of tlfeatures, what bounds the one in bf16, and others, in short turns."""
    own = {**COMPILED, **KEEP_MEMORY}
    parts: dict[str, Part] = {
        name: ([command_of(bench, network, [*arguments, "--endless"])] * processes, own)
        for name, arguments, processes in list_parts(network)
        if name in CEILING_PARTS
    }
    others = {way: ([endless_contender(bench, network, way)], {}) for way in OWN_CONTENDERS}
    run_beside(bench, network, turn, "bf16", parts | others)
    run_beside(bench, network, turn, "float32", {"tutorials": others["tutorials"]})


def run_beside(
    bench: Bench, network: str, turn: int, precision: str, parts: dict[str, Part]
) -> None:
    """A run of tlfeatures in a precision, in turns with others."""
    run = [sys.executable, HERE / "_stoppable.py", *shared_arguments(bench, network)]
    with tempfile.TemporaryDirectory(dir=BUILD) as cache:
        run += ["--precision", precision, "--cache", cache]
        found = run_in_turns(run, parts, TURN_S)
    whole, turns = found.pop(""), IN_TURNS[precision]
    if whole.get("computed") != whole.get("given"):
        whole = {"failed": f"{whole['computed']} of {whole['given']} pictures computed"}
    bench.keep(network, f"tlfeatures {precision}{turns}", turn, whole)
    for name, each in found.items():
        bench.keep(network, name + turns, turn, as_rate(each))


def endless_contender(bench: Bench, network: str, way: str) -> list[Any]:
    """The command of another way on all pictures, again and again."""
    command = [sys.executable, HERE / "_contenders.py", way, *shared_arguments(bench, network)]
    return [*command, "--count", bench.given.pictures, "--endless"]


def tlfeatures(bench: Bench, network: str, precision: str) -> dict[str, Any]:
    """`tlfeatures extract` into a new cache, what is compiled for the user made anew too."""
    wanted = bench.given.pictures
    with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
        command = [sys.executable, "-m", "tlfeatures", "extract", bench.folder]
        command += ["--backbone", network, "--weights", weights_of(network)]
        command += ["--limit", bench.given.pictures, "--precision", precision]
        command += ["--cache", Path(scratch) / "cache", "--json"]
        found = run_child(command, XDG_CACHE_HOME=f"{scratch}/user")
    if found.get("computed", wanted) != wanted:
        return {"failed": f"{found['computed']} of {wanted} pictures computed"}
    return found


def contender(bench: Bench, network: str, way: str, turn: int | None = None) -> dict[str, Any]:
    """Another way, on the round's slice of the pictures or, without a round, on all of them."""
    start, count = 0, bench.given.pictures
    if turn is not None:
        count = min(bench.given.slice, count)
        start = turn * count % (bench.given.pictures - count + 1)
    python = bench.peers if way in PEERS else sys.executable
    command = [python, HERE / "_contenders.py", way, *shared_arguments(bench, network)]
    return {**run_child([*command, "--start", start, "--count", count]), "count": count}


def list_parts(network: str) -> Iterator[tuple[str, list[Any], int]]:
    """Name, arguments and number of processes of what is measured alone."""
    for name, precision in ALL_CORES:
        yield f"{name} {precision}", [name, "--precision", precision], 1
    yield "decode", ["decode", ONE_THREAD, "--batch-size", CPU_BATCH], 1
    for precision in ("bf16", "float32"):
        chosen = ["--precision", precision, ONE_THREAD]
        own = ["--batch-size", CPU_BATCH]
        compiled = ["--batch-size", COMPILED_BATCH.get((network, precision), CPU_BATCH)]
        for how, processes in (("alone", 1), ("on all cores", count_cores())):
            yield f"engine {precision}, {how}", ["engine", *chosen, *own], processes
            yield f"compiled {precision}, {how}", ["compiled", *chosen, *compiled], processes
            yield f"worker {precision}, {how}", ["worker", *chosen, *own], processes
        yield f"matrices {precision}", ["matrices", *chosen], count_cores()


def part(bench: Bench, network: str, arguments: list[Any], processes: int) -> dict[str, Any]:
    """Images per second of one part, summed over processes; seconds a picture of its steps."""
    command = command_of(bench, network, [*arguments, "--seconds", bench.given.seconds])
    environment = COMPILED | (KEEP_MEMORY if ONE_THREAD in arguments else {})
    return as_rate(run_together([command] * processes, **environment))


def command_of(bench: Bench, network: str, arguments: list[Any]) -> list[Any]:
    """The command of a part."""
    return [sys.executable, HERE / "_parts.py", *arguments, *shared_arguments(bench, network)]


def as_rate(found: dict[str, Any]) -> dict[str, Any]:
    """With "images_per_s" of all of a part's processes."""
    if "failed" in found:
        return found
    rate = sum(1 / sum(steps.values()) for steps in found["processes"])
    return {"images_per_s": rate, "steps": found["processes"]}


def shared_arguments(bench: Bench, network: str) -> list[Any]:
    """What contenders and parts are told alike."""
    weights = weights_of(network)
    return ["--network", network, "--weights", weights, "--pictures", bench.folder]


if __name__ == "__main__":
    main()
