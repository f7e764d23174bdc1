"""What results show of themselves in a notebook, and in a line."""

from __future__ import annotations

import os
import pickle
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlfeatures import CNNCodes, ImageIndex, Pictures, evaluate_baseline, load_pictures

EVIL = "<script>alert('x')</script>&\"'"


class Page(HTMLParser):
    """Tags, texts and sources; every tag that is opened must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert {name for name, _ in attrs} <= {"style", "src", "alt", "title"}
        self.sources += [str(value) for name, value in attrs if name == "src"]
        if tag != "img":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def page_of(shown: Any, most: int = 120_000) -> Page:
    """The page that a notebook would show: small, and nothing in it is loaded or run."""
    html = shown._repr_html_()
    assert len(html) < most
    html.encode()
    page = Page(html)
    assert set(page.tags) <= {"div", "strong", "table", "tr", "th", "td", "ul", "li", "img"}
    assert all(each.startswith("data:image/jpeg;base64,") for each in page.sources)
    return page


def is_line(shown: Any) -> str:
    words = repr(shown)
    assert "\n" not in words
    assert len(words) < 160
    return words


@pytest.fixture
def pictures(folder: Path) -> Pictures:
    return load_pictures(folder)


@pytest.fixture
def codes(cache: Path) -> CNNCodes:
    return CNNCodes("embedded", cache=cache)


def test_pictures_show_counts_and_a_few_thumbnails_spread_evenly(pictures: Pictures) -> None:
    page = page_of(pictures)
    assert "36 pictures" in page.text
    assert "3 (checks: 12, disks: 12, stripes: 12)" in page.text
    assert len(page.sources) == 8
    labels = ["checks"] * 3 + ["disks"] * 3 + ["stripes"] * 2
    assert [word for word in page.words if word in pictures.classes] == labels
    assert is_line(pictures) == "<Pictures: 36, 3 classes>"


def test_pictures_show_sides_groups_and_notes(pictures: Pictures) -> None:
    split, groups = ["train"] * 30 + ["test"] * 6, [i // 3 for i in range(36)]
    labels = [*pictures.labels[:-1], "Stripes "]
    shown = Pictures(pictures.items, labels, split, groups, left_out={".txt": 4})
    page = page_of(shown)
    assert "test: 6, train: 30" in page.text
    assert page.words[page.words.index("groups") + 1] == "12"
    assert page.words[page.words.index("other files left out") + 1] == "4"
    assert any("Stripes" in word for word in page.words[-1:])


def test_names_are_escaped_and_bad_pictures_shown_as_such(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    shown = Pictures([str(tmp_path / name), Image.new("L", (9, 9))], [EVIL, EVIL[::-1]])
    page = page_of(shown)
    assert EVIL in page.words
    assert len(page.sources) == 2
    page_of(Pictures([str(tmp_path / name)]))


def test_no_pictures_show_nothing_else() -> None:
    page = page_of(Pictures([]))
    assert page.text == "0 pictures"
    assert page.sources == []


def test_large_pictures_make_no_large_page(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8)
    page_of(Pictures([noise] * 50))


def test_an_extraction_shows_counts_times_and_what_was_bad(
    codes: CNNCodes, pictures: Pictures, tmp_path: Path
) -> None:
    (tmp_path / f"{'<b>'}.png").write_bytes(b"no picture")
    done = codes.extract([*pictures.paths[:3], str(tmp_path / "<b>.png")])
    page = page_of(done)
    assert re.search(r"4 given = \d computed \+ \d cached \+ 1 bad", page.text)
    assert "<b>.png: not a picture" in page.text
    counts = f"{done.computed} computed, {done.cached} cached, 1 bad"
    assert is_line(done) == f"<Extraction: embedded flatten, 256-D; {counts}>"


def test_a_baseline_shows_heads_beside_controls(codes: CNNCodes, pictures: Pictures) -> None:
    result = evaluate_baseline(pictures, codes, heads=["svm", "knn"])
    page = page_of(result)
    for name in ("svm", "knn"):
        row = page.words.index(f"{name} (chosen)" if name == result.chosen else name)
        assert page.words[row + 1] == f"{result.heads[name].accuracy:.1%}"
    for name, control in result.controls.items():
        row = page.words.index(name.replace("_", " "))
        assert page.words[row + 1] == f"{control.accuracy:.1%}"
    assert result.protocol in page.text
    score = f"{result.chosen} {result.heads[result.chosen].accuracy:.1%}"
    assert is_line(result).startswith(f"<Baseline: {score} (")


def test_neighbours_show_queries_with_their_hits(codes: CNNCodes, pictures: Pictures) -> None:
    index = ImageIndex(codes, n_neighbors=4).fit(pictures)
    found = index.search(pictures[:5])
    page = page_of(found)
    assert "neighbours of 5 queries" in page.text
    assert page.words.count("query") == 3
    assert len(page.sources) == 3 * 5
    assert f"{found[0][0].distance:.3f} {found[0][0].label}" in page.words
    assert "2 more queries" in page.text
    assert pickle.loads(pickle.dumps(found)) == found


def test_answers_show_bad_queries_too(codes: CNNCodes, pictures: Pictures, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    index = ImageIndex(codes, n_neighbors=4).fit(pictures)
    answers = index.answer([pictures.paths[0], str(tmp_path / "bad.png")])
    assert "bad query: " in page_of(answers).text
    assert is_line(answers) == "<Answers: 1 queries, 4 neighbours, 1 bad>"
    assert page_of(index.answer([str(tmp_path / "bad.png")])).sources == []
