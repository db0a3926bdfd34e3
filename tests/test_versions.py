"""versions.yaml, by which dvc.yaml depends on the libraries that stages compute with."""

import re

import yaml
from conftest import REPOSITORY


def test_versions_are_those_of_the_lock():
    locked: dict[str, list[str]] = {}
    for line in (REPOSITORY / "requirements.lock").read_text().splitlines():
        name, _, version = line.partition("==")
        locked.setdefault(name, []).append(re.split(r"[ ;]", version)[0])
    versions = yaml.safe_load((REPOSITORY / "versions.yaml").read_text())
    assert versions == {name: ", ".join(locked[name]) for name in versions}


def test_every_stage_depends_on_the_libraries_that_it_computes_with():
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    for name, stage in stages.items():
        declared = [one["versions.yaml"] for one in stage["params"] if isinstance(one, dict)]
        assert len(declared) == 1, name
        assert "numpy" in declared[0]
