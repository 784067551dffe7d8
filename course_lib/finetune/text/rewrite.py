"""Texts written by a model: paraphrases, translations there and back, new texts for a label.

What a model writes is not yet a training row. :func:`judged` keeps only what a classifier
gives the wanted label, and the shares it turns down are the first figure to look at.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.errors import ModelError, OfflineError, UsageError
from course_lib.finetune.records import Example
from course_lib.finetune.text.words import normal

THERE, BACK = "Helsinki-NLP/opus-mt-en-fr", "Helsinki-NLP/opus-mt-fr-en"
PARAPHRASE = "{text}\n\nThe same message in other words:"  # what a base without training is given
SHOWN = 4  # rows of the label shown before a new text is asked for
COPY = 90.0  # likeness in percent (rapidfuzz) from which a text counts as a copy

Judge = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Written:
    """A text a model wrote: ``row`` is what it came from, ``label`` what it should have."""

    row: Example
    label: str
    text: str


def writer(model: str) -> tuple[Any, Any, bool]:
    """Load a model that writes: a completion run's folder, or a base.

    Returns:
        Model, tokenizer, and whether it is a fine-tuned run.

    Raises:
        UsageError: for a run that does not write, such as a classifier.
        ModelError, OfflineError: as :func:`model.load_base`.
    """
    from course_lib.finetune import runs
    from course_lib.finetune.model import load_base

    if not (Path(model) / "run.json").is_file():
        return *load_base(model, task="completion"), False
    found, tokenizer = runs.load_run(model)
    if not found.can_generate():
        raise UsageError(
            "this run does not write text",
            where=model,
            got=type(found).__name__,
            next_step="give the folder of a completion run, or a base",
        )
    return found, tokenizer, True


def paraphrase(
    rows: Sequence[Example], *, model: str = "embedded", prompt: str = "", seed: int = 0
) -> list[str]:
    """Write each row's text in other words.

    Args:
        rows: what to rewrite.
        model: a completion run fine-tuned on (text, paraphrase) pairs, or a base.
        prompt: with ``{text}`` in it; empty for the text alone (a run) or ``PARAPHRASE`` (a base).
        seed: of the sampling (temperature 0.7, top-p 0.9).

    Raises:
        UsageError: for a prompt without ``{text}``, or a run that does not write.
    """
    from course_lib.finetune.generate import complete

    if prompt and "{text}" not in prompt:
        raise UsageError("the prompt has no place for the text", got=prompt, expected="{text}")
    found, tokenizer, tuned = writer(model)
    asked = prompt or ("{text}" if tuned else PARAPHRASE)
    prompts = [asked.replace("{text}", r.text) for r in rows]
    options: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1}
    room = min(80, found.config.max_position_embeddings // 2)
    made = complete(found, tokenizer, prompts, max_new_tokens=room, seed=seed, **options)
    return [_first_block(m) for m in made]


def synthesise(
    rows: Sequence[Example],
    count: int,
    *,
    model: str = "embedded",
    prompt: str = "Messages about {label}:",
    seed: int = 0,
) -> list[Written]:
    """Ask a model for new texts, each after ``SHOWN`` random rows of its label.

    Args:
        rows: labelled texts; a label's share of the new texts is its share of the rows.
        count: how many to ask for.
        model: a completion run or a base.
        prompt: the first line, with ``{label}`` in it where the label's words belong.
        seed: of the rows shown and the sampling (temperature 0.9, top-p 0.9).
    """
    from course_lib.finetune.generate import complete

    rng = random.Random(seed)
    wanted = [rng.choice(rows) for _ in range(count)]
    prompts = []
    for row in wanted:
        same = [r for r in rows if r.label == row.label]
        shown = rng.sample(same, min(SHOWN, len(same)))
        named = prompt.replace("{label}", str(row.label).replace("_", " "))
        prompts.append("\n".join([named, *(f"- {' '.join(r.text.split())}" for r in shown), "-"]))
    found, tokenizer, _ = writer(model)
    options: dict[str, Any] = {"temperature": 0.9, "top_p": 0.9, "repetition_penalty": 1.1}
    room = min(60, found.config.max_position_embeddings // 2)
    made = complete(found, tokenizer, prompts, max_new_tokens=room, seed=seed, **options)
    pairs = zip(wanted, made, strict=True)
    return [Written(row, str(row.label), _first_line(text)) for row, text in pairs]


def _first_block(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split())


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0].strip(" -")


def back_translate(texts: Sequence[str], *, there: str = THERE, back: str = BACK) -> list[str]:
    """Translate texts to another language and back (Sennrich et al. 2016).

    Args:
        texts: what to rewrite.
        there, back: sequence-to-sequence models: Hub ids or folders.

    Raises:
        OfflineError, ModelError: as :func:`translate`.
    """
    return translate(translate(texts, there), back)


def translate(texts: Sequence[str], model: str) -> list[str]:
    """Translate texts with a sequence-to-sequence model such as MarianMT, greedily.

    Args:
        texts: one or more sentences each; beyond the model's own length (MarianMT: 512 tokens)
            a text loses its end.
        model: a Hub id or a folder.

    Raises:
        OfflineError: when a Hub id is not cached and the Hub cannot be reached.
        ModelError: for a folder that holds no such model.
    """
    import torch

    found, tokenizer = _translator(model)
    most = int(getattr(found.config, "max_position_embeddings", 512))
    out: list[str] = []
    for start in range(0, len(texts), 16):
        part = list(texts[start : start + 16])
        coded = tokenizer(part, return_tensors="pt", padding=True, truncation=True, max_length=most)
        with torch.no_grad():
            made = found.generate(**coded, max_new_tokens=most - 1, max_length=None, num_beams=1)
        out += tokenizer.batch_decode(made, skip_special_tokens=True)
    return [text.strip() for text in out]


def _translator(model: str) -> tuple[Any, Any]:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    from course_lib.finetune.model import quiet

    folder = Path(model).expanduser()
    path = str(folder) if folder.is_dir() else model
    if not folder.is_dir() and (model.count("/") != 1 or model.startswith((".", "/", "~"))):
        raise ModelError(
            "no such model folder",
            where=model,
            next_step="give a folder, or a Hub id such as " + THERE,
        )
    try:
        with quiet(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*sacremoses.*")  # only for odd punctuation
            found = AutoModelForSeq2SeqLM.from_pretrained(path)
            return found.eval(), AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, ImportError) as error:
        line = str(error).strip().splitlines()[0]
        if folder.is_dir():
            raise ModelError(
                f"the translation model could not be loaded ({line})",
                where=path,
                next_step="give a folder with a sequence-to-sequence model and its tokenizer; "
                "MarianMT also needs 'pip install sentencepiece'",
            ) from error
        raise OfflineError(
            f"the translation model {model!r} is not on this machine and could not be fetched",
            got=line,
            next_step=f"where there is a network run 'hf download {model} --local-dir FOLDER', "
            "copy FOLDER here and give its path; or use a method that needs no model: typos, "
            "deletion, synonyms",
        ) from error


def judged(written: Sequence[Written], judge: Judge) -> tuple[list[Written], dict[str, Any]]:
    """Keep the texts that are new, long enough and given the wanted label by a classifier.

    Args:
        written: what a model wrote.
        judge: texts to labels, such as :func:`quick_judge` or a run's predictions.

    Returns:
        The texts that are kept, and counts: ``asked``, ``empty`` (fewer than three words, or
        half as many as the row it came from), ``copies`` (nearly that row, or written twice),
        ``another_label``, ``kept``, and ``acceptance``: of the texts that reached the judge the
        share it accepted; a judge that guesses among k labels accepts about 1/k.
    """
    from rapidfuzz import fuzz

    long_enough = [w for w in written if len(w.text.split()) >= max(3, _half(w.row.text))]
    seen: set[str] = set()
    fresh: list[Written] = []
    for item in long_enough:
        key = normal(item.text)
        if key not in seen and fuzz.ratio(key, normal(item.row.text)) < COPY:
            fresh.append(item)
        seen.add(key)
    labels = list(judge([w.text for w in fresh])) if fresh else []
    kept = [w for w, label in zip(fresh, labels, strict=True) if label == w.label]
    return kept, {
        "asked": len(written),
        "empty": len(written) - len(long_enough),
        "copies": len(long_enough) - len(fresh),
        "another_label": len(fresh) - len(kept),
        "kept": len(kept),
        "acceptance": len(kept) / len(fresh) if fresh else 0.0,
    }


def _half(text: str) -> int:
    return len(text.split()) // 2


def quick_judge(rows: Sequence[Example]) -> Judge:
    """Train TF-IDF with logistic regression on labelled rows; give it as texts to labels."""
    from course_lib.finetune.baselines import tfidf

    model = tfidf().fit([r.text for r in rows], [str(r.label) for r in rows])
    return lambda texts: [str(label) for label in model.predict(list(texts))]


def run_judge(run: Path | str) -> Judge:
    """Give a finished classification run as texts to labels."""
    from course_lib.finetune.runs import predict_run

    return lambda texts: [str(p["prediction"]) for p in predict_run(run, texts)]
