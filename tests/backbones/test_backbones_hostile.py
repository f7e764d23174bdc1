"""Weights files run no code, whatever they are named and wherever they lie."""

from __future__ import annotations

import io
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tlfeatures.backbones import BackboneRequest, load_network
from tlfeatures.backbones.sources._listing import list_backbones, weights_place
from tlfeatures.backbones.sources._own import make_own
from tlfeatures.errors import UnknownBackboneError, WeightsError


class Hostile:
    """What unpickling it does is seen."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def plain_pickle(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps({"fc.weight": Hostile(mark)}))


def new_format(path: Path, mark: Path) -> None:
    torch.save({"fc.weight": torch.ones(2), "extra": Hostile(mark)}, path)


def old_format(path: Path, mark: Path) -> None:
    state = {"fc.weight": torch.ones(2), "extra": Hostile(mark)}
    torch.save(state, path, _use_new_zipfile_serialization=False)


def old_tar(path: Path, mark: Path) -> None:
    """torch's oldest format, which it unpacks; names lead out of its folder."""
    with tarfile.open(path, "w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors", "../../out_of_the_archive"):
            data = pickle.dumps(Hostile(mark))
            facts = tarfile.TarInfo(name)
            facts.size = len(data)
            tar.addfile(facts, io.BytesIO(data))


def zip_of_a_file(path: Path, mark: Path) -> None:
    """As torch.hub unpacks."""
    inner = io.BytesIO()
    torch.save({"extra": Hostile(mark)}, inner, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../out_of_the_archive.pth", inner.getvalue())


def script(path: Path, _: Path) -> None:
    """A TorchScript archive, which torch would load as a program."""
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), path)


FORMATS = [plain_pickle, new_format, old_format, old_tar, zip_of_a_file, script]
# What torch warns of is not what refuses them.
quiet = pytest.mark.filterwarnings("ignore")


@quiet
@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".tar", ".bin", ".ckpt", ".safetensors"])
def test_a_weights_file_runs_nothing(
    write: Callable[[Path, Path], None], suffix: str, tmp_path: Path
) -> None:
    path, mark = tmp_path / "deep" / f"weights{suffix}", tmp_path / "mark"
    path.parent.mkdir()
    write(path, mark)
    with pytest.raises(WeightsError) as caught:
        load_network(BackboneRequest("resnet18", str(path)))
    assert "\n" not in str(caught.value)
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["deep", path.name]


@quiet
@pytest.mark.parametrize("write", FORMATS)
def test_what_lies_in_torchs_folder_under_the_name_of_published_weights_runs_nothing(
    write: Callable[[Path, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is downloaded is hashed."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    facts = next(each for each in list_backbones() if each.name == "resnet18")
    path, mark = weights_place(facts.entries[0].file), tmp_path / "mark"
    assert path.is_relative_to(tmp_path)
    path.parent.mkdir(parents=True)
    write(path, mark)
    with pytest.raises(WeightsError) as caught:
        load_network(BackboneRequest("resnet18"))
    assert "\n" not in str(caught.value)
    assert not mark.exists()
    assert not list(tmp_path.parent.glob("out_of_the_archive*"))


def test_published_weights_are_read_as_plain_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    wanted = load_network(BackboneRequest("resnet18", "random:5")).module.state_dict()
    facts = next(each for each in list_backbones() if each.name == "resnet18")
    path = weights_place(facts.entries[0].file)
    path.parent.mkdir(parents=True)
    for is_new in (True, False):  # published ones are of both formats
        torch.save(wanted, path, _use_new_zipfile_serialization=is_new)
        found = load_network(BackboneRequest("resnet18")).module.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_the_name_of_an_installed_package_means_no_file_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("wave", "a_strangers"):
        (tmp_path / f"{name}.py").write_text(
            f"import pathlib, torch\npathlib.Path({str(tmp_path / name)!r}).touch()\n"
            "def make():\n    return torch.nn.Linear(2, 2)\n"
        )
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownBackboneError, match="'wave:make' cannot be imported"):
        make_own("wave:make")
    assert not (tmp_path / "wave").exists()
    assert isinstance(make_own("a_strangers:make"), torch.nn.Linear)
    assert (tmp_path / "a_strangers").exists()
    assert str(tmp_path) not in sys.path


def test_a_package_of_the_working_folder_finds_its_neighbours_a_second_time_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_nets").mkdir()
    (tmp_path / "my_sizes.py").write_text("WIDTH = 2\n")
    make = "def make():\n    return torch.nn.Linear(2, 2)\n"
    for name, more in (("__init__", ""), ("first", ""), ("second", "import my_sizes\n")):
        (tmp_path / "my_nets" / f"{name}.py").write_text(f"import torch\n{more}{make}")
    monkeypatch.chdir(tmp_path)
    try:
        for name in ("first", "second"):
            assert isinstance(make_own(f"my_nets.{name}:make"), torch.nn.Linear)
    finally:
        for name in [each for each in sys.modules if each.startswith(("my_nets", "my_sizes"))]:
            del sys.modules[name]
