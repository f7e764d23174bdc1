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
  standard errors of the difference (see `_doctor_evidence.compare`): with ten pairs looked at
  several times, two would err too often.
- A head out of its depth likes wrong candidates as well, so its consistency tells nothing where the
  network sees the pictures `ENLARGED` by more, where it is less than `AT_HOME` sure of them on
  average (0.65-0.75 on photographs, 0.2-0.45 on thumbnails, drawings, and of a network trained on
  drawings), and where it calls more than `MONOTONOUS` of them the same, as it does with noise.
- Size: the published one is taken to be right unless another is asked for that differs by more than
  `SIZE_FACTOR` (larger by a seventh is known to do no harm); then the two are compared. Batch norms
  veto a size at which they fit badly, and `SIZE_NORMS` times worse than at the other.
- A glance shows batch norms `PATCH` pixels of the pictures, the corners in turn: they say the same
  to 0.005. If only the order of the channels is open, the head is asked about the pictures as they
  are: how far its first class stands above the mean of all. That differed between right and wrong
  order by 0.9 spreads over 64 photographs, with three networks; confidence by 0.5. Of 2,000 draws
  each, 93 to 96 % named the wrong order within `MOST` pictures, the right order was never called
  wrong. What was asked for must be ahead by half of `SURE`, since "right" is remembered, and over
  other photographs (Caltech-101) the two orders hardly differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tlfeatures.doctor._candidates import (
    AS_ASKED,
    CANNOT_TELL,
    RIGHT,
    SIZE,
    TWICE,
    Candidate,
    Finding,
    at_size,
    check_count,
    is_same,
    make_candidates,
    name_mistake,
    scale_of,
)
from tlfeatures.doctor._evidence import (
    Patient,
    Sample,
    Views,
    compare,
    corners,
    height,
    lead,
    lead_of,
    softmax,
)
from tlfeatures.errors import WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tlfeatures.backbones import Preprocessing

FOR_NORMS, FIRST_LOOK, ROUND, SIZE_ROUND = 32, 16, 32, 16
NEAR, POOR_FIT, NEAR_POOR = 2.5, 0.025, 5.0
HOPELESS, FLAT = 0.5, 10.0
SATURATED, LARGER, LARGE = float(np.log(100)), 2.0, 10.0
AT_HOME, MONOTONOUS = 0.55, 0.8
SURE, SAME_SCALE, ENLARGED = 3.0, 1.1, 1.5
SIZE_FACTOR, SIZE_NORMS = 1.25, 1.5
PATCH, LOOK, MOST = 64, 8, 24

BY_NORMS, BY_FLAT, BY_SATURATED = "batch norms", "head unsure of everything", "head too sure"
BY_VIEWS, BY_HEIGHT, BY_CUSTOM = "head less consistent", "head prefers another", "nobody trains so"
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
    is_glance : bool, default=False
        A few looks: nothing is told of sizes, nor of networks without batch norms.

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
        is_glance: bool = False,
    ) -> None:
        self.patient, self.sample, self.is_glance = patient, sample, is_glance
        self.asked = self.working = asked
        self.published_side = published.input_size if published else asked.input_size
        self.reasons: list[str] = []
        self.is_head_heard = False
        self._choose_size()
        self.has_head = patient.has_head(self._squares(1), self.working)
        if not patient.norms and not self.has_head:
            raise WeightsError(
                "this network has neither batch norms with statistics nor a classifier of many "
                "classes; there is nothing to go by."
            )
        self.candidates = make_candidates(self.working, published)
        side = self.working.input_size
        self.findings = {c.name: Finding(c.name, side) for c in self.candidates}
        self.of_asked = next(c for c in self.candidates if is_same(self.working, c.preprocessing))
        # Larger inputs often look more consistent, and nobody trains so.
        names = {name_mistake(self.working, c.preprocessing) for c in self.candidates}
        if self.of_asked.name == AS_ASKED and TWICE in names:
            self.findings[AS_ASKED].excluded = BY_CUSTOM

    def verdict(self) -> str:
        """Measure, exclude, compare what remains; the rest is in the attributes then."""
        if self.is_glance and (self.is_other_size or not self.patient.norms):
            self.reasons.append("a glance does not tell; 'backbones doctor' may")
            return CANNOT_TELL
        if self.patient.norms:
            self._ask_norms()
        if self.is_glance:
            return self._told() if self._is_settled() else self._ask_order()
        if self.has_head:
            self._ask_head()
        told = self._told()
        return self._judge_size() if told == RIGHT and self.is_other_size else told

    @property
    def possible(self) -> list[Candidate]:
        """What is not excluded so far."""
        return [c for c in self.candidates if self.findings[c.name].excluded is None]

    @property
    def is_other_size(self) -> bool:
        """Whether another size than the published one was asked for."""
        ratio = self.asked.input_size / self.published_side
        return max(ratio, 1 / ratio) > SIZE_FACTOR

    def _told(self) -> str:
        """What all that is possible says of what was asked."""
        names = {name_mistake(self.of_asked.preprocessing, c.preprocessing) for c in self.possible}
        return names.pop() if len(names) == 1 else CANNOT_TELL

    def _choose_size(self) -> None:
        """Look at the published size, if the network takes it and the pictures are large enough."""
        self._squares(FOR_NORMS)
        check_count(len(self.sample.short_sides))
        if self.is_other_size and not self.is_glance:
            self.working = at_size(self.asked, self.published_side)
            is_smaller = self.asked.input_size < self.published_side
            if not self._runs() or (is_smaller and self._enlarging() > ENLARGED):
                self.working = self.asked

    def _runs(self) -> bool:
        try:
            self.patient.answers(self._squares(1), self.working)
        except Exception:  # a transformer made for another size
            return False
        return True

    def _enlarging(self) -> float:
        """How many times larger than they are the network sees the pictures."""
        g = self.working
        side = g.input_size if g.crop == "none" else g.resize
        return side / float(np.median(self.sample.short_sides))

    def _squares(self, last: int, first: int = 0) -> NDArray[np.uint8]:
        return self.sample.squares(self.working, first, last)

    def _ask_norms(self) -> None:
        squares = self._squares(FOR_NORMS)
        if self.is_glance:
            squares = corners(squares, PATCH)
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

    def _is_settled(self) -> bool:
        """Whether a glance need not or cannot ask the head: it compares inputs of one scale."""
        is_clear = self._told() != CANNOT_TELL or not self.possible or bool(self.reasons)
        if is_clear or not self.has_head or self._enlarging() > ENLARGED:
            return True
        scales = [scale_of(c.preprocessing) for c in self.possible]
        return max(scales) >= SAME_SCALE * min(scales)

    def _ask_order(self) -> str:
        """Which of the possible ones the head prefers; the one asked for needs half the proof."""
        running = self.possible
        logits = {c.name: np.zeros((0, 0)) for c in running}
        for done in range(0, MOST, LOOK):
            squares = self._squares(done + LOOK, done)
            if not len(squares):
                break
            for c in running:
                more = self.patient.answers(squares, c.preprocessing)
                logits[c.name] = np.concatenate([logits[c.name], more]) if done else more
                self._note(c.name, logits[c.name])
            heights = {name: height(each) for name, each in logits.items()}
            best = max(heights, key=lambda name: float(heights[name].mean()))
            if (self.findings[best].confidence or 0.0) < AT_HOME:
                continue
            others = set(heights) - {best}
            ahead = min(lead_of(heights[best], heights[name]) for name in others)
            if best == self.of_asked.name:
                if ahead > SURE / 2:
                    return RIGHT
            elif ahead > SURE * max(1.0, (1.5 * LOOK / (done + len(squares))) ** 0.5):
                for name in others:
                    self.findings[name].excluded = BY_HEIGHT
                return self._told()
        self.reasons.append("so few pictures do not tell the order of the channels")
        return CANNOT_TELL

    def _ask_head(self) -> None:
        """Exclude what leaves the head unsure or too sure of everything, then the inconsistent.

        What was asked takes part even if the batch norms exclude it: they may be mistaken.
        """
        contenders = [c for c in self.candidates if self._takes_part(self.findings[c.name])]
        squares = self._squares(FIRST_LOOK)
        leads = {c.name: self._first_look(c, squares) for c in contenders}
        numb = {c.name: self._numbness(c, contenders, leads) for c in contenders}
        sound = [c for c in contenders if not numb[c.name]]
        if not any(not self.findings[c.name].excluded for c in sound):
            self.reasons.append("the head makes nothing of these pictures under any candidate")
            return
        for name, why in numb.items():
            self.findings[name].excluded = self.findings[name].excluded or why
        if self._enlarging() > ENLARGED:
            self.reasons.append(f"the pictures are enlarged {self._enlarging():.1f} times")
        else:
            self._race(sound)

    def _takes_part(self, found: Finding) -> bool:
        is_near = (found.batch_norm_distance or 0.0) <= HOPELESS
        is_asked = found.name == self.of_asked.name
        return found.excluded is None or (is_asked and found.excluded == BY_NORMS and is_near)

    def _first_look(self, candidate: Candidate, squares: NDArray[np.uint8]) -> float | None:
        """By how much the head prefers its first class; None if it is unsure of everything."""
        logits = self.patient.answers(squares, candidate.preprocessing)
        sure = self._note(candidate.name, logits)
        return None if sure < FLAT / logits.shape[1] else lead(logits)

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
            if not len(self._squares(done + ROUND, done)):
                break
            for c in running:
                views[c.name] = self._more_views(c.name, c.preprocessing, done, ROUND, views)
            done = views[running[0].name].logits.shape[1]
            self.is_head_heard = self._is_at_home(running, views)
            if not self.is_head_heard:
                return
            beaten = self._beaten(running, views)
            running = [c for c in running if c.name not in beaten]
        self._settle(contenders, running)

    def _more_views(
        self, name: str, fed: Preprocessing, done: int, n: int, views: dict[str, Views]
    ) -> Views:
        """The views so far and those of n further pictures, noted."""
        more = Views.of(self.patient, self.sample, fed, done, done + n)
        every = views[name].and_more(more) if name in views else more
        self._note(name, every.logits[0])
        self.findings[name].agreement = float(every.agreement().mean())
        return every

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

    def _note(self, name: str, logits: NDArray[np.float64]) -> float:
        """Keep how sure the head is of the pictures so far."""
        found, sure = self.findings[name], float(softmax(logits).max(axis=1).mean())
        found.confidence, found.n_pictures = sure, len(logits)
        return sure

    def _judge_size(self) -> str:
        """Compare the size asked for with the published one."""
        side, fed = self.asked.input_size, self.of_asked.preprocessing
        if self.working.input_size == side:
            self.reasons.append("the network or the pictures do not allow to compare sizes")
            return CANNOT_TELL
        name, other = f"{self.of_asked.name} at {side}", at_size(fed, side)
        self.findings[name] = found = Finding(name, side)
        if self.patient.norms:
            squares = self.sample.squares(other, 0, FOR_NORMS)
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
        both = ((self.of_asked.name, here), (name, there))
        views: dict[str, Views] = {}
        better, done, enough = 0.0, 0, SURE
        while abs(better) <= enough and len(self.sample.squares(here, done, done + SIZE_ROUND)):
            views = {key: self._more_views(key, fed, done, SIZE_ROUND, views) for key, fed in both}
            done = views[name].logits.shape[1]
            better = compare(views[self.of_asked.name], views[name], OF_SIZES)
            enough = SURE * max(1.0, (ROUND / done) ** 0.5)  # of few pictures more is asked
        return better if abs(better) > enough else 0.0
