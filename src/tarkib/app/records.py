"""CSV text as records that keep how they were written, so that changing one cell leaves every other byte alone.

Read as `tarkib.evaluation.testset` reads it: quotes doubled inside quotes, spaces before a cell skipped, and an error
where Python's strict reader has one.
"""

from dataclasses import dataclass, field

from tarkib.errors import TarkibError


@dataclass
class Record:
    r"""One record of a CSV file.

    line : number of the line that it ends in, from 1, as Python's reader counts.
    cells : text of its cells as it stands in the file, quotes and spaces included.
    ending : how its line ends: "\n", "\r\n", "\r", or nothing at the end of the file.
    """

    line: int
    cells: list[str] = field(default_factory=list)
    ending: str = ""

    @property
    def values(self) -> list[str]:
        """What the cells say, without surrounding space."""
        return [_value(cell) for cell in self.cells]

    @property
    def blank(self) -> bool:
        """Whether no cell says anything."""
        return not any(self.values)


def parse(text: str, delimiter: str) -> list[Record]:
    """Records of a CSV text; `written` gives the very text back.

    Raises TarkibError that tells the line: quotes that are never closed, or text after those that close.
    """
    records = []
    at = line = 0
    while at < len(text):
        record = Record(line)
        while True:
            cell, at = _cell(text, at, delimiter, line + 1)
            record.cells.append(cell)
            line += cell.count("\n") + cell.count("\r") - cell.count("\r\n")
            if text[at : at + 1] != delimiter:
                break
            at += 1
        record.ending = "\r\n" if text.startswith("\r\n", at) else text[at : at + 1]
        at += len(record.ending)
        line += 1
        record.line = line
        records.append(record)
    return records


def written(records: list[Record], delimiter: str) -> str:
    """The text of records."""
    return "".join(delimiter.join(record.cells) + record.ending for record in records)


def quoted(value: str, delimiter: str) -> str:
    """A value as the text of a cell, in quotes where it needs them.

    >>> quoted("tar, solo", ","), quoted("tar", ",")
    ('"tar, solo"', 'tar')
    """
    if any(mark in value for mark in (delimiter, '"', "\r", "\n")):
        return '"' + value.replace('"', '""') + '"'
    return value


def _cell(text: str, start: int, delimiter: str, line: int) -> tuple[str, int]:
    """Text of the cell that begins at `start`, and where it ends."""
    at = start
    while text[at : at + 1] == " ":
        at += 1
    if text[at : at + 1] == '"':
        at = _closing(text, at, line) + 1
        if text[at : at + 1] not in ("", delimiter, "\r", "\n"):
            raise TarkibError(f"line {line}: not valid CSV ({text[at]!r} after the quotes that close)")
        return text[start:at], at
    while text[at : at + 1] not in ("", delimiter, "\r", "\n"):
        at += 1
    return text[start:at], at


def _closing(text: str, opening: int, line: int) -> int:
    """Where the quotes that open at `opening` close."""
    at = opening + 1
    while (at := text.find('"', at)) >= 0:
        if text[at + 1 : at + 2] != '"':
            return at
        at += 2
    raise TarkibError(f"line {line}: not valid CSV (quotes that are never closed)")


def _value(cell: str) -> str:
    plain = cell.lstrip(" ")
    return (plain[1:-1].replace('""', '"') if plain.startswith('"') else plain).strip()
