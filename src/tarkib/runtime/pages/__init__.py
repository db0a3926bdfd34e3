"""HTML pages that need no network and no other file, from Jinja templates that extend base.html.

They fill its block ``main``, and take `title`, `subtitle`, `css` and `script`, the last two from `asset`.
"""

import base64
import hashlib
from importlib import resources

import jinja2
from markupsafe import Markup

from tarkib.vocabulary import PERSIAN

MINUS = "−"


def environment(package: str, *, is_html: bool = True) -> jinja2.Environment:
    """Return the templates of a package ("tarkib.preview") and those that all pages share; text is not escaped."""
    found = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package, "."), jinja2.PackageLoader(__name__, ".")]),
        autoescape=is_html,
        keep_trailing_newline=not is_html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(name=name, number=number, digest=digest, data_url=data_url)
    found.globals.update(base_css=asset(__name__, "base.css"), script="")
    return found


def asset(package: str, file: str) -> Markup:
    """Return a package's style or script as text that is not escaped."""
    return Markup(resources.files(package).joinpath(file).read_text("utf-8"))


def name(word: str) -> Markup:
    """Return a word and, where the vocabulary knows it, the same in Persian script."""
    persian = PERSIAN.get(word)
    also = Markup(' <span lang="fa" dir="rtl">{}</span>').format(persian) if persian else ""
    return Markup('<span class="name"><span class="latin">{}</span>{}</span>').format(word, also)


def number(value: float, digits: int, signed: bool = False) -> str:
    """Return a number with a true minus sign, a plus sign where asked for, and commas between thousands.

    >>> number(-0.5, 1), number(1234.0, 0), number(2.0, 1, signed=True)
    ('−0.5', '1,234', '+2.0')
    """
    return f"{value:{'+' if signed else ''},.{digits}f}".replace("-", MINUS)


def digest(text: str) -> str:
    """Return the checksum of a script as a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def data_url(content: bytes, kind: str) -> str:
    """Return a file's content as an address that a page can hold; `kind` is its media type ("image/png")."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
