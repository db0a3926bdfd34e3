"""YAML 1.2 with DVC's parser: `010` is ten, `1:30` and `yes` are text, `1e-4` a number, a duplicate key an error."""

import io
import math
from itertools import chain
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from tarkib.runtime.text import bounded

_MAX_VALUES = 200_000


class _Constructor(SafeConstructor):
    def construct_document(self, node: Node) -> Any:
        """Refuses a document whose aliases (`*name`) expand without bound."""
        if _size(node, {}) > _MAX_VALUES:
            raise ValueError(f"has more than {_MAX_VALUES:,} values, counting those that aliases repeat")
        return super().construct_document(node)


def read(text: str) -> Any:
    """Content of a document: dicts, lists, scalars; None if empty. ValueError of one line if it is not valid YAML."""
    # In Python, since deep nesting can crash the parser in C.
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
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


def written(content: Any) -> str:
    """A document of the content, keys in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.width = 120
    yaml.default_flow_style = yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.representer.ignore_aliases = lambda _: True
    out = io.StringIO()
    yaml.dump(content, out)
    return out.getvalue()


def _size(node: Node, sizes: dict[int, float]) -> float:
    """Number of values in a node, with aliases expanded; `sizes` by the identity of nodes."""
    if isinstance(node, ScalarNode):
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = math.inf  # if the node contains itself
        parts = chain.from_iterable(node.value) if isinstance(node, MappingNode) else node.value
        sizes[id(node)] = 1 + sum(_size(part, sizes) for part in parts)
    return sizes[id(node)]
