"""What an experiment of this project is made of: code, data and parameters as they are now.

A digest of them is a part of each experiment's name, so a result of older code, other recordings or other parameters
never counts as one of now. What DVC already ran in other experiments it takes from its run cache.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tarkib import params
from tarkib.errors import TarkibError
from tarkib.runtime import versioning, yaml12
from tarkib.runtime.text import bounded, some

TARGET = "evaluate"
"""The stage whose predictions are compared."""

MODE = "augment.mode"
SEEDS = ("augment.seed", "train.seed")
_START = "run in the project's folder: git init && git add -A && git commit -m start"


@dataclass(frozen=True)
class Project:
    """What all experiments of one comparison share: the parameters by dotted name, and a digest of all."""

    fixed: dict[str, Any]
    digest: str

    def name(self, mode: str, seed: int) -> str:
        """Name of the experiment of a mode and a seed."""
        return f"{mode}-seed{seed}-{self.digest[:7]}"


def read(overrides: Mapping[str, str]) -> Project:
    """Read the project in the working directory, with some parameters overridden (`KEY=VALUE` as in ``-S``).

    Raises TarkibError where this is no project of DVC and Git, params.yaml or an override is wrong, data are missing
    or changed since `dvc add`, or Git does not know a file that experiments need.
    """
    values = _values(overrides)
    try:
        tracked = git("ls-tree", "HEAD", "dvc.yaml")
    except (TarkibError, FileNotFoundError) as error:
        raise TarkibError(f"experiments need a Git repository with a commit; {_START}") from error
    if not tracked:
        raise TarkibError(f"dvc.yaml: not in Git, which experiments need; {_START}")
    stages = yaml12.read(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    outputs = [path for stage in stages.values() for path in _paths(stage.get("outs"), values)]
    # A parameter is a name in params.yaml, or another file with names in it.
    declared = [param for stage in stages.values() for param in stage.get("params", ())]
    names = {param for param in declared if isinstance(param, str)}
    dependencies = {Path(file) for param in declared if isinstance(param, dict) for file in param}
    dependencies |= {path for stage in stages.values() for path in _paths(stage.get("deps"), values)}
    sources = sorted(path for path in dependencies if not any(path.is_relative_to(output) for output in outputs))
    inside = [path for path in sources if path.absolute().is_relative_to(Path.cwd()) and not path.is_symlink()]
    if unknown := git("ls-files", "--others", "--exclude-standard", "--", *map(str, inside)).splitlines():
        raise TarkibError(f"{some(unknown)}: not in Git, so experiments would run without; git add (data: dvc add)")
    for data in {Path(values["data.raw"]), Path(values["data.test"])}.intersection(sources):
        if not data.exists():
            raise TarkibError(f"{data}: missing; restore it (dvc pull, git checkout)")
        if problem := versioning.untracked(data) or versioning.without_pointer(data):
            raise TarkibError(problem)
    pointers = [f"{place}.dvc" for path in inside for place in (path, *path.parents)]
    # The working tree as a commit; Git makes none where nothing differs from the current one.
    tree = git("stash", "create").strip() if git("diff", "HEAD", "--name-only") else "HEAD"
    tracked = git("ls-tree", "-r", "-z", tree, "--", *map(str, inside), *pointers)
    data_files = [name for line in tracked.split("\0") if (name := line.partition("\t")[2]).endswith(".dvc")]
    if changed := json.loads(dvc("status", "--json", *data_files)) if data_files else {}:
        raise TarkibError(f"{some(changed)}: data changed since dvc add; dvc add them again, or dvc checkout")
    outside = [file for path in sources if path not in inside for file in sorted([path, *path.rglob("*")])]
    fixed = {
        name: values[name]
        for name in sorted(values)
        if name not in (MODE, *SEEDS) and not names.isdisjoint((name, name.partition(".")[0]))
    }
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in outside]
    made_of = json.dumps([fixed, stages, tracked, stamps], sort_keys=True)
    return Project(fixed, hashlib.sha256(made_of.encode()).hexdigest())


def _values(overrides: Mapping[str, str]) -> dict[str, Any]:
    """All parameters by dotted name, checked and overridden."""
    content = params.read("params.yaml")
    params.parse(content, "params.yaml")
    for name, text in overrides.items():
        section, _, key = name.partition(".")
        if name in (MODE, *SEEDS) or section == "data":
            remedy = "set it in params.yaml" if section == "data" else "give --modes or --seeds"
            raise TarkibError(f"-S {name}: cannot be set for all experiments here; {remedy}")
        if "," in text:
            raise TarkibError(f"-S {name}={bounded(text)}: several values; give one for all experiments")
        try:
            value = yaml12.read(text)
        except ValueError as error:
            raise TarkibError(f"-S {name}={bounded(text)}: not a YAML value; quote it if it is text") from error
        content.setdefault(section, {})[key] = value  # `params.parse` reports an unknown section
    sections = asdict(params.parse(content, "-S"))
    if not sections["augment"]["comparable"]:
        raise TarkibError(
            "augment.comparable: false lets each mode mix other instruments; set it to true to compare them"
        )
    return {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}


def _paths(entries: Any, values: Mapping[str, Any]) -> list[Path]:
    """Paths of a stage's dependencies or outputs: text, in which ``${data.raw}`` is a parameter, or keys."""
    names = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries or ()]
    return [Path(re.sub(r"\$\{([a-z_.]+)\}", lambda parameter: str(values[parameter[1]]), name)) for name in names]


def git(*arguments: str) -> str:
    """Run Git in the project and return what it printed; TarkibError with Git's message if it fails."""
    return _run(["git"], arguments)


def dvc(*arguments: str, threads: int | None = None, timeout_s: float | None = None) -> str:
    """Run this environment's DVC as `git` does.

    threads : OMP_NUM_THREADS of what it starts. After `timeout_s` it is killed, which counts as a failure.
    """
    threaded = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return _run([sys.executable, "-m", "dvc"], arguments, timeout_s, **threaded)


def _run(program: list[str], arguments: tuple[str, ...], timeout_s: float | None = None, **environment: str) -> str:
    # DVC starts `dvc` and `python` by name: they must be those of this environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    options: dict[str, Any] = {"env": {**os.environ, "PATH": path, **environment}, "start_new_session": True}
    # Files, not pipes: the workers that DVC leaves behind keep pipes open. A session of its own: Ctrl-C must not reach
    # the workers, nor DVC while it queues, because it has then put the user's changes aside.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        command = [*program, *arguments]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **options)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
        finally:
            process.wait()
        out.seek(0)
        err.seek(0)
        if process.returncode == 0:
            return out.read()
        printed = err.read()
    reasons = re.findall("^(?:ERROR|fatal): (.+)", printed, re.MULTILINE) or printed.split("\n")[-2:]
    ended = " ".join(reasons).strip() or f"ended with {process.returncode}"
    raise TarkibError(f"{' '.join([program[-1], *arguments])}: {ended}")
