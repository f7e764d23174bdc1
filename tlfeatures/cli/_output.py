"""What commands print: JSON, tables, bad pictures, where the cache is."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlfeatures.backbones import licence_note
from tlfeatures.cli._echo import echo, is_utf8
from tlfeatures.cli._progress import ProgressLine
from tlfeatures.cli._wording import as_typed
from tlfeatures.pictures import describe_kinds
from tlfeatures.store import folder_size

if TYPE_CHECKING:
    from tlfeatures.classification import Baseline
    from tlfeatures.cli._options import Words
    from tlfeatures.doctor import Diagnosis
    from tlfeatures.extraction import Resolved
    from tlfeatures.pictures import Pictures

HEAD_NAMES = {"svm": "linear SVM", "logistic": "logistic regression", "knn": "k nearest neighbours"}
CONTROL_NAMES = {
    "pixels": "raw pixels",
    "histogram": "colour histogram",
    "random_weights": "same network, random weights",
    "majority": "majority class",
    "shuffled_labels": "sanity check: shuffled labels",
}
BAD_SHOWN = 20


def print_json(data: dict[str, Any]) -> None:
    """Exactly one JSON object on stdout; numbers that JSON has not become null.

    Where stdout is not UTF-8, or a file name is not, characters are escaped, as JSON has it:
    the same text is read again, whatever bytes were piped.
    """
    plain = _plain(data)
    text = json.dumps(plain, ensure_ascii=False, indent=1)
    echo(text if is_utf8(text) else json.dumps(plain, indent=1))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def counted(n: int, noun: str) -> str:
    """A number with its noun: "1 picture", "2 pictures", "2 classes"."""
    if n == 1:
        return f"1 {noun}"
    return f"{n} {noun}{'es' if noun.endswith('s') else 's'}"


def as_bad(bad: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Bad pictures as JSON has them."""
    return [{"path": path, "reason": as_typed(reason)} for path, reason in bad]


def say_bad(bad: Sequence[tuple[str, str]], line: ProgressLine) -> None:
    """List bad pictures on stderr."""
    for path, reason in bad[:BAD_SHOWN]:
        line.say(f"bad picture: {path}: {reason}")
    if len(bad) > BAD_SHOWN:
        line.say(f"... and {counted(len(bad) - BAD_SHOWN, 'more bad picture')}; --json lists all.")


def say_plan(pictures: Pictures, words: Words, resolved: Resolved) -> None:
    """What was found, what its codes take on the disk and the licence, before long work."""
    line = counted(len(pictures), "picture")
    if pictures.labels is not None:
        line += f" in {counted(len(pictures.classes), 'class')}"
    if pictures.left_out:
        line += f"; left out: {describe_kinds(pictures.left_out_kinds)}"
    words.progress.say(line)
    for spec in resolved.specs:
        is_half = spec.precision != "float32" and words.run.store_dtype != "float32"
        size = len(pictures) * spec.dim * (2 if is_half else 4) / 1e6
        words.progress.say(f"{spec.backbone} {spec.layer}: {spec.dim} numbers each, {size:.1f} MB")
    if note := licence_note(words.request.backbone, words.request.weights):
        words.progress.say(f"note: {note}")


def say_notes(pictures: Pictures, line: ProgressLine) -> None:
    """What a person should know about how the pictures were read, on stderr."""
    for note in pictures.notes:
        line.say(f"note: {note}")


def say_cache(root: Path, line: ProgressLine) -> None:
    """Where the cache is and its size."""
    if not line.quiet:
        line.say(f"cache: {root} ({folder_size(root) / 1e6:.1f} MB)")


def exit_code(bad: Sequence[Any], strict: bool) -> int:
    """1 under --strict if there are bad pictures."""
    return 1 if strict and bad else 0


def percent(value: float) -> str:
    """97.4"""
    return f"{100 * value:.1f}"


def interval(ci95: Sequence[float] | None) -> str:
    """(95.1 to 98.7), or nothing."""
    return "" if ci95 is None else f"({percent(ci95[0])} to {percent(ci95[1])})"


def baseline_table(result: Baseline) -> str:
    """Heads and controls, accuracy with 95 % interval and mean recall, in percent."""
    lines = [f"{'on codes':<30}{'accuracy %':>10}  {'95 % interval':<18}{'mean recall %':>13}  C"]
    for name, head in result.heads.items():
        mark = " *" if name == result.chosen else ""
        C = "" if head.C is None else f"{head.C:g}"
        lines.append(
            f"{HEAD_NAMES[name] + mark:<30}{percent(head.accuracy):>10}  "
            f"{interval(head.ci95):<18}{percent(head.mean_recall):>13}  {C}"
        )
    lines.append("controls")
    for name, control in result.controls.items():
        shown = f"{percent(control.accuracy):>10}  {interval(control.ci95):<18}"
        lines.append(f"{CONTROL_NAMES[name]:<30}{shown}".rstrip())
    lines.append(f"* chosen by cross-validation inside the training data. {result.protocol}")
    return "\n".join(lines)


def model_line(result: Baseline) -> str:
    """What the saved model was fitted on, and that the figures are of other fits."""
    line = f"model: {HEAD_NAMES[result.chosen]}, fitted on {result.fitted_on}"
    if result.n_fitted == result.n_train:
        return f"{line}, those that the figures are of heads fitted on"
    return (
        f"{line} with the head and C found; the figures are of heads fitted on the "
        f"{result.n_train} training pictures alone, on the {result.n_test} held-out ones"
    )


def doctor_table(made: Diagnosis) -> str:
    """The verdict, its sentence, and what was measured of each candidate."""
    lines = [
        f"verdict: {made.verdict}",
        made.words,
        f"{'candidate':<20}{'batch norms':>12}{'confidence %':>14}{'agreement %':>13}"
        f"{'pictures':>10}  excluded by",
    ]
    for each in made.candidates:
        near = each.batch_norm_distance
        distance = "-" if near is None else f"{near:.3f}"
        sure, agreed = ("-" if x is None else percent(x) for x in (each.confidence, each.agreement))
        lines.append(
            f"{each.name:<20}{distance:>12}{sure:>14}{agreed:>13}"
            f"{each.n_pictures or '-':>10}  {each.excluded or ''}".rstrip()
        )
    lines.append(
        "batch norms: distance of their inputs to the stored statistics, 0 to 1; the others are of "
        "the\nnetwork's own classifier (agreement: on altered views)."
    )
    return "\n".join(lines)


def say_baseline(result: Baseline, line: ProgressLine) -> None:
    """Warnings and bad pictures of an evaluation, on stderr."""
    for warning in result.warnings:
        line.say(f"note: {warning}")
    say_bad(result.bad, line)
