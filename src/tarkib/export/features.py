"""Columns as the library `datasets` describes them, without needing it: in a table's schema and in a data set's card.

Both forms are those that its versions before and after 4.0 read.
"""

import json
from typing import Any

import pyarrow as pa

from tarkib.audio import SAMPLE_RATE
from tarkib.vocabulary import INSTRUMENTS

AUDIO = pa.field("audio", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]))
"""A column of sound files."""


def described(schema: pa.Schema) -> pa.Schema:
    """The schema with the metadata by which `datasets` sees sound files and classes in it."""
    features = {field.name: _json(field) for field in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def card(schema: pa.Schema) -> list[dict]:
    """The columns of a schema as they stand in the head of a card, for YAML."""
    return [_yaml(field) for field in schema]


def _json(field: pa.Field) -> Any:
    if field.equals(AUDIO):
        return {"sampling_rate": SAMPLE_RATE, "_type": "Audio"}
    if field.name == "labels":
        return {"feature": {"names": list(INSTRUMENTS), "_type": "ClassLabel"}, "_type": "Sequence"}
    return _json_type(field.type)


def _json_type(kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind):
        return {one.name: _json_type(one.type) for one in kind}
    if pa.types.is_list(kind):
        inner = _json_type(kind.value_type)
        # A sequence of structs would be read as a struct of sequences; a bare list means what it says.
        return [inner] if pa.types.is_struct(kind.value_type) else {"feature": inner, "_type": "Sequence"}
    return {"dtype": _dtype(kind), "_type": "Value"}


def _yaml(field: pa.Field) -> dict:
    if field.equals(AUDIO):
        return {"name": field.name, "dtype": {"audio": {"sampling_rate": SAMPLE_RATE}}}
    if field.name == "labels":
        names = {str(index): name for index, name in enumerate(INSTRUMENTS)}
        return {"name": field.name, "sequence": {"class_label": {"names": names}}}
    kind = field.type
    if pa.types.is_struct(kind):
        return {"name": field.name, "struct": [_yaml(one) for one in kind]}
    if pa.types.is_list(kind):
        if pa.types.is_struct(kind.value_type):
            return {"name": field.name, "list": [_yaml(one) for one in kind.value_type]}
        return {"name": field.name, "sequence": _dtype(kind.value_type)}
    return {"name": field.name, "dtype": _dtype(kind)}


def _dtype(kind: pa.DataType) -> str:
    return "float64" if pa.types.is_float64(kind) else str(kind)
