"""Compiled operations are code: they are loaded only from where nobody else can write."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tlfeatures.engine.kernels import _kernels, _private, _resize
from tlfeatures.engine.kernels._kernels import RESIZING, are_for_here
from tlfeatures.engine.kernels._private import check_own_file, make_private, private_path
from tlfeatures.engine.kernels._resize import kept_resizer
from tlfeatures.extraction import RunOptions

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders have no such modes there")
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)
needs_compiler = pytest.mark.skipif(
    not are_for_here() or not any(map(_kernels.shutil.which, _kernels.COMPILERS)),
    reason="no C++ compiler is here, or no Linux on a processor with AVX2",
)
SOMEBODY = 12345


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """home/cache/program/kernels, private; a file of the user's own in it."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    folder = home / "cache" / "program" / "kernels"
    make_private(folder)
    (folder / "own.so").write_bytes(b"")
    return folder


def test_a_folder_of_ones_own_is_private_where_it_really_is(kept: Path, tmp_path: Path) -> None:
    assert kept.stat().st_mode & 0o777 == 0o700
    assert private_path(kept) == kept.resolve()
    check_own_file(kept / "own.so")
    (tmp_path / "link").symlink_to(kept.parent)
    assert private_path(tmp_path / "link" / "kernels") == kept.resolve()


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_what_is_made_is_private_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        make_private(tmp_path / "a" / "b" / "kernels")
    finally:
        os.umask(before)
    assert private_path(tmp_path / "a" / "b" / "kernels")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777, 0o1777, 0o710, 0o701, 0o500])
def test_a_folder_of_another_mode_is_not_private(mode: int, kept: Path) -> None:
    kept.chmod(mode)
    with pytest.raises(OSError, match=f"has mode {mode & 0o777:04o}, not 0700"):
        private_path(kept)
    with pytest.raises(OSError, match="not 0700"):
        check_own_file(kept / "own.so")


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o770, 0o2775])
@pytest.mark.parametrize("which", ["program", "cache", "home"])
def test_others_may_write_to_no_folder_up_to_the_home(which: str, mode: int, kept: Path) -> None:
    parent = next(each for each in kept.parents if each.name == which)
    parent.chmod(mode)
    with pytest.raises(OSError, match=f"others can write to .*{which}, which kernels lies in"):
        private_path(kept)


def test_a_folder_that_a_link_leads_to_is_looked_at_where_it_lies(
    kept: Path, tmp_path: Path
) -> None:
    (tmp_path / "open").mkdir()
    (kept.parents[1] / "linked").symlink_to(tmp_path / "open")
    make_private(kept.parents[1] / "linked" / "kernels")
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(OSError, match="others can write to"):
        private_path(kept.parents[1] / "linked" / "kernels")


def test_what_is_above_the_home_or_a_sticky_folder_plays_no_part(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o777)
    try:
        assert private_path(kept)
        monkeypatch.setenv("HOME", "/nowhere")
        with pytest.raises(OSError, match="others can write to"):
            private_path(kept)
        kept.parents[1].chmod(0o1777)
        assert private_path(kept)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("kind", ["link", "file", "nothing"])
def test_what_is_no_folder_itself_is_refused(kind: str, kept: Path) -> None:
    other = kept.with_name("other")
    if kind == "link":
        other.symlink_to(kept)
    elif kind == "file":
        other.touch(0o700)
    with pytest.raises(OSError, match="no folder" if kind != "nothing" else "No such file"):
        private_path(other)


@pytest.mark.parametrize("kind", ["link", "folder", "group", "world"])
def test_what_is_no_file_of_ones_own_is_refused(kind: str, kept: Path) -> None:
    path = kept / f"{kind}.so"
    if kind == "link":
        path.symlink_to(kept / "own.so")
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
        path.chmod(0o664 if kind == "group" else 0o646)
    expected = "no plain file" if kind in ("link", "folder") else "others can write to"
    with pytest.raises(OSError, match=expected):
        check_own_file(path)


@needs_root
@pytest.mark.parametrize("which", ["own.so", "kernels", "program", "home"])
def test_what_belongs_to_another_user_is_refused(which: str, kept: Path) -> None:
    """As for root, whose HOME is somebody's."""
    path = kept / "own.so"
    os.chown(next(each for each in (path, *path.parents) if each.name == which), SOMEBODY, SOMEBODY)
    with pytest.raises(OSError, match=r"another user|others can write"):
        check_own_file(path)


@needs_root
def test_for_somebody_else_root_may_own_what_is_above_and_no_more(kept: Path) -> None:
    def is_refused(path: Path) -> Callable[[], bool]:
        def check() -> bool:
            try:
                check_own_file(path)
            except OSError:
                return True
            return False

        return check

    for parent in kept.parents:  # pytest's own folders are root's alone
        if parent.name == "tmp":
            break
        parent.chmod(0o755)
    assert as_somebody(is_refused(kept / "own.so"))  # root's, and cannot be seen
    for path in (kept, kept / "own.so"):
        os.chown(path, SOMEBODY, SOMEBODY)
    assert not as_somebody(is_refused(kept / "own.so"))
    os.chown(kept / "own.so", SOMEBODY + 1, SOMEBODY + 1)
    assert as_somebody(is_refused(kept / "own.so"))


def as_somebody(is_so: Callable[[], bool]) -> bool:
    """The answer of a child process that is another user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if not child:
        code = 2
        try:
            os.setgid(SOMEBODY)
            os.setuid(SOMEBODY)
            code = int(is_so())
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1)
    return bool(code)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library that leaves a mark where it is loaded, in the place of our own; all is private."""
    for name in ("user", "temporary"):
        make_private(tmp_path / name)
    monkeypatch.setattr(_kernels, "user_cache_dir", lambda: tmp_path / "user")
    monkeypatch.setattr(_kernels.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setattr(_resize, "_opened", {})
    _kernels._say_elsewhere.cache_clear()
    source = tmp_path / "mark.cpp"
    source.write_text(
        "#include <cstdio>\n__attribute__((constructor)) static void mark() {"
        f' std::fclose(std::fopen("{tmp_path / "mark"}", "w")); }}\n'
    )
    path = _kernels.own_path(RESIZING)
    words = shlex.join([*_kernels._find_compiler(), "-shared", "-fPIC"])
    subprocess.run([*shlex.split(words), str(source), "-o", str(path)], check=True)
    return path


@needs_compiler
@pytest.mark.parametrize("which", ["folder", "parent", "file"])
def test_what_others_can_have_written_is_not_loaded_and_ours_is_made_elsewhere(
    which: str, planted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    {"folder": planted.parent, "parent": planted.parents[1], "file": planted}[which].chmod(0o777)
    assert _kernels.find_kept(RESIZING) is None
    assert kept_resizer() is None
    with pytest.raises(OSError, match=r"others can write|has mode 0777"):
        _kernels.load(RESIZING, planted)
    with caplog.at_level(logging.INFO):
        _kernels.make_ready(RESIZING)
    made = _kernels.find_kept(RESIZING)
    assert made is not None
    assert made.is_relative_to(tmp_path / ("user" if which == "file" else "temporary"))
    assert kept_resizer() is not None
    said = [record.getMessage() for record in caplog.records]
    elsewhere = [words for words in said if words.startswith("operations of our own are kept in")]
    assert len(elsewhere) == (0 if which == "file" else 1)
    assert not (tmp_path / "mark").exists()


@needs_compiler
def test_the_mark_would_be_seen(planted: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="another library"):
        _kernels.load(RESIZING, planted)
    assert (tmp_path / "mark").exists()


@needs_compiler
def test_where_no_folder_is_private_the_run_does_without_and_says_so(
    planted: Path, tmp_path: Path
) -> None:
    from tlfeatures.backbones import BackboneRequest, Preprocessing
    from tlfeatures.extraction._open import EngineMaker, make_plan_ready
    from tlfeatures.store import CodeSpec

    for name in ("user", "temporary"):
        (tmp_path / name).chmod(0o777)
    how = Preprocessing(256, 224).to_json()
    spec = CodeSpec("resnet18", "0" * 64, "flatten", "avg", 512, how)
    run = RunOptions(tmp_path / "c", device="cpu", precision="float32", n_jobs=1)
    maker = EngineMaker(BackboneRequest("resnet18"), run, {})
    plan = make_plan_ready(20_000, [spec], maker)
    said = [each for each in plan.chosen if "resized by Pillow" in each]
    assert len(said) == 1
    assert "no folder for them is the user's alone" in said[0]
    assert not plan.make_engine.with_resizing  # type: ignore[union-attr]
    assert not (tmp_path / "mark").exists()


def test_no_home_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", missing)
    assert _private._home() is None
    make_private(tmp_path / "kernels")
    assert private_path(tmp_path / "kernels")
