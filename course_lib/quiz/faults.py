"""Where in a YAML file a fault stands: its line and the question it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def describe(path: Path, node: Any, content: Any, error: Any) -> str:
    """Give one fault as ``file:line, question: field: what is wrong``.

    Args:
        path: of the file. node: its YAML nodes. content: what they hold.
        error: one of pydantic's, with ``loc`` and ``msg``.
    """
    line, question, names, here = 1, "", [], content
    for part in error["loc"]:
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next((v for k, v in node.value if k.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            found = node.value[part] if part < len(node.value) else None
        if found is None:
            if isinstance(part, str) and (not isinstance(here, dict) or here.get("type") != part):
                names.append(part)  # a missing or unknown field; the type's own tag is skipped
            continue
        node, line = found, found.start_mark.line + 1
        here = here[part]
        if isinstance(here, dict) and "id" in here:
            question = str(here["id"])
        names.append(f"{part + 1}" if isinstance(part, int) else str(part))
    what = error["msg"].removeprefix("Value error, ")
    return f"{path}:{line}, {question or 'quiz'}: {'.'.join(names) or 'whole'}: {what}"
