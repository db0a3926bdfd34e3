"""A recognition as text: a table to read, CSV, JSON or JAMS.

Each function takes a recognition and the recording's name, and returns a whole document. Times are in seconds, to the
millisecond; probabilities in 0..1, to four decimals, null for a class that the classifier was not trained on.
"""

import dataclasses
import json as json_module
import math
from importlib import metadata
from typing import Any

from tarkib.audio import CLIP_SECONDS
from tarkib.recognition.result import Recognition
from tarkib.runtime.text import printable

_RULES = "five-second windows, averaged by hop; an instrument plays where that reaches its threshold"


def table(recognition: Recognition, name: str) -> str:
    """Lines to read: the instruments, how much of the time each plays, and when."""
    return f"{printable(name)}: {recognition}\n"


def csv(recognition: Recognition, name: str) -> str:
    """A heading and one row per segment."""
    import pandas as pd  # takes a second to load

    rows = [
        (name, segment.instrument, f"{segment.start_s:.3f}", f"{segment.end_s:.3f}", f"{segment.probability:.4f}")
        for segment in recognition.segments
    ]
    columns = ["file", "instrument", "start_s", "end_s", "probability"]
    return pd.DataFrame(rows, columns=columns).to_csv(index=False, lineterminator="\n")


def json(recognition: Recognition, name: str) -> str:
    """Segments, the windows' probabilities, thresholds (null for an untrained class), remarks, facts of the model."""
    return _dumped(
        {
            "file": name,
            "seconds": round(recognition.seconds, 3),
            "remarks": list(recognition.remarks),
            "unfamiliar": recognition.unfamiliar,
            "model": _model(recognition),
            "window_s": CLIP_SECONDS,
            "hop_s": recognition.hop_s,
            "thresholds": {
                name: round(float(threshold), 6) if trained else None
                for name, threshold, trained in zip(
                    recognition.labels, recognition.thresholds, recognition.trained, strict=True
                )
            },
            "segments": [_rounded(vars(segment)) for segment in recognition.segments],
            "windows": [
                _rounded({**row, "distance": float(distance)})
                for row, distance in zip(recognition.table().to_dict("records"), recognition.distances, strict=True)
            ],
        }
    )


def jams(recognition: Recognition, name: str) -> str:
    """A JAMS document (Humphrey et al., ISMIR 2014): one annotation, of namespace `tag_open`, holds the segments."""
    duration = round(recognition.seconds, 3)
    annotation = {
        "namespace": "tag_open",
        "annotation_metadata": {
            "annotation_tools": f"Tarkib {metadata.version('tarkib')}",
            "annotation_rules": f"{_RULES}; model: {recognition.origin}" if recognition.origin else _RULES,
            "data_source": "program",
        },
        "data": [
            {
                "time": round(segment.start_s, 3),
                "duration": round(segment.end_s - segment.start_s, 3),
                "value": segment.instrument,
                "confidence": round(segment.probability, 4),
            }
            for segment in recognition.segments
        ],
        "sandbox": {},
        "time": 0,
        "duration": duration,
    }
    file = {
        "title": name,
        "artist": "",
        "release": "",
        "duration": duration,
        "identifiers": {},
        "jams_version": "0.3.5",
    }
    return _dumped({"file_metadata": file, "annotations": [annotation], "sandbox": {}})


def _model(recognition: Recognition) -> dict[str, Any] | None:
    origin = recognition.origin
    return {**dataclasses.asdict(origin), "warning": origin.warning} if origin else None


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    digits = {key: 3 if key.endswith("_s") else 4 for key, value in row.items() if isinstance(value, float)}
    return row | {key: None if math.isnan(row[key]) else round(row[key], places) for key, places in digits.items()}


def _dumped(content: dict[str, Any]) -> str:
    return json_module.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
