"""Modules are short, rooms are small, imports go round in no circle and stop at a room's door."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tlfeatures"
MOST_LINES, MOST_MODULES = 400, 10
ANY_NUMBER = ("cli",)  # one module per verb

Graph = dict[str, set[str]]


def name_modules(folder: Path, prefix: tuple[str, ...] = ()) -> dict[str, Path]:
    """The modules below a folder by the names that they are imported by."""
    named = {}
    for path in sorted(folder.rglob("*.py")):
        parts = (*prefix, *path.relative_to(folder).with_suffix("").parts)
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def imports_between(modules: dict[str, Path]) -> Graph:
    """What each module imports of the others, in functions and for type checkers as well."""
    return {name: set(iter_imports(name, path, modules)) for name, path in modules.items()}


def iter_imports(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                found = [each for each in (f"{source}.{alias.name}", source) if each in modules]
                yield from found[:1]  # a module of a package, else a name in one


def find_long(package: Path) -> list[str]:
    """Modules of too many lines."""
    counts = {path: path.read_text(encoding="utf-8").count("\n") for path in package.rglob("*.py")}
    return [f"{path.relative_to(package)}: {n}" for path, n in counts.items() if n > MOST_LINES]


def find_crowded(package: Path) -> list[str]:
    """Rooms and sub-rooms of too many modules."""
    crowded = []
    for room in sorted(path.parent for path in package.rglob("__init__.py")):
        n = len([path for path in room.glob("*.py") if path.stem != "__init__"])
        if room != package and room.name not in ANY_NUMBER and n > MOST_MODULES:
            crowded.append(f"{room.relative_to(package)}: {n}")
    return crowded


def find_circle(graph: Graph) -> list[str]:
    """Modules that import each other in a circle, the first one once more at the end."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def find_break_ins(graph: Graph) -> list[str]:
    """Imports of another room's modules that begin with an underscore.

    The package's own helper modules, such as `tlfeatures._columns`, are everybody's.
    """
    return [
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in sorted(others)
        if room_of(name) != room_of(other)
        and any(part.startswith("_") for part in other.split(".")[2:])
    ]


def room_of(name: str) -> str:
    return ".".join(name.split(".")[:2])


@pytest.fixture(scope="module")
def graph() -> Graph:
    return imports_between(name_modules(PACKAGE, ("tlfeatures",)))


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def graph_of(folder: Path) -> Graph:
    return imports_between(name_modules(folder, ("tlfeatures",)))


def test_no_module_is_longer_than_400_lines() -> None:
    assert find_long(PACKAGE) == []


def test_a_module_of_one_line_more_is_seen(tmp_path: Path) -> None:
    write(tmp_path, {"room/_one.py": "x = 1\n" * 400, "room/_other.py": "x = 1\n" * 401})
    assert find_long(tmp_path) == ["room/_other.py: 401"]


def test_no_room_has_more_than_ten_modules() -> None:
    assert find_crowded(PACKAGE) == []


@pytest.mark.parametrize("room", ["room", "room/sub"])
def test_an_eleventh_module_is_seen_but_in_the_command_line(tmp_path: Path, room: str) -> None:
    for folder in ("", "room", room, "cli"):
        write(tmp_path / folder, {"__init__.py": ""})
    for folder, n in ((room, 10), ("cli", 30)):
        write(tmp_path / folder, {f"_m{i}.py": "" for i in range(n)})
    assert find_crowded(tmp_path) == []
    write(tmp_path / room, {"_one_more.py": ""})
    assert find_crowded(tmp_path) == [f"{room}: 11"]


def test_modules_of_the_package_import_each_other_in_no_circle(graph: Graph) -> None:
    assert find_circle(graph) == []


@pytest.mark.parametrize("folder", ["pipelines", "benchmarks"])
def test_scripts_import_each_other_in_no_circle(folder: str) -> None:
    scripts = imports_between(name_modules(ROOT / folder))
    assert any(scripts.values())
    assert find_circle(scripts) == []


IN_FUNCTION = "def f():\n    from tlfeatures.a import _one\n"
FOR_CHECKERS = (
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tlfeatures.a._one import x\n"
)


@pytest.mark.parametrize(
    "back",
    [IN_FUNCTION, FOR_CHECKERS, "import tlfeatures.a._one\n", "from . import _one\n"],
    ids=["in a function", "for type checkers", "as a whole", "relative"],
)
def test_a_circle_is_seen_wherever_the_import_stands(tmp_path: Path, back: str) -> None:
    write(
        tmp_path,
        {
            "a/__init__.py": "",
            "a/_one.py": "from tlfeatures.a._two import y\nx = 1\n",
            "a/_two.py": "y = 2\n",
        },
    )
    assert find_circle(graph_of(tmp_path)) == []
    write(tmp_path, {"a/_two.py": back})
    assert set(find_circle(graph_of(tmp_path))) == {"tlfeatures.a._one", "tlfeatures.a._two"}


def test_a_circle_through_a_rooms_door_is_seen(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a/__init__.py": "from tlfeatures.a._one import x\n",
            "a/_one.py": "from tlfeatures.b import y\n",
            "b/__init__.py": "def f():\n    from .. import a\n",
        },
    )
    circle = {"tlfeatures.a", "tlfeatures.a._one", "tlfeatures.b"}
    assert set(find_circle(graph_of(tmp_path))) == circle


def test_a_circle_of_scripts_is_seen(tmp_path: Path) -> None:
    write(tmp_path, {"one.py": "import _two\n", "_two.py": "from one import x\n"})
    assert set(find_circle(imports_between(name_modules(tmp_path)))) == {"one", "_two"}


def test_no_room_imports_another_rooms_private_module(graph: Graph) -> None:
    assert find_break_ins(graph) == []


@pytest.mark.parametrize(
    "line",
    [
        "from tlfeatures.a._one import x",
        "from tlfeatures.a import _one",
        "import tlfeatures.a._one",
        "from ..a._one import x",
    ],
)
def test_a_break_in_is_seen(tmp_path: Path, line: str) -> None:
    allowed = "from tlfeatures.a import x\nfrom tlfeatures._helper import z\n"
    write(
        tmp_path,
        {
            "_helper.py": "z = 3\n",
            "a/__init__.py": "from tlfeatures.a._one import x\n",
            "a/_one.py": "from tlfeatures.a._two import x\n",
            "a/_two.py": "x = 1\n",
            "b/__init__.py": "",
            "b/_mine.py": allowed,
        },
    )
    assert find_break_ins(graph_of(tmp_path)) == []
    write(tmp_path, {"b/_mine.py": f"{allowed}{line}\n"})
    assert find_break_ins(graph_of(tmp_path)) == ["tlfeatures.b._mine imports tlfeatures.a._one"]


def test_a_break_in_from_the_packages_own_modules_and_into_a_sub_room_is_seen(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        {
            "__init__.py": "",
            "_helper.py": "from tlfeatures.a.sub._deep import x\n",
            "a/__init__.py": "",
            "a/sub/__init__.py": "",
            "a/sub/_deep.py": "x = 1\n",
        },
    )
    found = find_break_ins(graph_of(tmp_path))
    assert found == ["tlfeatures._helper imports tlfeatures.a.sub._deep"]
