"""`tarkib init`, from this checkout and from a wheel."""

import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from tarkib.cli import main

from .conftest import Checkout, set_parameters
from .test_pages import BLOCK, follow_links

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(fresh: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which this project is installed from a wheel."""
    built, site = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = str(fresh.folder)
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", built, source], check=True)
    (file,) = built.glob("tarkib-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", site, file], check=True)
    return site


def test_a_wheel_lays_out_a_project_whose_readme_works(wheel, tmp_path, recordings):
    # Isolated from this checkout, which is installed in the environment, but for the libraries there.
    code = f"import sys; sys.path.insert(0, {str(wheel)!r}); from tarkib.cli import main; sys.exit(main())"
    outside = Checkout(tmp_path)
    said = outside.run(sys.executable, "-c", code, "init", "my solos")
    assert said.startswith(f"my solos: a project of Tarkib {metadata.version('tarkib')}.")
    project = Checkout(tmp_path / "my solos")
    project.identify()
    assert "\n  cd 'my solos'\n" in said
    assert yaml.safe_load((project.folder / "versions.yaml").read_text())["torch"] == metadata.version("torch")
    # In place of the whole orchestra, which takes a minute.
    demo = f"import shutil; shutil.copytree({str(recordings)!r}, 'data/demo')"
    (project.folder / "stages/demo.py").write_text(demo)
    data = {"raw": "data/demo/raw", "fill": True, "test": "data/demo/test"}
    set_parameters(project.folder, data=data, model={"backbone": "mel-cnn"}, train={"epochs": 1})
    shutil.copytree(recordings / "raw/tar", project.folder / "data/raw/tar")
    project.commit("Start")
    assert project.run("git", "status", "--porcelain") == ""
    for kind, block in BLOCK.findall((project.folder / "README.md").read_text()):
        if kind == "sh":
            project.run("bash", "-euo", "pipefail", "-c", block)
    assert "quick" in project.run("dvc", "exp", "list", "--name-only").split()
    assert project.run("git", "ls-files", "data").split() == ["data/.gitignore", "data/raw.dvc"]
    used = project.run("python", "-c", "import stages, tarkib; print(tarkib.__file__)").strip()
    assert used == str(project.folder / "src/tarkib/__init__.py"), "the stages run the project's own code"


def test_a_container_is_built_with_all_that_the_wheel_holds():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    kept = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert [path for path in wanted if f"!{path}" not in kept] == []


def test_inside_a_repository_it_becomes_a_part_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet", "."], check=True)
    shutil.copy(REPOSITORY / ".gitignore", tmp_path)
    assert main(["init", "solos"]) == 0
    assert not (tmp_path / "solos/.git").exists()
    assert "solos/dvc.yaml" in subprocess.check_output(["git", "status", "--porcelain", "-uall"], text=True)
    assert subprocess.run(["dvc", "status"], cwd="solos", capture_output=True).returncode == 0


def test_links_of_its_pages_lead_somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "solos"]) == 0
    for page in tmp_path.glob("solos/**/*.md"):
        if "src" not in page.parts:
            follow_links(page)


def test_without_git(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main(["init", "solos"]) == 0
    assert "no_scm = true" in (tmp_path / "solos/.dvc/config").read_text()
    assert subprocess.run(["dvc", "status"], cwd="solos", capture_output=True).returncode == 0
    assert "Git is not installed" in capsys.readouterr().out


def test_what_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["init", str(tmp_path / "file/solos")]) == 1
    assert "file/solos: cannot be made" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_there_is_left_alone(tmp_path, capsys, what):
    taken = tmp_path / "taken"
    if what == "file":
        taken.write_text("mine")
    else:
        taken.mkdir()
        (taken / "song.wav").write_text("mine")
    assert main(["init", str(taken)]) == 1
    assert f"error: {taken}: is not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["taken" if what == "file" else "song.wav"]
