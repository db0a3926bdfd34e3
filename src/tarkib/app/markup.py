"""The page's small pieces, as HTML text. Whatever comes from outside goes through `escaped` first."""

from html import escape

from tarkib.vocabulary import PERSIAN


def escaped(text: object) -> str:
    """Text that may stand in an element or in a quoted attribute."""
    return escape(str(text), quote=True)


def name(word: str) -> str:
    """An instrument, and after it the same in Persian script."""
    return (
        f'<span class="tarkib-name"><span class="latin">{escaped(word)}</span> '
        f'<span lang="fa" dir="rtl">{escaped(PERSIAN[word])}</span></span>'
    )


def message(text: str) -> str:
    """One message that something went wrong, read aloud at once by a screen reader."""
    return f'<p class="tarkib-message" role="alert">{escaped(text)}</p>'
