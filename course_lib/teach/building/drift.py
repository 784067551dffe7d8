"""Whether a rebuilt notebook says the same as the committed one.

Text must be equal, up to durations, speeds and memory, which differ with every run. A cell tagged
``drift-tolerance-0.05`` may differ in its numbers by 5% (or by 0.05 near zero); one tagged
``drift-ignore`` may differ at will. Figures are compared by perceptual hash.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HASH_BITS = 4  # of 256 that may differ between two drawings of the same figure
_UNITS = r"(?:ms|s|sec|seconds?|min|minutes?|h|hours?|(?:it|tokens|rows)(?:/s| a second)|[kKMG]i?B)"
_RUN = re.compile(rf"\d[\d,.]*\s?{_UNITS}(?![\w/])|0x[0-9a-f]{{6,}}")
_NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?", re.I)


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference: the cell, what kind (code, text, number, figure, missing, added), details."""

    cell: int
    kind: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"cell {self.cell}: {self.kind}: {self.before!r} -> {self.after!r}"


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Drift]:
    """List the differences between two executed notebooks (as plain JSON).

    Args:
        before: the committed one.
        after: the one built anew.
    """
    old, new = before["cells"], after["cells"]
    found = [
        Drift(i, "missing" if i < len(old) else "added", _head(c), "")
        for i, c in enumerate((old if len(old) > len(new) else new)[min(len(old), len(new)) :],
                              min(len(old), len(new)))
    ]  # fmt: skip
    for number, (a, b) in enumerate(zip(old, new, strict=False)):
        if _join(a["source"]) != _join(b["source"]):
            found.append(Drift(number, "code", _head(a), _head(b)))
        elif a["cell_type"] == "code":
            found += _outputs(number, a, b)
    return found


def _head(cell: Mapping[str, Any]) -> str:
    return _join(cell["source"]).strip().split("\n")[0][:60]


def _join(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _outputs(number: int, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Drift]:
    tags = a.get("metadata", {}).get("tags", [])
    if "drift-ignore" in tags:
        return
    room = max([float(t[16:]) for t in tags if t.startswith("drift-tolerance-")], default=0.0)
    yield from _texts(number, _text(a), _text(b), room)
    old, new = _pictures(a), _pictures(b)
    if len(old) != len(new):
        yield Drift(number, "figure", f"{len(old)} pictures", f"{len(new)} pictures")
        return
    for one, other in zip(old, new, strict=True):
        apart = distance(one, other)
        if apart > HASH_BITS:
            yield Drift(number, "figure", "the committed picture", f"{apart} of 256 bits differ")


def _text(cell: Mapping[str, Any]) -> str:
    """All text a cell gives: streams joined, results as Markdown, HTML or plain text."""
    parts: list[str] = []
    for output in cell.get("outputs", []):
        if output.get("output_type") == "stream":
            parts.append(_join(output.get("text", "")))
            continue
        data = output.get("data", {})
        if "image/png" in data:
            continue
        for kind in ("text/markdown", "text/html", "text/plain"):
            if kind in data:
                parts.append(_join(data[kind]) + "\n")
                break
    return _RUN.sub("#", "".join(parts))


def _texts(number: int, old: str, new: str, room: float) -> Iterator[Drift]:
    if old == new:
        return
    if room and _NUMBER.sub("#", old) == _NUMBER.sub("#", new):
        pairs = zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True)
        far = [(a, b) for a, b in pairs if not _near(a, b, room)]
        if far:
            yield Drift(number, "number", far[0][0], far[0][1])
        return
    for a, b in zip(old.splitlines(), new.splitlines(), strict=False):
        if a != b:
            kind = "number" if _NUMBER.sub("#", a) == _NUMBER.sub("#", b) else "text"
            yield Drift(number, kind, a.strip()[:120], b.strip()[:120])
            return
    yield Drift(number, "text", f"{len(old.splitlines())} lines", f"{len(new.splitlines())} lines")


def _near(a: str, b: str, room: float) -> bool:
    x, y = float(a.replace(",", "")), float(b.replace(",", ""))
    return abs(x - y) <= room * max(abs(x), abs(y), 1.0)


def _pictures(cell: Mapping[str, Any]) -> list[bytes]:
    return [
        base64.b64decode(_join(o["data"]["image/png"]))
        for o in cell.get("outputs", [])
        if "image/png" in o.get("data", {})
    ]


def distance(one: bytes, other: bytes) -> int:
    """Give the bits of 256 in which the perceptual hashes of two PNG pictures differ.

    Marked: pictures of another size or shape count as wholly different.
    """
    if one == other:
        return 0
    import imagehash
    from PIL import Image

    a, b = (Image.open(io.BytesIO(p)).convert("RGB") for p in (one, other))
    if abs(a.width / a.height - b.width / b.height) > 0.05:
        return 256
    return int(imagehash.phash(a, hash_size=16) - imagehash.phash(b, hash_size=16))
