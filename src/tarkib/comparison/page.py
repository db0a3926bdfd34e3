"""The report as one HTML page that needs no network, no script and no other file."""

import base64
from collections.abc import Callable, Iterator
from html import escape as escaped
from importlib import resources

from tarkib.comparison import paper, pictures
from tarkib.comparison.figures import BY_CLASS
from tarkib.comparison.layout import Cell, Layout
from tarkib.comparison.report import Report


def write(report: Report) -> str:
    """The whole page; equal reports give equal text."""
    return "".join(_pieces(report))


def _pieces(report: Report) -> Iterator[str]:
    words = report.words
    tables = {table.key: _table(table) for table in report.layouts}
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        # Nothing but what stands in the page itself may be loaded, whatever a name or an error says.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escaped(report.title)} – Tarkib</title><style>{_css('runtime.pages', 'base.css')}{_css('comparison', 'page.css')}</style>"
        '</head><body><header class="top"><p class="brand">Tarkib <span lang="fa" dir="rtl">ترکیب</span></p>'
        f"<h1>{escaped(report.title)}</h1><p>{escaped(report.subtitle)}</p></header><main>"
    )
    yield _section("answer", "What the data say", _answer(report))
    caveats = "".join(f"<li>{escaped(text)}</li>" for text in words.caveats)
    yield _section("caveats", "To be borne in mind", f'<ul class="words">{caveats}</ul>')
    yield _section("pictures", "At a glance", _glance(report))
    yield tables["means"]
    yield tables["paper"].replace("arXiv 2511.05717", f'<a href="{paper.ADDRESS}">arXiv 2511.05717</a>', 1)
    yield tables.get("differences", "")
    for name in reversed(BY_CLASS):
        yield tables[name]
    yield tables["polyphony"]
    yield tables["runs"]
    equal = "".join(f"<li>{escaped(f'{key}: {value}')}</li>" for key, value in report.fixed)
    yield _section("equal", "What was held equal", f'<ul class="equal">{equal}</ul>')
    again = f'<pre>{escaped(report.command)}</pre><p class="note">{escaped(report.made)}</p>'
    yield _section("again", "How to make this again", again)
    yield "</main></body></html>\n"


def _answer(report: Report) -> str:
    words = report.words
    findings = "".join(f"<li><strong>{escaped(mode)}</strong>: {escaped(text)}</li>" for mode, text in words.findings)
    hints = "".join(f"<li><strong>{escaped(mode)}</strong>: {escaped(text)}</li>" for mode, text in words.hints)
    return (
        f'<p class="answer">{escaped(words.headline)}</p>'
        + (f'<ul class="words">{findings}</ul>' if findings else "")
        + f'<p class="prose">{escaped(words.instruments)}</p>'
        + (f'<ul class="words">{hints}</ul>' if hints else "")
    )


def _glance(report: Report) -> str:
    one = report.comparison
    shown = []
    if one.differences:
        shown.append(
            _picture(
                f"Differences to {one.reference}",
                "bars: 95 % intervals over recordings, filled where supported after correction; dotted: over seeds",
                report.alt["headline"],
                lambda on: pictures.headline(one, on),
            )
        )
        for name, title in reversed(BY_CLASS.items()):
            shown.append(
                _picture(
                    f"{title} by instrument, differences to {one.reference}",
                    "bars: 95 % intervals over recordings, filled where they leave out 0; in brackets: clips with it",
                    report.alt[name],
                    lambda on, name=name: pictures.instruments(one, name, on),
                )
            )
    shown += [
        _picture(
            "Whether a probability is what it says",
            "all cells of all seeds, in ten bins; on the dotted line it is; ECE: mean over seeds of the distance to it",
            report.alt["reliability"],
            lambda on: pictures.reliability(one, on),
        ),
        _picture(
            "By the number of instruments that play",
            "bars: 95 % intervals over test recordings",
            report.alt["polyphony"],
            lambda on: pictures.polyphony(one, on),
        ),
    ]
    return f'<div class="pictures">{"".join(shown)}</div>'


def _picture(title: str, key: str, alt: str, drawn: Callable[[pictures.Paper], bytes]) -> str:
    """A picture on the paper that the reader's page has."""
    light, dark = (
        "data:image/png;base64," + base64.b64encode(drawn(on)).decode() for on in (pictures.LIGHT, pictures.DARK)
    )
    return (
        f"<figure><figcaption>{escaped(title)} <small>{escaped(key)}</small></figcaption>"
        f'<picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        f'<img src="{light}" alt="{escaped(alt)}"></picture></figure>'
    )


def _section(key: str, title: str, content: str) -> str:
    return f'<section aria-labelledby="{key}"><h2 id="{key}">{escaped(title)}</h2>{content}</section>'


def _table(one: Layout) -> str:
    head = "".join(f'<th scope="col">{escaped(text)}</th>' for text in one.heading)
    rows = "".join(
        f'<tr><th scope="row">{_content(row[0])}</th>'
        + "".join(
            f'<td data-column="{escaped(title)}">{_content(cell)}</td>'
            for title, cell in zip(one.heading[1:], row[1:], strict=True)
        )
        + "</tr>"
        for row in one.rows
    )
    note = f'<p class="note">{escaped(one.note)}</p>' if one.note else ""
    table = f'<table class="figures" aria-labelledby="{one.key}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
    return _section(one.key, one.title, f"{table}</table>{note}")


def _content(one: Cell) -> str:
    return f"<span>{escaped(one.text)}</span>" + "".join(f"<small>{escaped(text)}</small>" for text in one.below)


def _css(package: str, name: str) -> str:
    return resources.files(f"tarkib.{package}").joinpath(name).read_text("utf-8")
