"""One recipe: a data set written anew as rows of prompt and completion, or of chats."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.finetune import data
from course_lib.finetune.generate import complete
from course_lib.finetune.records import Example
from course_lib.finetune.runs import load_run

Row = Mapping[str, Any]


def recast(
    name: str,
    folder: Path | str,
    make: Callable[[Example], Row],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
) -> Path:
    """Write the three splits of a set as JSON Lines, every row as ``make`` gives it.

    The order of the rows stays, so the rows of a split can be told apart by their place.

    Args:
        name: what ``data.load`` takes, loaded as pairs of text and target.
        folder: where ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` go.
        make: from an example to a row such as :func:`asked` or :func:`chat` gives.
        text_column, label_column: overrule the guessed columns.

    Returns:
        The folder, ready for ``finetune("completion", folder)``.

    Raises:
        CourseError: whatever is wrong with the set.
    """
    splits = data.load("completion", name, text_column=text_column, label_column=label_column)
    out = Path(folder)
    for split in ("train", "validation", "test"):
        rows = (make(example) for example in getattr(splits, split))
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        files.write_text(out / f"{split}.jsonl", "".join(lines))
    return out


def asked(row: Example, cue: str) -> dict[str, str]:
    """Give a row whose prompt ends with a cue, such as ``Subject:``, on a line of its own."""
    return {"prompt": f"{row.text.strip()}\n{cue}", "completion": str(row.target)}


def chat(row: Example) -> dict[str, list[dict[str, str]]]:
    """Give a row as a dialogue: what the customer wrote, and the reply as the assistant's turn."""
    turns = (("user", row.text.strip()), ("assistant", str(row.target)))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def writer(run: Path | str, cue: str = "", *, longest: int = 64) -> Callable[[str], str]:
    """Load a finished run and give it as a function from a text to what the model writes.

    Args:
        run: the run folder of a completion.
        cue: what its prompts end with; without one the text is a customer's turn of a chat.
        longest: tokens it may write.

    Raises:
        ModelError: when the folder is not a finished run.
    """
    model, tokenizer = load_run(run)

    def write(text: str) -> str:
        row = Example(id="0", text=text, target="")
        asks = asked(row, cue)["prompt"] if cue else _turn(tokenizer, text)
        return complete(model, tokenizer, [asks], max_new_tokens=longest)[0]

    return write


def _turn(tokenizer: Any, text: str) -> str:
    turns = [{"role": "user", "content": text.strip()}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
