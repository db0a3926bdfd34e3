"""README, the pages that it leads to and the notebook: links lead somewhere, and commands run as they are.

Blocks with `sh` alone are run, in the order of the page; another word after it says what a test has not: a network, a
GPU, time, or somebody who ends a server.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from .conftest import Checkout, set_parameters

DOORS = ["README.md", "docs/recognise.md", "docs/train.md", "docs/compare.md", "docs/paper.md", "docs/mixtures.md"]
BLOCK = re.compile(r"^```(\w[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITHOUT_TEST = {"network", "gpu", "long", "server"}


def blocks(page: str) -> list[tuple[str, str]]:
    """Info string and content of each fenced block of a page."""
    return BLOCK.findall((REPOSITORY / page).read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]), ids=lambda p: p.name
)
def test_links_lead_to_files_and_headings(page):
    assert not re.search(r"^(<<<<<<<|>>>>>>>)", page.read_text(), re.MULTILINE), "left by a merge"
    follow_links(page)


def follow_links(page: Path) -> None:
    """Each link within the project leads to a file, and to a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if not target.startswith(("https://", "http://")):
            file = page.parent / path if path else page
            assert file.exists(), f"{page}: {target}"
            assert not anchor or anchor in anchors(file), target


def test_the_first_page_is_short_and_blocks_say_what_they_need():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 120
    kinds = {kind for page in DOORS for kind, _ in blocks(page)}
    assert {kind.removeprefix("sh ") for kind in kinds} <= {"sh", *WITHOUT_TEST}


@pytest.fixture(scope="module")
def project(fresh: Checkout, recordings: Path) -> Checkout:
    """The project as a stranger has it, small, with recordings and excerpts beside it."""
    for name, beside in (("raw/tar", "recordings/tar"), ("test", "excerpts")):
        shutil.copytree(recordings / name, fresh.folder.parent / beside)
    for name in ("raw", "test"):
        shutil.rmtree(fresh.folder / "data" / name)
    # In place of the whole orchestra, which takes a minute; with the excerpt that the pages name.
    demo = f"""
import pathlib, shutil
shutil.copytree({str(recordings)!r}, "data/demo")
test = pathlib.Path("data/demo/test")
for file in test.glob("piece-001-*"):
    file.rename(test / file.name.replace("001", "019"))
(test / "labels.csv").write_text((test / "labels.csv").read_text().replace("piece-001", "piece-019"))
"""
    (fresh.folder / "stages/demo.py").write_text(demo)
    paper = yaml.safe_load((fresh.folder / "params.yaml").read_text())
    paper["data"]["fill"] = True  # the recordings are of one instrument
    (fresh.folder / "params/paper.yaml").write_text(yaml.safe_dump(paper))
    set_parameters(fresh.folder, data={"raw": "data/demo/raw", "fill": True, "test": "data/demo/test"})
    fresh.commit("a clone")
    # What `make` would install is there already.
    programs = fresh.folder / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "activate").touch()
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o755)
    (programs / ".installed").touch()
    fresh.environment |= {"PYTHONPATH": os.pathsep.join([str(fresh.folder / "src"), str(fresh.folder)])}
    return fresh


@pytest.mark.slow
@pytest.mark.parametrize("page", DOORS)
def test_commands_run_when_they_are_pasted(project, page):
    """One page after the other, as the later ones need what the first ones made."""
    for kind, block in blocks(page):
        if kind == "sh":
            project.run("bash", "-euo", "pipefail", "-c", block)
    if page == "docs/train.md":
        # The way back leads to what was committed, with its data and model.
        assert "up to date" in project.run("dvc", "status")


@pytest.mark.slow
def test_the_notebook_runs(project):
    project.run("jupyter", "execute", "examples/first_steps.ipynb")
    assert "first" in project.run("dvc", "exp", "list", "--name-only", "--all-commits").split()
    assert project.run("git", "status", "--porcelain", "--untracked-files=no") == ""
