"""YAML 1.2 with DVC's parser: `010` is ten, `1:30` and `yes` are text, `1e-4` a number, a duplicate key an error."""

import io
from typing import Any

from ruamel.yaml import YAML, YAMLError

from tarkib.runtime.text import bounded


def read(text: str) -> Any:
    """Content of a document: dicts, lists, scalars; None if empty. ValueError of one line if it is not valid YAML."""
    # In Python, since deep nesting can crash the parser in C.
    yaml = YAML(typ="safe", pure=True)
    try:
        return yaml.load(text)
    except RecursionError as error:
        raise ValueError("values are nested too deeply") from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(where + bounded(getattr(error, "problem", None) or error)) from error
    except Exception as error:  # of a constructor: a 45th day, say
        raise ValueError(bounded(error)) from error


def dump(content: Any) -> str:
    """The content as a YAML document, keys in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.width = 120
    yaml.default_flow_style = yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.representer.ignore_aliases = lambda _: True
    out = io.StringIO()
    yaml.dump(content, out)
    return out.getvalue()
