"""The floors of the package: a module imports only from its own or lower floors, and never in a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

from conftest import REPOSITORY

SOURCE = REPOSITORY / "src"

FLOORS = (
    {"errors", "vocabulary"},
    {"runtime"},
    {"params", "tables"},
    {"audio"},
    {"recordings"},
    {"annotation"},
    {"mixing"},
    {"evaluation"},
    {"leakage"},
    {"models"},
    {"training"},
    {"pretraining"},
    {"recognition"},
    {"tracking"},
    {"comparison", "preview", "export", "demo"},
    {"app"},
    {"cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (SOURCE / "tarkib").glob("*/**/*.py")
} | {f"tarkib.{path.stem}": path for path in (SOURCE / "tarkib").glob("[!_]*.py")}


def imports(path: Path) -> Iterator[str]:
    """The modules of this package that a file imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from package import module` needs the module; `from module import name` the module alone.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name in MODULES)


IMPORTS = {name: set(imports(path)) for name, path in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_has_a_floor():
    assert {room(name) for name in IMPORTS} - set(FLOOR) == set()


def test_no_module_imports_from_a_higher_floor():
    upward = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others
        if room(other) != room(name) and FLOOR[room(other)] >= FLOOR[room(name)]
    ]
    assert sorted(upward) == []


def test_no_module_imports_itself_through_others():
    circles = {name for name in IMPORTS if name in reachable(name)}
    # Modules of one circle reach the same modules.
    assert {frozenset(reachable(name) & circles) for name in circles} == set()


def reachable(module: str) -> set[str]:
    """All modules that a module imports, itself or through others."""
    reached: set[str] = set()
    new = IMPORTS[module]
    while new:
        reached |= new
        new = {further for name in new for further in IMPORTS.get(name, ())} - reached
    return reached


def test_recognising_and_tracking_need_no_trainer():
    """Importing the Trainer takes seconds."""
    using = {name for name, path in MODULES.items() if "\nfrom transformers import" in path.read_text()}
    assert {name for name in using if room(name) == "training"} == {
        "tarkib.training.fitting",
        "tarkib.training.trainer",
    }
    for start in (name for name in MODULES if room(name) in ("recognition", "tracking")):
        assert reachable(start) & using == set()
