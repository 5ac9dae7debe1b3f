"""The conclusions as files for machines: one CSV for each curve, one JSON for the stages."""

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ontogeny.analysis import Report
from ontogeny.records import Curve, Stage
from ontogeny.storage import whole_file


def write_curves(report: Report, folder: Path) -> None:
    """Write every curve to `NAME.csv`: step, item where there are several, value, stderr.

    Args:
        report: What was found.
        folder: Where the files go; made if it is missing.

    Raises:
        OSError: The disk is full or may not be written to.
    """
    for name, curve in report.curves.items():
        with whole_file(folder / f"{name}.csv") as file:
            file.write(curve_csv(curve).encode())


def curve_csv(curve: Curve) -> str:
    """A curve as CSV; a value that could not be measured, or an unknown error, stays empty."""
    several = curve.items != ("",)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["step", *(["item"] if several else []), "value", "stderr"])
    for step, values, stderrs in zip(curve.steps, curve.values, curve.stderr, strict=True):
        for item, value, stderr in zip(curve.items, values, stderrs, strict=True):
            row = [int(step), *([item] if several else []), _cell(value), _cell(stderr)]
            table.writerow(row)
    return text.getvalue()


def _cell(value: float) -> str:
    return f"{value:.8g}" if math.isfinite(value) else ""


def write_stages(report: Report, path: Path) -> None:
    """Write milestones, stages and how firm they are as JSON; what is not known is null.

    Args:
        report: What was found.
        path: The file to write, `stages.json` by custom.

    Raises:
        OSError: The disk is full or may not be written to.
    """
    found = {
        "milestones": [asdict(milestone) for milestone in report.milestones],
        "stages": [_stage(stage) for stage in report.stages],
        "probes": report.probes,
        "variations": [asdict(variation) for variation in report.variations],
        "notes": report.notes,
    }
    with whole_file(path) as file:
        file.write((json.dumps(_plain(found), indent=2, allow_nan=False) + "\n").encode())


def _stage(stage: Stage) -> dict[str, Any]:
    names = {"before": "from", "after": "to"}
    evidence = [
        {names.get(name, name): value for name, value in asdict(one).items()}
        for one in stage.evidence
    ]
    return asdict(stage) | {"evidence": evidence}


def _plain(value: Any) -> Any:
    """The same, with null for a number that is not known."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
