"""Printing: results to standard output, progress and errors to standard error."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

PROFILES = ("quick", "cpu", "gpu")
Run = Callable[[argparse.Namespace], int]
Command = Callable[[str, Run, str], argparse.ArgumentParser]


def say(line: str) -> None:
    """Print a line of progress to standard error."""
    print(line, file=sys.stderr, flush=True)


def show_json(value: Any) -> None:
    """Print a result as JSON to standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def number(value: Any) -> str:
    """Give a metric as text: four decimals, an interval as ``[low, high]``."""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(number(v) for v in value) + "]"
    return str(value)


def show_table(columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Print metrics as a table: one row a metric, one column a model."""
    names = sorted({k for c in columns.values() for k in c if not k.endswith("_interval")})
    if not names:
        return
    wide = max(map(len, names))
    widths = {c: max(len(c), 10) for c in columns}
    print(" " * wide + "".join(f"  {c:>{widths[c]}}" for c in columns))
    for name in names:
        cells = (number(v[name]) if name in v else "-" for v in columns.values())
        pairs = zip(cells, widths.values(), strict=True)
        print(f"{name:<{wide}}" + "".join(f"  {cell:>{w}}" for cell, w in pairs))
