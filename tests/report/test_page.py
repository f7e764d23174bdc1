"""The page: one file, everything escaped, each figure as it was given."""

import io
import re
from dataclasses import replace

import pytest
from PIL import Image

from tests.report.parsed_page import Page
from tlfeatures.errors import OutputError, TlfeaturesError
from tlfeatures.report import ReportControl, ReportPage, ReportRow, Sheet, render_page, save_page


def make_png():
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (200, 10, 10)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def page():
    return ReportPage(
        title="Digits",
        lead="Linear SVM: 71.2 %.",
        facts=[("Backbone", "embedded"), ("Key", "embedded-pooled-0123456789ab")],
        heads=[
            ReportRow(
                "svm", 0.7123, 0.6691, 0.7519, 0.7081, 0.6652, 0.7498, C=31.6227766, chosen=True
            ),
            ReportRow("knn", 0.6111, 0.5655, 0.6549, 0.6044),
        ],
        controls=[
            ReportControl("majority", "the most frequent class", 0.1022, 0.0783, 0.1341),
            ReportControl("shuffled", "permuted labels", 0.0984),
        ],
        warnings=["class '7' has 3 pictures"],
        bad=[("a/b.png", "truncated")],
        sheets=[Sheet("Neighbours", "query left", make_png())],
        next_steps=["tlfeatures fit my_pictures"],
    )


def test_every_number_on_the_page_is_the_dataclass_own(page):
    parsed = Page(render_page(page))
    given = [(r.accuracy, r.low, r.high) for r in [*page.heads, *page.controls]]
    marked = parsed.having("data-test-accuracy")
    keys = ("data-test-accuracy", "data-test-low", "data-test-high")
    assert [tuple(cell[key] for key in keys) for cell in marked] == [
        tuple(str(number) for number in numbers) for numbers in given
    ]
    recalls = [
        float(cell["data-test-mean-recall"]) for cell in parsed.having("data-test-mean-recall")
    ]
    assert recalls == [0.7081, 0.6044]
    assert [float(cell["data-test-c"]) for cell in parsed.having("data-test-c")] == [31.6227766]


@pytest.mark.parametrize(("C", "text"), [(1000.0, "1000"), (0.01, "0.01"), (31.6227766, "31.6228")])
def test_a_heads_c_is_read_as_on_the_command_line(page, C, text):
    heads = [replace(head, C=C) if head.C else head for head in page.heads]
    (cell,) = Page(render_page(replace(page, heads=heads))).having("data-test-c")
    assert cell["text"] == text


def test_a_person_reads_the_same_figures_rounded(page):
    cells = [cell["text"].split() for cell in Page(render_page(page)).having("data-test-accuracy")]
    assert cells == [
        ["71.2", "66.9", "to", "75.2"],
        ["61.1", "56.5", "to", "65.5"],
        ["10.2", "7.8", "to", "13.4"],
        ["9.8"],
    ]


def test_heads_and_controls_share_one_axis_in_percent(page):
    parsed = Page(render_page(page))
    bars = [bar["width"] for bar in parsed.tags("rect")]
    assert bars == ["71.2%", "61.1%", "10.2%", "9.8%"]
    whiskers = [line for line in parsed.tags("line") if line["class"] == "whisker"]
    assert (whiskers[0]["x1"], whiskers[0]["x2"]) == ("66.9%", "75.2%")
    assert len(whiskers) == 3 * 3  # a line with two ends; none where no interval is given
    axis = [text["text"] for text in parsed.tags("text")]
    assert axis == ["0", "25", "50", "75", "100 %"]


def test_the_column_of_c_is_there_where_a_head_has_one(page):
    def columns(one):
        return [cell["text"] for cell in Page(render_page(one)).tags("th") if cell.get("scope")]

    assert "C" in columns(page)
    assert "C" not in columns(replace(page, heads=page.heads[1:]))


def test_only_the_chosen_head_is_marked(page):
    rows = Page(render_page(page)).having("data-test-chosen")
    assert [row["data-test-head"] for row in rows] == ["svm"]
    assert "kept" in rows[0]["text"]


def test_all_words_given_are_on_the_page(page):
    html = render_page(page)
    text = Page(html).tags("html")[0]["text"]
    for words in ("Digits", "Linear SVM: 71.2 %.", "embedded-pooled-0123456789ab", "a/b.png",
                  "class '7' has 3 pictures", "truncated", "query left",
                  "the most frequent class", "tlfeatures fit my_pictures"):  # fmt: skip
        assert words in text


def test_markup_in_names_is_escaped_wherever_it_stands():
    evil = "<script>alert('x')</script>\"><img src=x onerror=y>"
    html = render_page(
        ReportPage(
            evil, evil, [(evil, evil)], [ReportRow(evil, 0.5, 0.4, 0.6, 0.5, chosen=True)],
            [ReportControl(evil, evil, 0.5)], [evil], [(evil, evil)],
            [Sheet(evil, evil, make_png())], [evil],
        )
    )  # fmt: skip
    parsed = Page(html)
    assert parsed.tags("script") == []
    assert [image["src"][:22] for image in parsed.tags("img")] == ["data:image/png;base64,"]
    assert parsed.having("data-test-head")[0]["data-test-head"] == evil


def test_nothing_is_fetched_from_outside(page):
    html = render_page(page)
    assert not re.search(r"https?:|@import|url\(|<script|<link|<iframe|<base", html)
    parsed = Page(html)
    assert all(element["src"].startswith("data:") for element in parsed.having("src"))
    assert parsed.having("href") == parsed.having("srcset") == []


def test_light_dark_phone_and_print_are_provided_for(page):
    html = render_page(page)
    for words in ("prefers-color-scheme: dark", "max-width: 640px", "@media print", "viewport"):
        assert words in html


def test_a_bare_page_has_no_empty_headings():
    parsed = Page(render_page(ReportPage("Title", "Lead.")))
    assert parsed.having("data-test-part") == []
    for tag in ("h2", "table", "dl", "ul", "pre", "figure"):
        assert parsed.tags(tag) == []


@pytest.mark.parametrize(
    ("field", "part"),
    [("warnings", "warnings"), ("bad", "bad"), ("sheets", "sheet"), ("next_steps", "next")],
)
def test_a_missing_part_leaves_the_others(page, field, part):
    def parts(one):
        return {e["data-test-part"] for e in Page(render_page(one)).having("data-test-part")}

    assert parts(page) - parts(replace(page, **{field: []})) == {part}


def test_without_controls_nothing_is_said_about_them(page):
    html = render_page(replace(page, controls=[]))
    assert "data-test-control" not in html
    assert "Controls:" not in html
    assert "The controls" not in html


@pytest.mark.parametrize(
    "name", ["n" * 5000, "蚁/蜂 é ← \u202e rtl", "{{ 7 * 7 }} {% if %}", "a\nb\tc"]
)
def test_odd_names_come_through_unchanged(page, name):
    odd = replace(page, heads=[replace(page.heads[0], name=name)], bad=[(name, "x")])
    parsed = Page(render_page(odd))
    assert parsed.having("data-test-head")[0]["data-test-head"] == name
    assert name in parsed.having("data-test-bad")[0]["text"]


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_the_ends_of_the_axis_are_drawn(accuracy):
    row = ReportRow("svm", accuracy, accuracy, accuracy, accuracy)
    bar = Page(render_page(ReportPage("t", "l", heads=[row]))).tags("rect")[0]
    assert bar["width"] == f"{100 * accuracy:.1f}%"


def test_a_saved_page_is_one_file_that_replaces_the_old_one(tmp_path, page):
    path = tmp_path / "new" / "report.html"
    for _ in range(2):
        assert save_page(page, path) == path
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert path.read_text("utf-8") == render_page(page)


def test_a_file_name_that_is_not_utf8_is_saved(tmp_path, page):
    odd = replace(page, bad=[("caf\udce9.png", "truncated")])
    assert b"caf" in save_page(odd, tmp_path / "report.html").read_bytes()


def test_a_place_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path, page):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(OutputError, match=r"folder\.html.*name a file in a folder") as caught:
        save_page(page, tmp_path / "folder.html")
    assert isinstance(caught.value, TlfeaturesError)
    assert isinstance(caught.value, OSError)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.html"]
