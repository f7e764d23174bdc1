"""Files that commands write: looked at before the work, whole or absent, after the results."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlfeatures import _targets
from tlfeatures._targets import check_target, expand, expand_given, write_whole, writing
from tlfeatures.cli._app import run
from tlfeatures.cli._targets import then_write
from tlfeatures.errors import OutputError, UsageError
from tlfeatures.pictures import load_pictures, save_png

Capture = pytest.CaptureFixture[str]
NET = ("--backbone", "embedded", "--quiet")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLFEATURES_CACHE", str(cache))


@pytest.fixture(scope="module")
def model(folder: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.model"
    words = ["fit", str(folder), *NET, "--head", "knn", "--out", str(path), "--cache", str(cache)]
    assert run(words) == 0
    return path


# Every option that names a file to write: the command up to it, and such a file's ending.
WRITERS = {
    "fit --out": (["fit", "{folder}", *NET, "--head", "knn", "--out"], ".model"),
    "fit --report": (["fit", "{folder}", *NET, "--head", "knn", "--report"], ".html"),
    "predict --out": (["predict", "{model}", "{folder}", "--quiet", "--out"], ".csv"),
    "predict --report": (["predict", "{model}", "{folder}", "--quiet", "--report"], ".html"),
    "search --sheet": (["search", "{folder}", *NET, "--query", "{one}", "--sheet"], ".png"),
    "extract --out": (["extract", "{folder}", *NET, "--out"], ".h5"),
    "finetune --sheet": (["finetune", "{folder}", *NET, "--plan", "--sheet"], ".png"),
    "finetune --out": (["finetune", "{folder}", *NET, "--epochs", "1", "--out"], ".model"),
    "finetune --report": (["finetune", "{folder}", *NET, "--epochs", "1", "--report"], ".html"),
    "finetune --checkpoint": (
        ["finetune", "{folder}", *NET, "--epochs", "1", "--checkpoint"],
        ".checkpoint",
    ),
}  # fmt: skip
Call = Callable[[str, Any], int]


@pytest.fixture(scope="module")
def codes(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of one network."""
    path = tmp_path_factory.mktemp("codes")
    assert run(["extract", str(folder), *NET, "--cache", str(path)]) == 0
    return path


@pytest.fixture
def call(folder: Path, model: Path, codes: Path) -> Call:
    """Run one of `WRITERS` into a path."""

    def type_it(which: str, path: Any) -> int:
        one = folder / "stripes" / "00.png"
        places = {"folder": folder, "model": model, "one": one, "codes": codes}
        return run([*(word.format(**places) for word in WRITERS[which][0]), str(path)])

    return type_it


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever opens a network, reads a cache or decodes a picture ends the test."""

    def work(*given: object, **named: object) -> None:
        pytest.fail("work was done before the target was looked at")

    for name in (
        "extraction._open.open_engine",
        "extraction._run.look_up",
        "finetuning.draw_augmentation",
    ):
        monkeypatch.setattr(f"tlfeatures.{name}", work)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("kind", ["folder", "below a file", "empty", "a device", "a loop", "long"])
@pytest.mark.parametrize("which", WRITERS)
def test_an_impossible_target_is_refused_before_any_work(
    which: str, kind: str, call: Call, tmp_path: Path, capsys: Capture
) -> None:
    ending = WRITERS[which][1]
    (tmp_path / f"folder{ending}").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / f"pipe{ending}").symlink_to(os.devnull)
    (tmp_path / f"loop{ending}").symlink_to(tmp_path / f"loop{ending}")
    place: Any = {
        "folder": tmp_path / f"folder{ending}",
        "below a file": tmp_path / "file" / f"x{ending}",
        "empty": "",
        "a device": tmp_path / f"pipe{ending}",
        "a loop": tmp_path / f"loop{ending}",
        "long": tmp_path / ("x" * 300 + ending),
    }[kind]
    before = sorted(tmp_path.iterdir())
    assert call(which, place) == (2 if kind == "empty" else 1)
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
    assert which.rpartition(" ")[2] in err or "OUT.h5" in err
    assert sorted(tmp_path.iterdir()) == before
    assert Path(os.devnull).is_char_device()


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    "which", [w for w, (_, e) in WRITERS.items() if e in (".html", ".csv", ".png", ".h5")]
)
def test_an_ending_of_another_format_is_refused(
    which: str, call: Call, tmp_path: Path, capsys: Capture
) -> None:
    for name in ("x.txt", "x", ".png.jpg"):
        assert call(which, tmp_path / name) == 2
        assert f"end the name in {WRITERS[which][1]}" in capsys.readouterr().err


@pytest.mark.usefixtures("no_work")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may all")
@pytest.mark.parametrize("which", WRITERS)
def test_a_folder_one_may_not_write_to_is_refused(
    which: str, call: Call, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    assert call(which, tmp_path / "closed" / f"x{WRITERS[which][1]}") == 1
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("which", WRITERS)
def test_a_file_system_that_cannot_be_written_is_found_before_the_work(
    which: str, call: Call, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*given: object, **named: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    assert call(which, tmp_path / f"x{WRITERS[which][1]}") == 1
    assert "Read-only file system" in capsys.readouterr().err


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "{folder}", *NET, "--out", "x.html", "--report", "./x.html"], "both name"),
        (["fit", "{folder}", *NET, "--out", "x", "--report", "x/r.html"], "both name"),
        (["finetune", "{folder}", *NET, "--out", "m", "--checkpoint", "m"], "both name"),
        (["finetune", "{folder}", *NET, "--lr", "find", "--report", "r.html", "--out",
          "r-rates.html"], "both name"),
        (["finetune", "{folder}", *NET, "--out", "a", "--report", "a.checkpoint/r.html"],
         "both name"),
        (["predict", "{model}", "{folder}", "--report", "{model}"], "end the name in .html"),
        (["predict", "{table}", "{folder}", "--out", "{table}"], "is what the command reads"),
        (["predict", "{model}", "{table}", "--out", "{table}"], "is what the command reads"),
        (["fit", "{table}", *NET, "--out", "{table}"], "is what the command reads"),
        (["fit", "{folder}", *NET, "--weights", "w.pth", "--out", "w.pth"], "command reads"),
        (["fit", "{folder}", *NET, "--out", "{one}"], "is one of the pictures"),
        (["fit", "{folder}", *NET, "--test", "{table}", "--out", "{table}"], "command reads"),
        (["search", "{folder}", *NET, "--query", "{one}", "--sheet", "{one}"], "command reads"),
        (["search", "{folder}", *NET, "--query", "{one}", "--sheet", "{two}"], "of the pictures"),
        (["search", "{folder}", *NET, "--query", "{one}", "--sheet", "link.png"],
         "of the pictures"),
        (["finetune", "{folder}", *NET, "--plan", "--sheet", "{one}"], "is one of the pictures"),
        (["finetune", "{folder}", *NET, "--out", "{one}"], "is one of the pictures"),
    ],
)  # fmt: skip
def test_what_is_read_or_written_already_is_never_written_over(
    words: list[str], said: str, folder: Path, model: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: Capture,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    one, two = folder / "stripes" / "00.png", folder / "stripes" / "01.png"
    (tmp_path / "link.png").symlink_to(two)
    (tmp_path / "w.pth").write_bytes(b"weights")
    table = tmp_path / "t.csv"
    table.write_text(f"path,label\n{one},a\n")
    before = {path: path.read_bytes() for path in (one, two, model, table)}
    places = {"folder": folder, "model": model, "one": one, "two": two, "table": table}
    assert run([word.format(**places) for word in words]) == 2
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_results_are_printed_before_a_disk_turns_out_to_be_full(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def run_full(*words: object) -> tuple[dict[str, Any], str]:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            assert run([*map(str, words), *NET, "--json"]) == 1
        out, err = capsys.readouterr()
        assert list(tmp_path.iterdir()) == []
        return json.loads(out), err

    run(["extract", str(folder), *NET])  # the cache has its rows before the disk is full
    capsys.readouterr()
    data, err = run_full("fit", folder, "--head", "knn", "--out", tmp_path / "m", "--report",
                         tmp_path / "r.html")  # fmt: skip
    assert data["heads"]["knn"]["accuracy"] > 0.5
    assert [line[:6] for line in err.splitlines()] == ["error:"] * 2
    assert err.count("No space left on device") == 2
    one = folder / "stripes" / "00.png"
    data, err = run_full("search", folder, "--query", one, "--sheet", tmp_path / "s.png")
    assert len(data["queries"][0]["neighbours"]) == 5
    assert "No space left" in err


def test_what_cannot_be_written_does_not_keep_the_other_file_from_being_written(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OutputError("the page cannot be written (No space left on device)")

    monkeypatch.setattr("tlfeatures.report.save_page", full)
    page, out = tmp_path / "r.html", tmp_path / "m.model"
    words = ["fit", str(folder), *NET, "--head", "knn", "--report", str(page), "--out", str(out)]
    assert run(words) == 1
    assert out.is_file()
    assert "k nearest neighbours" in capsys.readouterr().out


def test_files_are_written_though_nobody_reads_the_results() -> None:
    written: list[str] = []
    with pytest.raises(BrokenPipeError), then_write(lambda: written.append("file")):
        raise BrokenPipeError
    assert written == ["file"]


@pytest.mark.parametrize("which", [w for w in WRITERS if not w.startswith("finetune")])
def test_a_folder_that_is_not_there_is_made(which: str, call: Call, tmp_path: Path) -> None:
    place = tmp_path / "new" / "and newer" / f"x{WRITERS[which][1]}"
    assert call(which, place) == 0
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_files_of_several_layers_are_looked_at_too(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "c-layer4.relu2.h5").mkdir()
    words = ["extract", str(folder), *NET, "--layer", "layer3", "--layer", "layer4"]
    assert run([*words, "--out", str(tmp_path / "c.h5"), "--cache", str(tmp_path / "new")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "c-layer4.relu2.h5 cannot be written (it is a folder)" in err
    assert not list((tmp_path / "new").rglob("*.h5"))


def test_a_checkpoint_that_is_another_file_is_refused_before_the_work(
    folder: Path, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"my photo")
    words = ["finetune", str(folder), *NET, "--cache", str(tmp_path / "new"), "--checkpoint"]
    assert run([*words, str(model)]) == 1
    assert "is no checkpoint of a fine-tuning; name another file in --checkpoint" in (
        capsys.readouterr().err
    )
    assert run([*words, str(tmp_path / "photo.jpg")]) == 1
    assert (tmp_path / "photo.jpg").read_bytes() == b"my photo"
    assert not (tmp_path / "new").exists()


def test_the_demo_looks_at_its_places_first(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "demo" / "report.html").mkdir(parents=True)
    for place, said in (("file", "is a file"), ("file/x", "is a file"), ("demo", "report.html")):
        assert run(["demo", "--out", str(tmp_path / place)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert said in err
        assert "drawing" not in err


def test_a_link_is_followed_and_permissions_stay(tmp_path: Path) -> None:
    real = tmp_path / "real.txt"
    real.write_bytes(b"old")
    real.chmod(0o600)
    (tmp_path / "link.txt").symlink_to(real)
    write_whole(tmp_path / "link.txt", b"new", "the text")
    assert real.read_bytes() == b"new"
    assert (tmp_path / "link.txt").is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.txt", "real.txt"]


def stop_in_the_middle(path: Path, stop: type[BaseException]) -> None:
    with writing(path) as beside:
        beside.write_bytes(b"half")
        raise stop


def test_a_write_that_stops_in_the_middle_leaves_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    for stop in (KeyboardInterrupt, OSError):
        with pytest.raises(stop):
            stop_in_the_middle(tmp_path / "x", stop)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_write_protected_file_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.png").write_bytes(b"mine")
    monkeypatch.setattr(_targets.os, "access", lambda path, how: False)  # as root may all
    with pytest.raises(OutputError, match="write-protected"):
        save_png(Image.new("RGB", (2, 2)), tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes() == b"mine"


@pytest.mark.parametrize("words", ["", "  ", "a\0b"])
def test_what_is_no_name_is_refused(words: str) -> None:
    with pytest.raises(UsageError, match="is no file name"):
        check_target(words, "the page")


# A leading ~ is the home folder, wherever a path comes in.


@pytest.fixture
def home(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with pictures, and another folder that one is in."""
    place = tmp_path / "home"
    place.mkdir()
    (tmp_path / "here").mkdir()
    (place / "pictures").symlink_to(folder)
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("USERPROFILE", str(place))
    monkeypatch.chdir(tmp_path / "here")
    return place


def test_the_command_line_expands_every_path(
    home: Path, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = "~/pictures/stripes/00.png"
    (home / "list.csv").write_text(f"path,label\n{folder}/stripes/00.png,a\n")
    source = Path(_targets.__file__).parent / "backbones" / "embedded.safetensors"
    shutil.copy(source, home / "w.safetensors")
    net = ["--backbone", "embedded", "--quiet", "--cache=~/cache"]
    monkeypatch.setenv("TLFEATURES_CACHE", "~/other cache")
    for words in (
        ["fit", "~/pictures", *net, "--head=knn", "--out=~/m/m.model", "--report=~/r.html"],
        ["fit", "~/pictures", *net, "--head=knn", "--test=~/pictures"],
        ["search", "~/pictures", *net, f"--query={one}", "--sheet=~/s.png"],
        ["extract", "~/list.csv", *net[:3], "--cache=~/codes", "--out=~/c.h5"],
        ["extract", "~/list.csv", "--backbone=embedded", "--quiet", "--weights=~/w.safetensors"],
        ["finetune", "~/pictures", *net, "--plan", "--sheet=~/look.png"],
        ["predict", "~/m/m.model", one, "--quiet", "--cache=~/cache", "--out=~/p.csv"],
        ["predict", "~/m/m.model", "~/pictures", "--quiet"],
        ["predict", "~/m/m.model", "~/pictures", "--quiet", "--report=~/e.html"],
        ["cache", "merge", "~/cache", "--cache=~/merged"],
    ):
        assert run(words) == 0, (words, capsys.readouterr().err)
    made = {path.name for path in home.iterdir()}
    assert made >= {
        "m", "r.html", "s.png", "c.h5", "look.png", "p.csv", "e.html", "cache", "codes",
        "other cache", "merged",
    }  # fmt: skip
    assert list(Path().iterdir()) == []


def test_python_expands_every_path(home: Path, folder: Path) -> None:
    from tlfeatures import CNNCodes, ImageIndex, TransferClassifier
    from tlfeatures.classification import SavedModel, predict_saved
    from tlfeatures.extraction import RunOptions
    from tlfeatures.finetuning import FineTunedClassifier
    from tlfeatures.report import ReportPage, save_page
    from tlfeatures.search import save_sheet
    from tlfeatures.store import cache_info, export_codes

    codes, one = CNNCodes("embedded", cache="~/cache"), "~/pictures/stripes/00.png"
    model = TransferClassifier(codes, head="knn").fit("~/pictures")
    assert model.save("~/m.model") == home / "m.model"
    assert TransferClassifier.load("~/m.model", cache="~/cache").predict([one]) == ["stripes"]
    found = predict_saved(SavedModel.load("~/m.model"), [one], RunOptions(cache="~/cache"))
    assert found.save_csv("~/p.csv").is_file()
    rows = ImageIndex(codes).fit("~/pictures").search([one])
    assert save_sheet("~/s.png", [one], rows) == home / "s.png"
    assert save_page(ReportPage("title", "lead"), "~/r.html") == home / "r.html"
    assert cache_info("~/cache")
    assert export_codes(codes.codes("~/pictures"), "~/c.h5") == home / "c.h5"
    with pytest.raises(OutputError, match="it is a folder"):
        FineTunedClassifier(codes, checkpoint="~").fit("~/pictures")
    assert list(Path().iterdir()) == []


def test_a_user_nobody_knows_stays_and_a_file_of_that_name_is_found(home: Path) -> None:
    assert expand("~nobody here/x") == Path("~nobody here/x")
    assert expand("~/x") == home / "x"
    assert expand_given("~/x") == str(home / "x")
    Path("~").mkdir()
    Path("~/x").touch()
    assert expand_given("~/x") == "~/x"  # what is read is what is there
    assert expand("~/x") == home / "x"


def test_pictures_below_a_folder_called_tilde_stay_what_they_are(home: Path) -> None:
    Path("~").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("~/a.png")
    assert load_pictures(".").paths == [str(Path("~/a.png"))]


@pytest.mark.parametrize("words", [["extract", ""], ["fit", " "], ["cache", "info", "--cache", ""],
                                   ["extract", "{folder}", "--cache", ""]])  # fmt: skip
def test_an_empty_path_is_not_the_folder_one_is_in(
    words: list[str], folder: Path, capsys: Capture
) -> None:
    assert run([word.format(folder=folder) for word in words]) in (1, 2)
    assert capsys.readouterr().err.startswith("error: ")
