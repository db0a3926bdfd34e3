"""The documentation site."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY

pytestmark = pytest.mark.slow


def test_it_builds_without_warnings_such_as_dead_links(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        assert "```" not in page.read_text(), f"{page}: a block that is not shown as one"
    assert "Recogniser" in (tmp_path / "site/api/index.html").read_text()
    assert (tmp_path / "site/params/paper.yaml").is_file(), "linked files outside of docs/ are in the site"
