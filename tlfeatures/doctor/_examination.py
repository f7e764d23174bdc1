"""The doctor's decision: what the evidence excludes, and what is said of what was asked.

The rule is the same for all networks. Its thresholds are first guesses with these reasons:

- Batch norms (`NEAR`): on photographs the right arithmetic came to 0.01-0.02, the nearest wrong
  one (tf for imagenet, half as large) to five times as much; half of that excludes. Above
  `POOR_FIT` nothing fits: thumbnails enlarged, drawings of strong contrast. Such pictures change
  the variance as much as the factor of two between tf and imagenet does, so only what is farther
  off (`NEAR_POOR`) is excluded. The order of the channels they hardly see. What is farther off than
  `HOPELESS` stays excluded whatever the head says.
- The head: its confidence under `FLAT` times chance is what inputs 57 times too small came to.
  Inputs 57 times too large gave the middle picture's first class a lead of e^5 to e^700 over its
  second, where the right ones gave e^3 at most: a hundredfold one (`SATURATED`) is held against
  large inputs, but only where it is `LARGER` than with small inputs. Between what remains, `SURE`
  standard errors of the difference (see `_evidence.compare`): with ten pairs looked at
  several times, two would err too often.
- A head out of its depth likes wrong candidates as well, so its consistency tells nothing where the
  network sees the pictures `ENLARGED` by more, where it is less than `AT_HOME` sure of them on
  average (0.65-0.75 on photographs, 0.2-0.45 on thumbnails, drawings, and of a network trained on
  drawings), and where it calls more than `MONOTONOUS` of them the same, as it does with noise.
- Size: the published one is taken to be right unless another is asked for that differs by more than
  `SIZE_FACTOR` (larger by a seventh is known to do no harm); then the two are compared. Batch norms
  veto a size at which they fit badly, and `SIZE_NORMS` times worse than at the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tlfeatures.backbones import Preprocessing
from tlfeatures.doctor._candidates import (
    AS_ASKED,
    CANNOT_TELL,
    RIGHT,
    SIZE,
    TWICE,
    Candidate,
    at_size,
    find_same,
    make_candidates,
    name_mistake,
    scale_of,
)
from tlfeatures.doctor._evidence import (
    Finding,
    Patient,
    Sample,
    Views,
    compare,
    corners,
    entropy,
    lead,
    softmax,
)
from tlfeatures.errors import PicturesError, WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_PICTURES = 16
FOR_NORMS, FIRST_LOOK, ROUND, SIZE_ROUND = 32, 16, 32, 16
NEAR, POOR_FIT, NEAR_POOR = 2.5, 0.025, 5.0
HOPELESS = 0.5
FLAT = 10.0
SATURATED, LARGER, LARGE = float(np.log(100)), 2.0, 10.0
AT_HOME, MONOTONOUS = 0.55, 0.8
SURE = 3.0
SAME_SCALE = 1.1
ENLARGED = 1.5
SIZE_FACTOR = 1.25
SIZE_NORMS = 1.5

BY_NORMS, BY_FLAT, BY_SATURATED = "batch norms", "head unsure of everything", "head too sure"
BY_VIEWS, BY_CUSTOM = "head less consistent", "nobody trains so"
ARITHMETIC_SAME_SCALE = ("agreement", "correlation", "confidence")
ARITHMETIC = ("agreement", "correlation")
OF_SIZES = ("agreement", "confidence")  # logits of larger pictures always correlate more


class Examination:
    """One patient, one sample, what was asked, and what was found so far.

    Parameters
    ----------
    patient : Patient
    sample : Sample
    asked : Preprocessing
    published : Preprocessing or None
        Of the network's published weights.
    patch : int, optional
        Batch norms are shown squares of so many pixels, the corners in turn, in place of whole
        pictures: of 64 pixels they say the same of 224 to 0.005, ten times as fast.

    Attributes
    ----------
    candidates : list of Candidate
        In the geometry looked at.
    findings : dict of str to Finding
        By the candidates' names.
    reasons : list of str
        Why it may be that nothing can be told.

    Raises
    ------
    WeightsError
        If there is nothing to go by.
    PicturesError
        If too few pictures can be read.
    """

    def __init__(
        self,
        patient: Patient,
        sample: Sample,
        asked: Preprocessing,
        published: Preprocessing | None,
        *,
        patch: int | None = None,
    ) -> None:
        self.patient, self.sample = patient, sample
        self.patch = patch
        self.asked = self.working = asked
        self.published_side = published.input_size if published else asked.input_size
        self._choose_size()
        self.has_head = patient.has_head(self._squares(1)[0], self.working)
        if not patient.norms and not self.has_head:
            raise WeightsError(
                "this network has neither batch norms with statistics nor a classifier of many "
                "classes; there is nothing to go by."
            )
        self.candidates = make_candidates(self.working, published)
        side = self.working.input_size
        self.findings = {c.name: Finding(c.name, side) for c in self.candidates}
        self.of_asked = find_same(self.working, self.candidates) or Candidate(AS_ASKED, asked)
        self.reasons: list[str] = []
        self.is_head_heard = False
        names = {name_mistake(self.working, c.preprocessing) for c in self.candidates}
        if (
            self.of_asked.name == AS_ASKED and TWICE in names
        ):  # larger inputs often look more consistent, and nobody trains so
            self.findings[self.of_asked.name].excluded = BY_CUSTOM

    def verdict(self) -> str:
        """Measure, exclude, compare what remains; the rest is in the attributes then."""
        if self.patient.norms:
            self._ask_norms()
        if self.has_head:
            self._ask_head()
        fed = self.of_asked.preprocessing
        names = {name_mistake(fed, c.preprocessing) for c in self.possible}
        verdict = names.pop() if len(names) == 1 else CANNOT_TELL
        return self._judge_size(fed) if verdict == RIGHT and self.is_other_size else verdict

    @property
    def possible(self) -> list[Candidate]:
        """What is not excluded so far."""
        return [c for c in self.candidates if self.findings[c.name].excluded is None]

    @property
    def is_other_size(self) -> bool:
        """Whether another size than the published one was asked for."""
        ratio = self.asked.input_size / self.published_side
        return max(ratio, 1 / ratio) > SIZE_FACTOR

    @property
    def is_enlarged(self) -> bool:
        """Whether the network sees most pictures larger than they are."""
        return self._enlarging(self.working) > ENLARGED

    def _choose_size(self) -> None:
        """Look at the published size, if the network takes it and the pictures are large enough."""
        if self.is_other_size:
            self.working = at_size(self.asked, self.published_side)
            is_smaller = self.asked.input_size < self.published_side
            if not self._runs() or (self.is_enlarged and is_smaller):
                self.working = self.asked
        self._squares(FOR_NORMS)
        check_count(len(self.sample.short_sides))

    def _runs(self) -> bool:
        squares = self._squares(FIRST_LOOK)
        check_count(len(self.sample.short_sides))
        try:
            self.patient.answers(squares[0][:1], self.working)
        except Exception:  # a transformer made for another size
            return False
        return True

    def _enlarging(self, geometry: Preprocessing) -> float:
        side = geometry.input_size if geometry.crop == "none" else geometry.resize
        return side / float(np.median(self.sample.short_sides))

    def _squares(self, last: int, first: int = 0) -> NDArray[np.uint8]:
        return self.sample.squares(self.working, first, last)

    def _ask_norms(self) -> None:
        squares = self._squares(FOR_NORMS)[0]
        if self.patch is not None:
            squares = corners(squares, self.patch)
        found: dict[str, float] = {}
        for each in self.candidates:
            distance = self.patient.norm_distance(squares, each.preprocessing)
            self.findings[each.name].batch_norm_distance = distance
            if distance is not None:
                found[each.name] = distance
        least = min(found.values(), default=0.0)
        allowed = least * (NEAR if least <= POOR_FIT else NEAR_POOR)
        for name, distance in found.items():
            if distance > allowed:
                self.findings[name].excluded = self.findings[name].excluded or BY_NORMS
        if least > POOR_FIT:
            self.reasons.append("no candidate comes near to the statistics of training")

    def _ask_head(self) -> None:
        """Exclude what leaves the head unsure or too sure of everything, then the inconsistent.

        What was asked takes part even if the batch norms exclude it: they may be mistaken.
        """
        contenders = [c for c in self.candidates if self._takes_part(self.findings[c.name])]
        squares = self._squares(FIRST_LOOK)[0]
        leads = {c.name: self._first_look(c, squares) for c in contenders}
        sound = [c for c in contenders if not self._numbness(c, contenders, leads)]
        if not any(not self.findings[c.name].excluded for c in sound):
            self.reasons.append("the head makes nothing of these pictures under any candidate")
            return
        for each in contenders:
            found = self.findings[each.name]
            found.excluded = found.excluded or self._numbness(each, contenders, leads)
        if self.is_enlarged:
            times = self._enlarging(self.working)
            self.reasons.append(f"the pictures are enlarged {times:.1f} times")
        else:
            self._race(sound)

    def _takes_part(self, found: Finding) -> bool:
        is_near = (found.batch_norm_distance or 0.0) <= HOPELESS
        is_asked = found.name == self.of_asked.name
        return found.excluded is None or (is_asked and found.excluded == BY_NORMS and is_near)

    def _first_look(self, candidate: Candidate, squares: NDArray[np.uint8]) -> float | None:
        """By how much the head prefers its first class; None if it is unsure of everything."""
        logits = self.patient.answers(squares, candidate.preprocessing)
        found = self.findings[candidate.name]
        found.confidence = float(softmax(logits).max(axis=1).mean())
        found.entropy = float(entropy(logits).mean())
        found.n_pictures = len(logits)
        return None if found.confidence < FLAT / logits.shape[1] else lead(logits)

    def _numbness(
        self, each: Candidate, others: Sequence[Candidate], leads: dict[str, float | None]
    ) -> str | None:
        own, scale = leads[each.name], scale_of(each.preprocessing)
        if own is None:
            return BY_FLAT
        smaller = [leads[c.name] for c in others if scale_of(c.preprocessing) * LARGE < scale]
        usual = max((x for x in smaller if x is not None), default=own)
        return BY_SATURATED if own > max(SATURATED, LARGER * usual) else None

    def _race(self, contenders: Sequence[Candidate]) -> None:
        """Exclude what another candidate surely beats, more pictures as long as two remain."""
        views: dict[str, Views] = {}
        running, done = list(contenders), 0
        while not done or len(running) > 1:
            squares = self._squares(done + ROUND, done)
            if not squares.shape[1]:
                break
            done += squares.shape[1]
            for each in running:
                more = Views.of(self.patient, squares, each.preprocessing)
                views[each.name] = views[each.name].and_more(more) if each.name in views else more
                self._note(each.name, views[each.name])
            self.is_head_heard = self._is_at_home(running, views)
            if not self.is_head_heard:
                return
            beaten = self._beaten(running, views)
            running = [c for c in running if c.name not in beaten]
        self._settle(contenders, running)

    def _is_at_home(self, running: Sequence[Candidate], views: dict[str, Views]) -> bool:
        """Whether these pictures are such as the head was trained on, as far as can be seen."""
        sure = {c.name: self.findings[c.name].confidence or 0.0 for c in running}
        name = max(sure, key=lambda name: sure[name])
        answers = views[name].logits[0].argmax(axis=1)
        commonest = np.bincount(answers).max() / len(answers)
        if sure[name] < AT_HOME:
            words = f"the head is not at home with them, {sure[name]:.0%} sure on average"
            self.reasons.append(words)
        elif commonest > MONOTONOUS:
            self.reasons.append(f"the head says the same of {commonest:.0%} of them")
        return sure[name] >= AT_HOME and commonest <= MONOTONOUS

    def _beaten(self, running: Sequence[Candidate], views: dict[str, Views]) -> set[str]:
        beaten = set()
        for one in running:
            for other in running:
                ratio = scale_of(one.preprocessing) / scale_of(other.preprocessing)
                is_alike = 1 / SAME_SCALE < ratio < SAME_SCALE
                what = ARITHMETIC_SAME_SCALE if is_alike else ARITHMETIC
                if one is not other and compare(views[one.name], views[other.name], what) > SURE:
                    beaten.add(other.name)
        return beaten

    def _settle(self, contenders: Sequence[Candidate], winners: Sequence[Candidate]) -> None:
        possible = {c.name for c in contenders if not self.findings[c.name].excluded}
        left = {c.name for c in winners}
        if not left & possible:
            self.reasons.append("batch norms and head contradict each other")
            self.findings[self.of_asked.name].excluded = None
            return
        for name in possible - left:
            self.findings[name].excluded = BY_VIEWS

    def _note(self, name: str, views: Views) -> None:
        found, plain = self.findings[name], views.logits[0]
        found.confidence = float(softmax(plain).max(axis=1).mean())
        found.entropy = float(entropy(plain).mean())
        found.agreement = float(views.agreement().mean())
        found.n_pictures = len(plain)

    def _judge_size(self, fed: Preprocessing) -> str:
        """Compare the size asked for with the published one."""
        side = self.asked.input_size
        if self.working.input_size == side:
            self.reasons.append("the network or the pictures do not allow to compare sizes")
            return CANNOT_TELL
        name, other = f"{self.of_asked.name} at {side}", at_size(fed, side)
        self.findings[name] = found = Finding(name, side)
        if self.patient.norms:
            squares = self.sample.squares(other, 0, FOR_NORMS)[0]
            found.batch_norm_distance = self.patient.norm_distance(squares, other)
        here = self.findings[self.of_asked.name].batch_norm_distance or 0.0
        there = found.batch_norm_distance or 0.0
        better = self._compare_sizes(fed, other, name) if self.is_head_heard else 0.0
        if better > 0 and here <= max(POOR_FIT, SIZE_NORMS * there):
            return SIZE
        if better < 0 and there <= max(POOR_FIT, SIZE_NORMS * here):
            return RIGHT
        self.reasons.append("neither size does clearly better")
        return CANNOT_TELL

    def _compare_sizes(self, here: Preprocessing, there: Preprocessing, name: str) -> float:
        """How much better the published size does, in standard errors; 0 if that is not sure."""
        views: list[Views] = []
        better, done, enough = 0.0, 0, SURE
        while abs(better) <= enough:
            squares = [self.sample.squares(fed, done, done + SIZE_ROUND) for fed in (here, there)]
            if not squares[0].shape[1]:
                break
            done += squares[0].shape[1]
            more = [
                Views.of(self.patient, each, fed)
                for each, fed in zip(squares, (here, there), strict=True)
            ]
            views = [a.and_more(b) for a, b in zip(views, more, strict=True)] if views else more
            better = compare(views[0], views[1], OF_SIZES)
            enough = SURE * max(1.0, (ROUND / done) ** 0.5)  # of few pictures more is asked
        self._note(self.of_asked.name, views[0])
        self._note(name, views[1])
        return better if abs(better) > enough else 0.0


def check_count(n: int) -> None:
    """Refuse too few pictures.

    Raises
    ------
    PicturesError
    """
    if n < LEAST_PICTURES:
        have = "1 picture" if n == 1 else f"{n} pictures"
        raise PicturesError(
            f"{have} that can be read; the doctor compares over at least {LEAST_PICTURES}, "
            "100 tell more."
        )
