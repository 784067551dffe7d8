"""Pre-training text: a folder of files (or a Hub data set) to packed token ids.

A corpus file holds one paragraph a line and a blank line between documents.
Packing puts the documents one after another, each closed by the end-of-text
token, and cuts the stream into rows of equal length: no padding, no waste.
"""

from __future__ import annotations

import lzma
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.errors import DataError, OfflineError

SUFFIXES = (".txt", ".txt.xz")


def corpus_files(folder: Path, split: str) -> list[Path]:
    """List the files of one split: ``train*.txt[.xz]`` or ``val*.txt[.xz]`` in ``folder``.

    For ``train``, a folder without such names counts every text file that is not ``val*``.

    Raises:
        DataError: when there is none.
    """
    if folder.is_file():
        return [folder] if split == "train" else []
    texts = sorted(p for p in folder.glob("*") if p.name.lower().endswith(SUFFIXES))
    found = [p for p in texts if p.name.startswith(split)]
    if not found and split == "train":
        found = [p for p in texts if not p.name.startswith("val")]
    if not found and split == "train":
        raise DataError(
            "no text found",
            where=str(folder),
            expected="files ending in .txt or .txt.xz",
            next_step="give --data a folder of text files or a Hub data set id",
        )
    return found


def read_documents(path: Path) -> Iterator[str]:
    """Yield the documents of one text file: paragraphs joined by newlines.

    Raises:
        DataError: when the file is not UTF-8, naming the line.
    """
    opener: Any = lzma.open if path.suffix == ".xz" else open
    paragraphs: list[str] = []
    with opener(path, "rb") as handle:
        for number, line in enumerate(handle, start=1):
            try:
                text = line.decode("utf-8").strip()
            except UnicodeDecodeError:
                raise DataError(
                    "not UTF-8 text",
                    where=f"{path}:{number}",
                    next_step="save the file as UTF-8",
                ) from None
            if text:
                paragraphs.append(text)
            elif paragraphs:
                yield "\n".join(paragraphs)
                paragraphs = []
    if paragraphs:
        yield "\n".join(paragraphs)


def hub_documents(name: str, split: str, column: str = "text") -> Iterator[str]:
    """Yield the documents of a Hub data set, streamed.

    Raises:
        OfflineError: when the Hub cannot be reached.
        DataError: when it has no such split, or no column of texts.
    """
    from datasets import load_dataset

    try:
        rows = load_dataset(name, split=split, streaming=True)
    except (ConnectionError, OSError) as error:
        raise OfflineError(
            f"the data set {name!r} could not be fetched",
            next_step="give --data a folder of text files instead",
        ) from error
    except ValueError as error:
        raise DataError(
            f"the data set {name!r} cannot be read as a corpus",
            got=str(error).splitlines()[0],
            expected="splits 'train' and 'validation'",
        ) from error
    for row in rows:
        if column not in row:
            raise DataError(
                f"the data set {name!r} has no column {column!r}",
                got=", ".join(map(str, row)),
                next_step="choose a data set of texts",
            )
        if str(row[column]).strip():
            yield str(row[column]).strip()


def documents(data: str, split: str) -> Iterator[str]:
    """Yield documents of ``split`` (``train`` or ``val``) from a folder, a file or a Hub id."""
    path = Path(data).expanduser()
    if path.exists():
        for file in corpus_files(path, split):
            yield from read_documents(file)
    else:
        yield from hub_documents(data, {"val": "validation"}.get(split, split))


def encode_corpus(texts: Iterator[str], tokenizer: Any, out: Path) -> tuple[int, int]:
    """Write the documents' token ids to ``out`` as little-endian unsigned 16-bit numbers.

    Returns:
        Number of tokens (end-of-text tokens included) and number of UTF-8 bytes
        of text (one newline a document included).
    """
    end = tokenizer.eos_token_id
    raw = tokenizer.backend_tokenizer
    tokens = text_bytes = 0
    batch: list[str] = []

    def flush(handle: Any) -> int:
        ids = [i for e in raw.encode_batch_fast(batch) for i in (*e.ids, end)]
        handle.write(np.asarray(ids, dtype="<u2").tobytes())
        return len(ids)

    with open(out, "wb") as handle:
        for text in texts:
            batch.append(text)
            text_bytes += len(text.encode("utf-8")) + 1
            if len(batch) == 1000:
                tokens += flush(handle)
                batch.clear()
        tokens += flush(handle)
    return tokens, text_bytes


class PackedTokens:
    """Rows of ``context + 1`` ids cut from a memory-mapped token file, in a seeded order.

    The order depends on the seed and the step alone, so a run resumes at step
    ``n`` without replaying the steps before it.
    """

    def __init__(self, path: Path, context: int, dtype: str = "<u2") -> None:
        self.ids = np.memmap(path, dtype=dtype, mode="r")
        self.context = context
        self.rows = (len(self.ids) - 1) // context
        if self.rows < 1:
            raise DataError(
                "too little text to fill one row",
                where=str(path),
                got=f"{len(self.ids)} tokens",
                expected=f"more than {context}",
            )
        self._order: tuple[int, np.ndarray] | None = None

    def row(self, index: int) -> np.ndarray:
        """Give row ``index`` as int64 ids, shape ``[context + 1]``."""
        start = index * self.context
        return np.asarray(self.ids[start : start + self.context + 1], dtype=np.int64)

    def batch(self, first: int, rows: int, seed: int) -> np.ndarray:
        """Give rows ``first`` to ``first + rows`` of the shuffled stream of passes.

        Returns:
            int64 array of shape ``[rows, context + 1]``.
        """
        picked = []
        for position in range(first, first + rows):
            epoch, offset = divmod(position, self.rows)
            if self._order is None or self._order[0] != epoch:
                shuffled = np.random.default_rng((seed, epoch)).permutation(self.rows)
                self._order = (epoch, shuffled)
            picked.append(self.row(int(self._order[1][offset])))
        return np.stack(picked)


def shuffled(texts: Iterator[str], seed: int, window: int = 20_000) -> Iterator[str]:
    """Yield ``texts`` in an order mixed within a window of documents, so that sources meet."""
    rng = random.Random(seed)
    held: list[str] = []
    for text in texts:
        if len(held) < window:
            held.append(text)
            continue
        place = rng.randrange(window)
        held[place], text = text, held[place]
        yield text
    rng.shuffle(held)
    yield from held
