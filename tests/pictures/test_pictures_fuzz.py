"""Mutated picture files: no crash, no hang, bounded memory, one error and one only."""

from __future__ import annotations

import collections
import subprocess
import sys
from pathlib import Path

import pytest

FUZZER = Path(__file__).with_name("fuzz_decoder.py")
SHARED = Path(__file__).resolve().parents[3] / "shared"
HANG = 20.0  # seconds for one small picture
PEAK = 400  # MiB: the process itself, and some copies of MAX_PIXELS pixels


def fuzz(first: int, last: int) -> tuple[collections.Counter[str], dict[int, str], int]:
    """Outcomes of the mutants, what went wrong by number, and the peak memory in MiB."""
    outcomes: collections.Counter[str] = collections.Counter()
    wrong: dict[int, str] = {}
    peak = 0
    while first < last:
        done, reason, memory = run_child(first, last)
        outcomes.update(done.values())
        wrong |= {i: words for i, words in done.items() if words not in ("ok", "bad")}
        peak, first = max(peak, memory), first + len(done)
        if reason:
            wrong[first] = reason
            first += 1
    return outcomes, wrong, peak


def run_child(first: int, last: int) -> tuple[dict[int, str], str, int]:
    """Outcomes until the child ended, why it ended early, and its peak memory in MiB."""
    folder = SHARED / "data" / "awkward"
    words = [sys.executable, "-W", "ignore", str(FUZZER), str(first), str(last)]
    words += [str(folder)] if folder.is_dir() else []
    limit = HANG + (last - first) * 0.05
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=limit)
        lines, reason = answer.stdout.splitlines(), f"crashed: {answer.returncode}"
    except subprocess.TimeoutExpired as expired:
        lines, reason = (expired.stdout or b"").decode().splitlines(), "hung"
    done = {
        int(i): words for i, words, _ in (line.split() for line in lines if line.count(" ") == 2)
    }
    if len(done) == last - first:
        return done, "", int(lines[-1].split()[1])
    return done, reason, 0


def check(n: int) -> None:
    outcomes, wrong, peak = fuzz(0, n)
    assert not wrong
    assert sum(outcomes.values()) == n
    assert min(outcomes["ok"], outcomes["bad"]) > n / 10  # the mutants reach the decoders
    assert peak < PEAK


def test_a_thousand_mutated_files_are_decoded_or_bad() -> None:
    check(1000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_thousand_mutated_files_are_decoded_or_bad() -> None:
    check(200_000)


def test_the_harness_sees_a_crash_a_hang_and_a_wrong_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = {3: "__import__('os').abort()", 5: "time.sleep(99)", 6: "raise KeyError"}
    plain = "        picture = decode_with_notes(data, options).picture\n"
    assert plain in FUZZER.read_text()
    lines = "".join(
        f"        if data == mutant({i}, None):\n            {do}\n" for i, do in faults.items()
    )
    (tmp_path / "faulty.py").write_text(FUZZER.read_text().replace(plain, lines + plain))
    monkeypatch.setattr(sys.modules[__name__], "FUZZER", tmp_path / "faulty.py")
    monkeypatch.setattr(sys.modules[__name__], "SHARED", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "HANG", 3.0)
    _, wrong, _ = fuzz(0, 8)
    assert wrong.pop(3).startswith("crashed: -")
    assert wrong == {5: "hung", 6: "raised-KeyError"}
