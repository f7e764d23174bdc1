"""What the documents say is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tlfeatures
from tlfeatures import backbones, classification, extraction, finetuning, heads

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
UNFOUND = re.compile(r"Strathclyde|\bKumar\b(?! et)|\bthe Deck\b|documents\.md|\bR\.\d")
DOCUMENTS = [*(ROOT / name for name in PAGES), *sorted((ROOT / "docs").glob("*.md"))]


def test_the_command_line_page_equals_the_help() -> None:
    subprocess.run([sys.executable, str(ROOT / "docs/make_cli.py"), "--check"], check=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_the_public_names_are_sorted_and_there() -> None:
    names = tlfeatures.__all__
    assert list(names) == sorted(names)
    for name in names:
        assert getattr(tlfeatures, name) is not None


def test_names_that_are_loaded_later_are_listed_and_others_refused() -> None:
    for package in (tlfeatures, backbones, classification, extraction, finetuning, heads):
        assert set(package.__all__) <= set(dir(package))
        with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
            getattr(package, "no_such_name")  # noqa: B009  mypy knows that it is not there


def test_importing_the_package_imports_neither_torch_nor_scikit_learn() -> None:
    code = "import sys, tlfeatures; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sources_are_cited_by_what_can_be_found() -> None:
    folders = ("tlfeatures", "docs", "pipelines", "benchmarks")
    files = [file for name in folders for file in (ROOT / name).rglob("*.[pm][yd]")]
    assert len(files) > 200
    for file in [*files, *DOCUMENTS]:
        assert not UNFOUND.findall(file.read_text(encoding="utf-8")), file
