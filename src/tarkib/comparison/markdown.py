"""The report as GitHub-flavoured Markdown: the same words and tables as the page, with one picture beside it."""

from collections.abc import Iterator

from tarkib.comparison.layout import Cell, Layout
from tarkib.comparison.report import Report


def write(report: Report, picture: str) -> str:
    """The whole file; `picture` is the name of the PNG file beside it."""
    return "\n".join(_lines(report, picture)) + "\n"


def _lines(report: Report, picture: str) -> Iterator[str]:
    words = report.words
    yield f"# {_plain(report.title)}"
    yield f"\n{_plain(report.subtitle)}"
    yield f"\n**{_plain(words.headline)}**\n"
    for mode, text in words.findings:
        yield f"- **{_plain(mode)}**: {_plain(text)}"
    yield f"\n{_plain(words.instruments)}\n"
    for mode, text in words.hints:
        yield f"- {_plain(mode)}: {_plain(text)}"
    yield "\nTo be borne in mind:\n"
    for text in words.caveats:
        yield f"- {_plain(text)}"
    if report.comparison.differences:
        yield f"\n![{report.alt['comparison']}]({picture})"
    for one in report.layouts:
        yield from _table(one)
    yield "\n## Held equal\n"
    yield ", ".join(f"`{key}: {value}`" for key, value in report.fixed)
    yield "\n## Again\n"
    yield f"```sh\n{report.command}\n```\n"
    yield _plain(report.made)


def _table(one: Layout) -> Iterator[str]:
    yield f"\n## {_plain(one.title)}\n"
    yield _row([_plain(text) for text in one.heading])
    yield _row(["---"] * len(one.heading))
    for row in one.rows:
        yield _row([_cell(cell) for cell in row])
    if one.note:
        yield f"\n{_plain(one.note)}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(one: Cell) -> str:
    return "<br>".join(map(_plain, (one.text, *one.below)))


def _plain(text: str) -> str:
    """Text that Markdown takes as it is, in one line."""
    for mark in "\\`*_|<>[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
