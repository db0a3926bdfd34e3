"""dvc.yaml must say just what the stages read: too little makes results stale, too much makes them in vain."""

import ast
import dataclasses
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from tarkib import params

STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
SOURCE = REPOSITORY / "src" / "tarkib"

# What cannot change a result: messages, workers, tracking, caches; parameters come through their declared values.
WITHOUT_EFFECT = {"__init__", "errors", "params", "runtime", "tracking"}


def test_every_script_is_a_stage_in_order():
    # Pre-training is run by hand: a backbone is made once and used in many experiments.
    scripts = {path.stem for path in (REPOSITORY / "stages").glob("*.py")} - {"__init__", "pretrain"}
    assert scripts == set(STAGES)
    assert list(STAGES) == ["demo", "slice", "annotate", "mix", "train", "leakage", "evaluate"]
    for name, stage in STAGES.items():
        assert stage["cmd"] == f"python -m stages.{name}"
        assert stage["desc"]


def parameters_read(script: str) -> set[str]:
    """Sections of params.yaml that a script reads, of `data` the key."""
    tree = ast.parse(script)
    chains = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    inner = {id(node.value) for node in chains}
    read = set()
    for node in chains:
        names = ast.unparse(node).split(".")
        if names[0] != "settings" or id(node) in inner:
            continue
        read.add(f"data.{names[2]}" if names[1] == "data" else names[1])
    return read - {"run"}


def parameters_declared(stage: str) -> list[str]:
    """What a stage declares of params.yaml; versions.yaml is tested elsewhere."""
    return [name for name in STAGES[stage]["params"] if isinstance(name, str)]


@pytest.mark.parametrize("stage", STAGES)
def test_declared_parameters_are_those_that_are_read(stage):
    script = (REPOSITORY / "stages" / f"{stage}.py").read_text()
    assert set(parameters_declared(stage)) == parameters_read(script)


# The paths that the package `stages` names; it is not importable here, where `stages` are these tests.
PLACES = {
    node.targets[0].id: ast.literal_eval(node.value.args[0])
    for node in ast.parse((REPOSITORY / "stages" / "__init__.py").read_text()).body
    if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Path(")
}


@pytest.mark.parametrize("stage", STAGES)
def test_declared_data_is_what_is_read_and_written(stage):
    """data.raw and data.test come from params.yaml; all other data has its name in the package `stages`."""
    tree = ast.parse((REPOSITORY / "stages" / f"{stage}.py").read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "stages"
        for alias in node.names
    }
    outputs = [
        name
        for kind in ("outs", "metrics")
        for output in STAGES[stage].get(kind, [])
        for name in (output if isinstance(output, dict) else [output])
    ]
    inputs = [path for path in STAGES[stage]["deps"] if not path.startswith(("src/", "stages/", "${"))]
    # A folder that DVC does not take whole stands for its files.
    declared = {
        str(Path(path).parent) if path.startswith(f"{PLACES['METRICS']}/") else path for path in inputs + outputs
    }
    assert {PLACES[name] for name in imported & PLACES.keys()} == declared


def imports(path: str) -> set[str]:
    """This project's modules that a file imports, as paths below src/tarkib, but for those without effect."""
    used = set()
    for node in ast.walk(ast.parse((REPOSITORY / path).read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for package, *parts in (name.split(".") for name in names):
            for candidate in ("/".join([*parts, "__init__.py"]), "/".join(parts) + ".py"):
                if package == "tarkib" and parts and parts[0] not in WITHOUT_EFFECT and has_code(SOURCE / candidate):
                    used.add(candidate)
    return used


def has_code(path: Path) -> bool:
    """Whether a file is there and holds more than a docstring."""
    return path.is_file() and len(ast.parse(path.read_text()).body) > 1


def modules_used(script: str) -> set[str]:
    """What a script imports, itself or through others."""
    used, new = set(), imports(script)
    while new:
        used |= new
        new = {further for path in new for further in imports(f"src/tarkib/{path}")} - used
    return used


@pytest.mark.parametrize("stage", STAGES)
def test_declared_modules_are_those_that_are_used(stage):
    declared = {path.removeprefix("src/tarkib/") for path in STAGES[stage]["deps"] if path.startswith("src/tarkib/")}
    used = {path if path in declared else path.split("/")[0] for path in modules_used(f"stages/{stage}.py")}
    assert declared == used


def test_experiments_may_change_every_parameter_of_a_stage():
    """`run` is nobody's and `pretrain` its own entry point's; every other section is read by some stage."""
    declared = {name.split(".")[0] for stage in STAGES for name in parameters_declared(stage)}
    assert declared == {section.name for section in dataclasses.fields(params.Params)} - {"run", "pretrain"}
