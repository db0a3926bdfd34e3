"""Markdown tables, and documents whose figures a script writes between two marks."""

import platform
import re
from collections.abc import Sequence
from pathlib import Path


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; None is a dash, floats have three digits."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def share(hits: Sequence[bool]) -> str:
    """How many of how many, and percent."""
    return f"{sum(hits)} of {len(hits)}, {sum(hits) / len(hits):.0%}" if len(hits) else "–"


def machine() -> str:
    """The processor that figures were measured on, without naming the machine."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        model = found[1] if found else model
    return f"{model}, Python {platform.python_version()}"


def fill(document: Path, name: str, text: str) -> None:
    """Put a text between the marks ``<!-- NAME -->`` and ``<!-- /NAME -->`` of a document.

    Raises ValueError where the document does not have both.
    """
    before = document.read_text(encoding="utf-8")
    pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(before):
        raise ValueError(f"{document}: has no marks <!-- {name} --> and <!-- /{name} -->")
    document.write_text(pattern.sub(lambda marks: f"{marks[1]}\n{text}\n\n{marks[2]}", before), encoding="utf-8")


def report(document: Path, name: str, text: str, print_only: bool) -> None:
    """Print a text, and put it between the marks of a document."""
    print(text)
    if not print_only:
        fill(document, name, text)
