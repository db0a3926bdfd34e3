"""A recognition as text: a table to read, CSV, JSON or JAMS.

Each function takes what was heard and the recording's name, and gives a whole document. Times are in seconds, to the
millisecond; probabilities are in 0..1, to four decimals, and null where a class was not trained on.
"""

import csv as csv_module
import io
import json as json_module
import math
from importlib import metadata
from typing import Any

from tarkib.audio import CLIP_SECONDS
from tarkib.recognition.result import Recognition
from tarkib.runtime.text import printable

CSV_COLUMNS = ("file", "instrument", "start_s", "end_s", "probability")

_JAMS_VERSION = "0.3.5"
_RULES = "five-second windows, averaged by hop; an instrument plays where that reaches its threshold"


def table(found: Recognition, name: str) -> str:
    """Lines to read: instruments, how much of the time each plays, and when."""
    return f"{printable(name)}: {found}\n"


def csv(found: Recognition, name: str) -> str:
    """One row a segment, `CSV_COLUMNS`, below a heading."""
    text = io.StringIO(newline="")
    writer = csv_module.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for one in found.segments:
        writer.writerow((name, one.instrument, f"{one.start_s:.3f}", f"{one.end_s:.3f}", f"{one.probability:.4f}"))
    return text.getvalue()


def json(found: Recognition, name: str) -> str:
    """All that is known: segments, the windows' probabilities, thresholds."""
    return json_module.dumps(_content(found, name), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def jams(found: Recognition, name: str) -> str:
    """A JAMS document (Humphrey et al., ISMIR 2014): one annotation, of namespace `tag_open`, holds the segments."""
    duration = round(found.seconds, 3)
    annotation = {
        "namespace": "tag_open",
        "annotation_metadata": {
            "curator": {"name": "", "email": ""},
            "annotator": {},
            "version": metadata.version("tarkib"),
            "corpus": "",
            "annotation_tools": f"Tarkib {metadata.version('tarkib')}",
            "annotation_rules": _RULES,
            "validation": "",
            "data_source": "program",
        },
        "data": [
            {
                "time": round(one.start_s, 3),
                "duration": round(one.end_s - one.start_s, 3),
                "value": one.instrument,
                "confidence": round(one.probability, 4),
            }
            for one in found.segments
        ],
        "sandbox": {},
        "time": 0,
        "duration": duration,
    }
    about = {"title": name, "artist": "", "release": "", "duration": duration, "identifiers": {}}
    document = {
        "file_metadata": {**about, "jams_version": _JAMS_VERSION},
        "annotations": [annotation],
        "sandbox": {},
    }
    return json_module.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _content(found: Recognition, name: str) -> dict[str, Any]:
    return {
        "file": name,
        "seconds": round(found.seconds, 3),
        "remarks": list(found.remarks),
        "window_s": CLIP_SECONDS,
        "hop_s": found.hop_s,
        "thresholds": {label: round(float(found.thresholds[k]), 6) for k, label in enumerate(found.labels)},
        "segments": [
            {
                "instrument": one.instrument,
                "start_s": round(one.start_s, 3),
                "end_s": round(one.end_s, 3),
                "probability": round(one.probability, 4),
            }
            for one in found.segments
        ],
        "windows": [
            {key: _number(value, 3 if key.endswith("_s") else 4) for key, value in row.items()}
            for row in found.table().to_dict("records")
        ],
    }


def _number(value: float, digits: int) -> float | None:
    return None if math.isnan(value) else round(float(value), digits)
