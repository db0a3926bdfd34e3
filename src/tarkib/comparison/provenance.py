"""What an experiment must have been made of to stand for a mode and a seed: code, data and parameters as they are here.

DVC writes into each experiment's dvc.lock what every stage had before it: the checksums of its dependencies and the
values of its parameters. An experiment is taken where all of that equals the workspace, but for the mode and the seeds;
so a result of older code or of other recordings never stands beside a newer one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tarkib import params
from tarkib.comparison.commands import git
from tarkib.errors import TarkibError
from tarkib.runtime import versioning, yaml12
from tarkib.runtime.text import bounded

TARGET = "evaluate"
"""The stage whose predictions are compared; what it does not need is nobody's concern."""

MODE = "augment.mode"
SEEDS = ("augment.seed", "train.seed")
_NEEDS = "call in the project's folder: git init && git add -A && git commit -m start"

VARIED = (MODE, *SEEDS)
"""The parameters that differ between the experiments of one comparison."""


@dataclass(frozen=True)
class Stage:
    """A stage as it would be run here: its command, what no other stage makes of its dependencies, its parameters."""

    command: str
    sources: dict[str, str]
    """checksum by path"""
    params: dict[str, Any]


@dataclass(frozen=True)
class Expectation:
    """All stages that the predictions come from, by name, and the commit that they stand on."""

    head: str
    stages: dict[str, Stage]

    @property
    def fixed(self) -> dict[str, Any]:
        """The parameters that all experiments have in common, by name."""
        found = {key: value for one in self.stages.values() for key, value in one.params.items()}
        return {key: found[key] for key in sorted(found) if key not in VARIED}

    def name(self, mode: str, seed: int) -> str:
        """What the experiment of a mode and a seed is called: other code, data or parameters, another name."""
        made_of = {"fixed": self.fixed, "stages": [asdict(one) for one in self.stages.values()]}
        for stage in made_of["stages"]:
            stage["params"] = sorted(stage["params"])
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        return f"{mode}-seed{seed}-{digest[:7]}"

    def met_by(self, lock: Any) -> tuple[str, int] | None:
        """Mode and seed that a dvc.lock's content stands for; None where it was made of anything else."""
        return None if self.differences(lock) else _varied(lock["stages"], self.stages)

    def differences(self, lock: Any) -> list[str]:
        """What of a dvc.lock's content is not as expected, each in a few words; nothing where all is."""
        try:
            return self._differences(lock["stages"])
        except (AttributeError, KeyError, TypeError, ValueError):
            return ["dvc.lock is missing, or not as DVC writes it"]

    def _differences(self, entries: dict[str, Any]) -> list[str]:
        found = []
        made: dict[str, str] = {}
        for name in self.stages:
            made.update(_checksums(entries.get(name, {}).get("outs")))
        for name, stage in self.stages.items():
            if name not in entries:
                found.append(f"stage {name} was not run")
                continue
            found.extend(_stage_differences(name, stage, entries[name], made))
        if not found and _varied(entries, self.stages) is None:
            found.append(f"{' and '.join(SEEDS)} are not one seed")
        return found


def expected(overrides: Mapping[str, str]) -> Expectation:
    """What experiments of this workspace are made of, with some parameters overridden (`KEY=VALUE` as in ``-S``).

    Raises TarkibError where this is no project of DVC and Git, params.yaml or an override is wrong, a source is
    missing, or Git does not know one, so that experiments would run without it.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    values = _values(overrides)
    try:
        head = git("rev-parse", "HEAD").strip()
    except TarkibError as error:
        raise TarkibError(f"experiments need a Git repository with a commit; {_NEEDS}") from error
    if not git("ls-files", "dvc.yaml"):
        raise TarkibError(f"dvc.yaml: Git does not know it, and experiments need that; {_NEEDS}")
    try:
        with Repo(".") as repo:
            stages = _stages(repo, values)
    except DvcException as error:
        raise TarkibError(f"{error}; run in the project's root, where dvc.yaml is") from error
    sources = sorted({path for one in stages.values() for path in one.sources})
    unknown = git("ls-files", "--others", "--exclude-standard", "--", *sources).splitlines()
    if unknown:
        raise TarkibError(
            f"{unknown[0]}: Git does not know it{f' ({len(unknown)} such files)' if len(unknown) > 1 else ''}, so "
            "experiments would run without it; git add it (data: dvc add)"
        )
    for data in {values["data.raw"], values["data.test"]}.intersection(sources):
        if problem := versioning.untracked(Path(data)) or versioning.without_pointer(Path(data)):
            raise TarkibError(problem)
    return Expectation(head, stages)


def _values(overrides: Mapping[str, str]) -> dict[str, Any]:
    """All parameters by dotted name, checked, with the overridden ones as they will be."""
    path = Path("params.yaml")
    content = params.read(path)
    params.parse(content, str(path))
    for name, text in overrides.items():
        section, _, key = name.partition(".")
        if name in VARIED:
            raise TarkibError(f"-S {name}: is set by the comparison; give --modes or --seeds")
        if section == "data":
            raise TarkibError(f"-S {name}: set it in params.yaml, since stages depend on the files that it names")
        if "," in text:
            raise TarkibError(
                f"-S {name}={bounded(text)}: one value only; all experiments of a comparison have the same"
            )
        # An unknown section is named by the check below.
        content.setdefault(section, {})
        if isinstance(content[section], dict):
            content[section][key] = _parsed(name, text)
    checked = params.parse(content, "-S" if overrides else str(path))
    return {f"{section}.{key}": value for section, part in asdict(checked).items() for key, value in part.items()}


def _parsed(name: str, text: str) -> Any:
    try:
        return yaml12.read(text)
    except ValueError as error:
        raise TarkibError(
            f"-S {name}={bounded(text)}: not a value as YAML writes them; quote it where it is text"
        ) from error


def _stages(repo: Any, values: Mapping[str, Any]) -> dict[str, Stage]:
    """The stages behind the target, as DVC reads dvc.yaml; it need not read again what did not change."""
    from dvc.dependency import Dependency, ParamsDependency
    from dvc.exceptions import DvcException

    collected = [one for one in repo.stage.collect(TARGET, with_deps=True) if not one.is_data_source]
    made = [Path(out.fs_path) for one in collected for out in one.outs]
    stages = {}
    for one in sorted(collected, key=lambda stage: stage.name):
        sources, parameters = {}, {}
        for dependency in one.deps:
            if isinstance(dependency, ParamsDependency):
                names = dependency.params
                unknown = [name for name in names if name not in values]
                if unknown:
                    raise TarkibError(
                        f"dvc.yaml: stage {one.name} declares {unknown[0]}, which params.yaml does not have"
                    )
                parameters.update({name: values[name] for name in names})
            elif type(dependency) is Dependency and not any(Path(dependency.fs_path).is_relative_to(m) for m in made):
                try:
                    sources[dependency.def_path] = dependency.get_hash().value
                except (DvcException, FileNotFoundError) as error:
                    raise TarkibError(
                        f"{dependency.def_path}: not there; bring it back (dvc pull, git checkout)"
                    ) from error
        stages[one.name] = Stage(one.cmd, sources, parameters)
    return stages


def _stage_differences(name: str, stage: Stage, entry: Mapping[str, Any], made: Mapping[str, str]) -> list[str]:
    found = []
    if entry.get("cmd") != stage.command:
        found.append(f"the command of stage {name}")
    dependencies = _checksums(entry.get("deps"))
    for path, checksum in stage.sources.items():
        if dependencies.get(path) != checksum:
            found.append(f"{path} of stage {name}")
    for path, checksum in dependencies.items():
        if path in made and made[path] != checksum:
            found.append(f"{path}, of which stage {name} had another")
        elif path not in made and path not in stage.sources and not _inside(path, made):
            found.append(f"{path}, which stage {name} no longer depends on")
    declared = _parameters(entry)
    for key in sorted(declared.keys() | stage.params.keys()):
        if key in VARIED and key in declared:
            continue
        if key not in declared or key not in stage.params or declared[key] != stage.params[key]:
            found.append(f"{key} of stage {name}")
    return found


def _inside(path: str, folders: Mapping[str, str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def _checksums(entries: Any) -> dict[str, str]:
    return {one["path"]: one.get(one.get("hash", "md5")) for one in entries or ()}


def _parameters(entry: Mapping[str, Any]) -> dict[str, Any]:
    return dict((entry.get("params") or {}).get("params.yaml") or {})


def _varied(entries: Mapping[str, Any], stages: Mapping[str, Stage]) -> tuple[str, int] | None:
    """Mode and seed of a lock's stages; None where the seeds are two."""
    found = {key: value for name in stages for key, value in _parameters(entries[name]).items()}
    seeds = {found.get(key) for key in SEEDS}
    return (found[MODE], seeds.pop()) if len(seeds) == 1 and MODE in found else None
