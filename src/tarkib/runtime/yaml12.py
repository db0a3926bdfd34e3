"""YAML 1.2, read with the parser that DVC reads params.yaml and dvc.yaml with.

So `010` is ten, `1:30` and `yes` are text, `1e-4` is a number, and a key that stands twice is an error, here as there.
"""

import io
import math
from itertools import chain
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from tarkib.runtime.text import bounded

_MOST_VALUES = 200_000
"""So many values a document may have, those that its aliases (`*name`) repeat counted each time."""


class _Constructor(SafeConstructor):
    def construct_document(self, node: Node) -> Any:
        """As in ruamel.yaml; ValueError for a document whose aliases repeat each other without measure."""
        if _size(node, {}) > _MOST_VALUES:
            raise ValueError(f"has more than {_MOST_VALUES:,} values, those that aliases repeat included")
        return super().construct_document(node)


def read(text: str) -> Any:
    """The content of a document: dicts, lists, text, numbers, dates; None for an empty one.

    Raises ValueError, in one line, for what is not YAML, and for a value that its type does not have (a 45th day).
    """
    # The parser in Python also where one in C is installed, which deep nesting could crash.
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(text)
    except RecursionError as error:
        raise ValueError("values are nested too deeply") from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f"line {mark.line + 1}: "
        raise ValueError(where + bounded(getattr(error, "problem", None) or error)) from error
    except Exception as error:  # whatever the type of a value (a date, a number) raises for what it does not have
        raise ValueError(bounded(error)) from error


def written(content: Any) -> str:
    """A document of the content, keys in their order; ruamel.yaml's errors for what YAML has no type for."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = False, 120, False
    yaml.representer.ignore_aliases = lambda _: True
    out = io.StringIO()
    yaml.dump(content, out)
    return out.getvalue()


def _size(node: Node, known: dict[int, float]) -> float:
    """Values of a node and of all within it, each as often as it is named; `known` are those of nodes by identity."""
    if isinstance(node, ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # a node that holds itself has no end
        parts = chain.from_iterable(node.value) if isinstance(node, MappingNode) else node.value
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]
