"""What `extract.py` found, as Markdown."""

from __future__ import annotations

import datetime
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _machine import count_cores, describe_machine, list_versions

TITLES = {"resnet50": "ResNet-50", "resnet18": "ResNet-18", "vgg16": "VGG16 (fc7)"}
FLOAT32_PEERS = ("tutorials", "img2vec", "embetter", "timm")
CEILING_BARS = {"resnet50": 0.95, "resnet18": 0.90, "vgg16": 0.95}
WAYS = {
    "tlfeatures bf16": "tlfeatures, bf16",
    "tlfeatures float32": "tlfeatures, float32",
    "tutorials": "the tutorials' way: torchvision + DataLoader, float32",
    "tutorials, all": "the same on all pictures, one run",
    "expert": "the expert's way: the same, channels_last + bf16 autocast",
    "img2vec": "img2vec, lists of 32",
    "embetter": "embetter TimmEncoder",
    "timm": "timm + DataLoader, float32",
}
PARTS = {
    "eager float32": "float32, all cores",
    "channels_last float32": "float32, channels_last, all cores",
    "channels_last bf16": "bf16 autocast, channels_last, all cores",
    "compiled float32, alone": "float32, compiled with freezing, one thread",
    "compiled float32, on all cores": "the same, one such process a core",
    "compiled bf16, alone": "bf16 autocast, compiled with freezing, one thread",
    "compiled bf16, on all cores": "the same, one such process a core",
    "engine float32, alone": "the engine of tlfeatures, float32, one thread",
    "engine float32, on all cores": "the same, one such process a core",
    "engine bf16, alone": "the engine of tlfeatures, bf16, one thread",
    "engine bf16, on all cores": "the same, one such process a core",
}
NOTHING = "-"
BUSY, ALONE = "on all cores", "alone"
CEILING_PARTS = ("decode", f"engine bf16, {BUSY}", f"compiled bf16, {BUSY}")
IN_BF16_TURNS = ", in turns"
# short ones, with a run of tlfeatures in this precision
IN_TURNS = {"bf16": IN_BF16_TURNS, "float32": ", in turns with float32"}
TURNS = {
    "tlfeatures bf16": "tlfeatures, bf16",
    "tlfeatures float32": "tlfeatures, float32",
    "decode": "reading, decoding, preparing, one process",
    f"engine bf16, {BUSY}": "network: the engine of tlfeatures, one process a core",
    f"compiled bf16, {BUSY}": "network: bf16 autocast, compiled with freezing, one process a core",
    "tutorials": "the tutorials' way",
    "expert": "the expert's way",
}
BOUNDS = {  # the columns' words, by how the network was measured
    BUSY + IN_BF16_TURNS: "in turns",
    BUSY: "all cores busy",
    ALONE: "one process alone",
}
NOTES = """\
- Weights are random (seed 0) and the same for all; nothing is downloaded. In the place of the
  download torchvision, and img2vec through it, takes the state dict from a file; timm, and embetter
  through it, takes it by `pretrained_cfg_overlay`. img2vec's "vgg16" is vgg16_bn; it is given vgg16
  instead.
- img2vec, embetter and timm prepare pictures in ways of their own; that is part of what they cost.
  embetter takes pictures one by one and leaves the network in training mode.
- Steady rates of contenders are those from the first batch's end to the last one's; for tlfeatures
  those that it reports. Total seconds are those of the whole process and belong to the number of
  pictures beside them.
- Ceiling: cores / (seconds of reading, decoding and preparing + seconds of the network, single-
  threaded). Decoding is measured in one process; the network in one process a core at once, in the
  faster of its single-threaded ways: the engine of tlfeatures (which includes normalising) or
  torchvision's network under bf16 autocast compiled by inductor with freezing (which does not).
  Where cores differ in speed, each has its own part in the sum.
- In turns: a run of tlfeatures of its own, whose worker processes and network are there from a few
  pictures before, and each part of the ceiling, the tutorials' way and the expert's, warm too, work
  for an eighth of a second at a time, all others being stopped meanwhile (SIGSTOP) in the middle of
  what they do; each rate is that of the time that was its own. So what is compared has the same
  host, which becomes faster and slower by the second where others work on it. A run in float32
  takes such turns with the tutorials' way. The bars take these shares of the ceiling; their ratios
  are those of the interleaved slices, with those in turns beside them.
- The other ceilings are measured for some seconds, minutes away from tlfeatures' whole run: with
  all cores busy, and with one process alone, the other cores idle; what they take from each other,
  on the way to the memory or of the processor's power, counts there.
- Single-threaded processes keep the memory of large blocks (glibc's mmap_max 0, trim_threshold
  2 GB) and take batches of 16, VGG16's in bf16 of 64, as workers of tlfeatures do. Seconds of parts
  are means, as the rate of a run is one.
- A worker's loop decodes a batch, then runs the engine on it, with no product around: alone (times
  cores), and in as many processes as cores at once.
- The matrix product is oneDNN's, 1024 x 1024, a single-threaded process a core, its rate turned
  into pictures by the network's operations. With the seconds of decoding added it is what this
  processor could do if all of the network ran like one such product. Some convolutions run up to a
  tenth faster than it, most of the rest slower; in float32 those of 3 x 3 multiply up to four times
  less.
- Ratios and shares are taken within each round; shown is the median over the rounds.
"""


@dataclass
class Results:
    """All that was measured: network, way, round, facts.

    Attributes
    ----------
    runs : list of (str, str, int, dict)
    taken : dict of str to list of float
        By network, for each round: the share of the processors' time that their host took.
    """

    runs: list[tuple[str, str, int, dict[str, Any]]] = field(default_factory=list)
    taken: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, network: str, way: str, turn: int, facts: dict[str, Any]) -> None:
        """Keep one measurement."""
        self.runs.append((network, way, turn, facts))

    def networks(self) -> list[str]:
        """Those measured, in order."""
        return list(dict.fromkeys(run[0] for run in self.runs))

    def facts(self, network: str, way: str) -> dict[int, dict[str, Any]]:
        """What was found by round, failures left out."""
        return {
            turn: facts
            for of, by, turn, facts in self.runs
            if (of, by) == (network, way) and "failed" not in facts
        }

    def failure(self, network: str, way: str) -> str | None:
        """The last reason why it failed, if it did."""
        found = [
            facts["failed"]
            for of, by, _, facts in self.runs
            if (of, by) == (network, way) and "failed" in facts
        ]
        return found[-1] if found else None

    def values(self, network: str, way: str, key: str = "images_per_s") -> dict[int, float]:
        """One fact by round."""
        return {turn: facts[key] for turn, facts in self.facts(network, way).items()}

    def step(self, network: str, way: str, name: str) -> dict[int, float]:
        """Seconds a picture of one step of a part, by round; the mean over processes."""
        return {
            turn: statistics.mean(steps[name] for steps in facts["steps"])
            for turn, facts in self.facts(network, way).items()
        }

    def rate(self, network: str, way: str) -> float | None:
        """Images per second, the median."""
        return median(self.values(network, way).values())

    def ratio(self, network: str, way: str, other: str) -> float | None:
        """How many times as fast as another way, within rounds."""
        return divide(self.values(network, way), self.values(network, other))

    def best(self, network: str, ways: Iterable[str]) -> str | None:
        """The fastest by median rate, of those that were measured."""
        rates = {way: self.rate(network, way) for way in ways}
        return max((w for w, r in rates.items() if r), key=lambda w: rates[w] or 0, default=None)

    def network_way(self, network: str, precision: str, how: str) -> str | None:
        """The network's fastest single-threaded way in a precision, alone or on all cores."""
        return self.best(network, [f"{way} {precision}, {how}" for way in ("engine", "compiled")])

    def ceiling(self, network: str, precision: str, how: str) -> dict[int, float]:
        """Images per second that whole pictures on all cores in parallel could reach, by round."""
        decode = "decode" + IN_BF16_TURNS if how.endswith(IN_BF16_TURNS) else "decode"
        return self.with_decoding(network, self.network_way(network, precision, how), decode)

    def limit(self, network: str, precision: str) -> dict[int, float]:
        """The same if the network were one product of matrices."""
        return self.with_decoding(network, f"matrices {precision}", "decode")

    def with_decoding(self, network: str, way: str | None, decode: str) -> dict[int, float]:
        """Of this way after decoding, by round; summed over its processes, a core each."""
        if way is None:
            return {}
        first, then = self.step(network, decode, "decode"), self.facts(network, way)
        return {
            turn: sum(1 / (first[turn] + steps["network"]) for steps in then[turn]["steps"])
            * (count_cores() / len(then[turn]["steps"]))
            for turn in first.keys() & then.keys()
        }

    def shares_of_ceiling(self, network: str, precision: str, how: str) -> list[float]:
        """The rate of tlfeatures over the ceiling, within rounds."""
        is_turn = how.endswith(IN_BF16_TURNS)
        ours = f"tlfeatures {precision}" + (IN_BF16_TURNS if is_turn else "")
        return ratios(self.values(network, ours), self.ceiling(network, precision, how))


def median(values: Iterable[float]) -> float | None:
    """The median; None of nothing."""
    known = list(values)
    return statistics.median(known) if known else None


def divide(ours: dict[int, float], theirs: dict[int, float]) -> float | None:
    """The median of the ratios within rounds."""
    return median(ratios(ours, theirs))


def ratios(ours: dict[int, float], theirs: dict[int, float]) -> list[float]:
    """Those within rounds."""
    return [ours[turn] / theirs[turn] for turn in ours.keys() & theirs.keys()]


def write_report(path: Path, results: Results, facts: dict[str, Any]) -> None:
    """Write all of it."""
    parts = ["# Extraction end to end", describe_run(facts), describe_bars(results, facts)]
    for network in results.networks():
        parts += [f"## {TITLES[network]}", describe_host(results.taken[network])]
        parts += [contenders_table(results, network)]
        parts += [turns_table(results, network), parts_table(results, network)]
        parts += [ceiling_table(results, network), describe_choices(results, network)]
    if "cached" in facts:
        parts += ["## A second run, all codes cached", describe_cached(facts["cached"])]
    parts += ["## How to read this", NOTES]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(part.strip() for part in parts if part) + "\n")


def describe_run(facts: dict[str, Any]) -> str:
    """Machine, versions, pictures, date."""
    pictures, peers = facts["pictures"], facts["peers"]
    lines = {
        "Machine": f"{describe_machine()}; load {facts['load']:.1f} before the run",
        "Versions": name_versions(list_versions()),
        "Peers": name_versions(peers) if peers else "left out",
        "Pictures": f"{pictures['files']} JPEG files of {pictures['mean_kB']:.0f} kB, about "
        f"{pictures['width']} x {pictures['width'] * 3 // 4}, distinct in bytes and pixels: "
        f"crops of {pictures['photographs']} photographs",
        "Rounds": f"{facts['rounds']}; {facts['others']}",
        "Date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    return "\n".join(f"- {name}: {words}" for name, words in lines.items())


def name_versions(versions: dict[str, str]) -> str:
    """In one line."""
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def describe_host(taken: Sequence[float]) -> str:
    """What the host took, in the order of the rounds."""
    shares = ", ".join(f"{share:.0%}" for share in taken)
    return f"Of the processors' time their host took, by round: {shares}."


def contenders_table(results: Results, network: str) -> str:
    """Rates, ratios and totals."""
    head = ["way", "images/s", "lowest to highest", "x tutorials' way", "total s", "pictures"]
    rows = []
    for way, label in WAYS.items():
        if rates := results.values(network, way).values():
            facts = list(results.facts(network, way).values())
            wall = statistics.median(each["wall_s"] for each in facts)
            count = facts[0].get("count", facts[0].get("computed"))
            rows.append(
                [
                    label,
                    f"{statistics.median(rates):.1f}",
                    f"{min(rates):.1f} to {max(rates):.1f}",
                    number(results.ratio(network, way, "tutorials"), ".2f"),
                    f"{wall:.1f}",
                    str(count),
                ]
            )
        elif reason := results.failure(network, way):
            rows.append([label, f"failed: {reason}", "", "", "", ""])
    return table(head, rows)


def turns_table(results: Results, network: str) -> str:
    """What took turns with a run in bf16, then with one in float32."""
    rows = []
    for turns in IN_TURNS.values():
        for way, label in TURNS.items():
            if row := rate_row(results, network, way + turns, label):
                ratio = results.ratio(network, way + turns, "tutorials" + turns)
                rows.append([*row, number(ratio, ".2f")])
    return table(["in turns", "images/s", "x tutorials' way"], rows)


def rate_row(results: Results, network: str, way: str, label: str) -> list[str] | None:
    """Median and extremes, or why it failed; None of what was not measured."""
    if rates := results.values(network, way).values():
        spread = f" ({min(rates):.1f} to {max(rates):.1f})" if len(rates) > 1 else ""
        return [label, f"{statistics.median(rates):.1f}{spread}"]
    reason = results.failure(network, way)
    return [label, f"failed: {reason}"] if reason else None


def parts_table(results: Results, network: str) -> str:
    """The network alone."""
    rows = [row for way, label in PARTS.items() if (row := rate_row(results, network, way, label))]
    return table(["network only", "images/s"], rows)


def ceiling_table(results: Results, network: str) -> str:
    """The ceiling and what stands beside it, in both precisions."""
    columns = [ceiling_column(results, network, precision) for precision in ("bf16", "float32")]
    rows = [[label, *(column[label] for column in columns)] for label in columns[0]]
    rows = [row for row in rows if not {*row[1:]} <= {NOTHING}]
    return table(["", "bf16", "float32"], rows)


def ceiling_column(results: Results, network: str, precision: str) -> dict[str, str]:
    """The ceiling's terms in one precision."""
    loop, busy = (results.rate(network, f"worker {precision}, {how}") for how in (ALONE, BUSY))
    product = results.rate(network, f"matrices {precision}")
    limit = median(results.limit(network, precision).values())
    column = {}
    for how, words in BOUNDS.items():
        way = results.network_way(network, precision, how)
        forward = results.step(network, way, "network") if way else {}
        ceiling = median(results.ceiling(network, precision, how).values())
        shares = results.shares_of_ceiling(network, precision, how)
        spread = f" ({min(shares):.1%} to {max(shares):.1%})" if len(shares) > 1 else ""
        column |= {
            f"network, {words}, ms": milliseconds(forward)
            + (f" ({way.split()[0]})" if way else ""),
            f"ceiling, {words}, images/s": number(ceiling, ".1f"),
            f"tlfeatures, of the ceiling, {words}": percent(median(shares)) + spread,
        }
    for name, words in (
        ("decode" + IN_BF16_TURNS, BOUNDS[BUSY + IN_BF16_TURNS]),
        ("decode", "alone"),
    ):
        seconds = results.step(network, name, "decode")
        column[f"reading, decoding, preparing, {words}, ms"] = milliseconds(seconds)
    return column | {
        "a worker's loop alone, x cores, images/s": number(loop and loop * count_cores(), ".1f"),
        "the loop on all cores at once, images/s": number(busy, ".1f"),
        "the matrix product alone, images/s": number(product, ".1f"),
        "the matrix product and decoding, images/s": number(limit, ".1f"),
    }


def describe_choices(results: Results, network: str) -> str:
    """What tlfeatures chose and where its time went, in the last round."""
    lines = []
    for precision in ("bf16", "float32"):
        found = list(results.facts(network, f"tlfeatures {precision}").values())
        if found:
            lines.append(f"tlfeatures, {precision}: {describe_facts(found[-1])}")
    return "\n\n".join(lines)


def describe_facts(found: dict[str, Any]) -> str:
    """One run's own words."""
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in found["seconds"].items())
    whole = found["jobs"] * found["seconds"]["extract"]
    wait = ", ".join(f"{name} {value / whole:.1%}" for name, value in found["wait"].items())
    return (
        f"{'; '.join(found['chosen'])}; batches of {found['batch_size']}. Seconds: {seconds}. "
        f"Of the processes' time: {wait}."
    )


def describe_cached(found: dict[str, Any]) -> str:
    """Seconds and imports."""
    if "failed" in found:
        return f"Failed: {found['failed']}"
    imported = ", ".join(found["imported"]) or "neither torch nor scikit-learn"
    return f"{found['pictures']} pictures: {found['seconds']:.2f} s; imported: {imported}."


def describe_bars(results: Results, facts: dict[str, Any]) -> str:
    """Each bar, what was found, and whether it is met."""
    rows = []
    for network in results.networks():
        least = CEILING_BARS[network]
        shares = results.shares_of_ceiling(network, "bf16", BUSY + IN_BF16_TURNS)
        share = judge(median(shares), least, percent)
        words = f"{TITLES[network]}, bf16: share of the ceiling"
        rows.append([words, f">= {least:.0%}", *share, "", ""])
    if "resnet50" in results.networks():
        rows += [*rate_bars(results), total_bar(results, facts["pictures"]["files"])]
    if "cached" in facts:
        rows.append(cached_bar(facts["cached"]))
    head = ["bar", "wanted", "found", "met", "in turns", "the matrix product and decoding"]
    return "## Bars\n\n" + table(head, rows)


def rate_bars(results: Results) -> Iterator[list[str]]:
    """ResNet-50 against the others, in steady state."""
    peer = results.best("resnet50", FLOAT32_PEERS) or FLOAT32_PEERS[0]
    for words, least, ratio in (
        ("bf16 / the tutorials' way", 5.5, ("tlfeatures bf16", "tutorials")),
        (f"bf16 / the fastest float32 peer ({peer})", 5.0, ("tlfeatures bf16", peer)),
        ("bf16 / the expert's way", 1.8, ("tlfeatures bf16", "expert")),
        ("float32 / the tutorials' way", 2.8, ("tlfeatures float32", "tutorials")),
    ):
        found = judge(results.ratio("resnet50", *ratio), least, times)
        most = results.limit("resnet50", ratio[0].split()[1])
        possible = divide(most, results.values("resnet50", ratio[1]))
        turns = IN_TURNS[ratio[0].split()[1]]
        beside = results.ratio("resnet50", *(way + turns for way in ratio))
        others = [number(beside, ".2f"), number(possible, ".2f")]
        yield [f"ResNet-50: {words}", f">= {least} x", *found, *others]


def total_bar(results: Results, pictures: int) -> list[str]:
    """Start-up counted: the tutorials' total, measured or extrapolated, over ours."""
    ours = median(results.values("resnet50", "tlfeatures bf16", "wall_s").values())
    whole = median(results.values("resnet50", "tutorials, all", "wall_s").values())
    how = "measured"
    if whole is None:
        whole, how = extrapolate(results, pictures), "extrapolated"
    words = f"ResNet-50: total of {pictures} pictures, start-up counted; the tutorials' way's {how}"
    return [words, ">= 4 x", *judge(whole / ours if whole and ours else None, 4, times), "", ""]


def extrapolate(results: Results, pictures: int) -> float | None:
    """The tutorials' total for all pictures: a slice's, and the rest at its steady rate."""
    found = results.facts("resnet50", "tutorials").values()
    return median(f["wall_s"] + (pictures - f["count"]) / f["images_per_s"] for f in found)


def cached_bar(found: dict[str, Any]) -> list[str]:
    """Under two seconds, importing neither torch nor scikit-learn."""
    words = "a second run of 10,000 pictures, without torch and scikit-learn"
    is_met = "failed" not in found and found["seconds"] < 2 and not found["imported"]
    return [words, "< 2 s", describe_cached(found), "yes" if is_met else "no", "", ""]


def judge(found: float | None, least: float, show: Any) -> list[str]:
    """The figure and yes or no."""
    if found is None:
        return ["not measured", "-"]
    return [show(found), "yes" if found >= least else "no"]


def percent(value: float | None) -> str:
    return number(value, ".1%")


def times(value: float) -> str:
    return f"{value:.2f} x"


def milliseconds(seconds: dict[int, float]) -> str:
    """The median over rounds."""
    value = median(seconds.values())
    return number(value and 1000 * value, ".2f")


def number(value: float | None, form: str) -> str:
    """A dash where nothing was measured."""
    return NOTHING if value is None else format(value, form)


def table(head: list[str], rows: list[list[str]]) -> str:
    """One Markdown table; nothing without rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
