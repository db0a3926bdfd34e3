"""For the documentation site: pages and files of the project that lie outside of docs/."""

import re
from pathlib import Path

from mkdocs.structure.files import File

_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
_NEEDS = re.compile(r"^(```sh) \w+$", re.MULTILINE)
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#]+)")


def on_files(files, config):
    """Add the project's own pages, and whatever file a page links to."""
    root = Path(config.config_file_path).parent
    wanted = {name: root / name for name in _PAGES}
    for page in (*(root / name for name in _PAGES), *(root / "docs").glob("*.md")):
        for link in _LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            if target.is_file() and not target.is_relative_to(root / "docs"):
                wanted[target.relative_to(root).as_posix()] = target
    for name, path in wanted.items():
        files.append(File.generated(config, _PAGES.get(name, name), content=path.read_bytes()))
    return files


def on_post_build(config):
    """Keep the site out of Git, wherever it is written."""
    (Path(config.site_dir) / ".gitignore").write_text("*\n")


def on_page_read_source(page, config):
    """A page's text with links as they are in the site, where docs/ is the root."""
    root = Path(config.config_file_path).parent
    source = next((name for name, uri in _PAGES.items() if uri == page.file.src_uri), f"docs/{page.file.src_uri}")
    text = (root / source).read_text(encoding="utf-8")
    folder = (root / source).parent

    def moved(match: re.Match) -> str:
        target = (folder / match[1]).resolve()
        if not target.is_relative_to(root):
            return match[0]
        name = target.relative_to(root).as_posix()
        return f"]({_PAGES.get(name, name.removeprefix('docs/'))}"

    # A word after the language says what a command needs (CONTRIBUTING.md); the site's Markdown knows none there.
    return _LINK.sub(moved, _NEEDS.sub(r"\1", text))
