"""dvc.yaml must say just what the stages read: too little makes results stale, too much makes them in vain."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from test_imports import MODULES, SOURCE, imports

from tarkib import params
from tarkib.runtime import project

STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]

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


def parameters_declared(stage: str) -> set[str]:
    """What a stage declares of params.yaml; versions.yaml is tested elsewhere."""
    return {name for name in STAGES[stage]["params"] if isinstance(name, str)}


@pytest.mark.parametrize("stage", STAGES)
def test_declared_parameters_are_those_that_are_read(stage):
    """Sections of params.yaml, of `data` the keys; `run` changes no result."""
    script = (REPOSITORY / "stages" / f"{stage}.py").read_text()
    read = set(re.findall(r"\bsettings\.(data\.\w+|(?!data\b)\w+)", script))
    assert parameters_declared(stage) == read - {"run"}


PLACES = {name: str(value) for name, value in vars(project).items() if isinstance(value, Path)}


@pytest.mark.parametrize("stage", STAGES)
def test_declared_data_is_what_is_read_and_written(stage):
    """data.raw and data.test come from params.yaml; all other data has its name in `tarkib.runtime.project`."""
    tree = ast.parse((REPOSITORY / "stages" / f"{stage}.py").read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "tarkib.runtime.project"
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


def with_effect(path: Path) -> set[str]:
    """This project's modules that a file imports, but for those without effect."""
    return {name for name in imports(path) if name.split(".")[1] not in WITHOUT_EFFECT}


@pytest.mark.parametrize("stage", STAGES)
def test_declared_modules_are_those_that_are_used(stage):
    used: set[str] = set()
    new = with_effect(REPOSITORY / "stages" / f"{stage}.py")
    while new:
        used |= new
        new = {further for name in new for further in with_effect(MODULES[name])} - used
    paths = {str(MODULES[name].relative_to(SOURCE / "tarkib")) for name in used}
    declared = {path.removeprefix("src/tarkib/") for path in STAGES[stage]["deps"] if path.startswith("src/tarkib/")}
    assert declared == {path if path in declared else path.split("/")[0] for path in paths}


def test_experiments_may_change_every_parameter_of_a_stage():
    """`run` is nobody's and `pretrain` its own entry point's; every other section is read by some stage."""
    declared = {name.split(".")[0] for stage in STAGES for name in parameters_declared(stage)}
    assert declared == {section.name for section in dataclasses.fields(params.Params)} - {"run", "pretrain"}
