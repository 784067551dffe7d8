"""Pre-train a base model: text -> tokenizer -> packed rows -> Llama-type decoder.

The schedule is warm-up, stable, decay on a budget of tokens. The stable part
can always be extended: its checkpoints stay in ``RUN/checkpoints``, while a
*branch* (``decay_from`` a stable checkpoint) decays to a model that can be shipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from course_lib import files
from course_lib.finetune import checkpoint
from course_lib.finetune.history import History, cut_history
from course_lib.finetune.model import quiet
from course_lib.finetune.pretraining import corpus, reading, tokenizer
from course_lib.finetune.pretraining.decoder import (
    PretrainConfig,
    bytes_per_token,
    validation,
)
from course_lib.finetune.pretraining.pretrain_run import Run

MOST_READING = 16_000_000  # tokens of reading tasks made; a longer run passes over them again


def prepare_corpus(config: PretrainConfig, say: Callable[[str], None]) -> tuple[Any, Path]:
    """Train the tokenizer and encode both splits, once; give tokenizer and their folder."""
    from transformers import AutoTokenizer

    folder = Path(config.out) / "tokens"
    parent = Path(config.branch_from).parent / "tokens"
    if config.branch_from and (parent / "facts.json").is_file():
        folder = parent
    facts = folder / "facts.json"
    if facts.is_file() and files.read_json(facts)["data"] == config.data:
        return AutoTokenizer.from_pretrained(folder), folder
    folder.mkdir(parents=True, exist_ok=True)
    say("training the tokenizer")
    docs = corpus.documents(config.data, "train")
    sample = (d for i, d in enumerate(docs) if i % 3 == 0)
    tok = tokenizer.train_tokenizer(sample, vocab_size=config.vocab_size, context=config.context)
    tok.save_pretrained(folder)
    counts: dict[str, Any] = {"data": config.data}
    for split in ("train", "val"):
        say(f"encoding {split}")
        texts = corpus.documents(config.data, split)
        tokens, size = corpus.encode_corpus(texts, tok, folder / f"{split}.bin")
        counts[split] = {"tokens": tokens, "bytes": size}
    files.write_json(facts, counts)
    return tok, folder


def prepare_reading(config: PretrainConfig, tok: Any, say: Callable[[str], None]) -> Path | None:
    """Write the reading tasks a run will need to ``OUT/reading.bin``, once; None without any."""
    if not config.reading_share:
        return None
    path = Path(config.out) / "reading.bin"
    if not path.is_file():
        say("making reading tasks")
        steps = config.steps - config.reading_from
        share = round(config.reading_share * config.rows_per_step)
        wanted = min(MOST_READING, steps * share * config.context + 1)
        docs = corpus.shuffled(corpus.documents(config.data, "train"), config.seed)
        packed = reading.encode_tasks(reading.tasks(docs, config.seed), tok, config.context, wanted)
        files.write_bytes(path, packed.astype("<i4").tobytes())
    return path


def save_base(model: Any, tok: Any, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Save weights (16 bit, shards of at most 15 MB), tokenizer and chat template."""
    import copy

    with files.new_folder(folder) as temporary, quiet():
        small = copy.deepcopy(model).to(dtype)
        small.save_pretrained(temporary, max_shard_size="15MB")
        tok.save_pretrained(temporary)
        checkpoint.write_manifest(temporary)


def pretrain(
    config: PretrainConfig,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
    on_step: Callable[[dict[str, float]], None] = lambda row: None,
) -> dict[str, Any]:
    """Pre-train up to the token budget; give the final validation figures.

    Under torchrun every process takes its share of each step's rows.

    Raises:
        DataError: when the corpus cannot be read.
        CheckpointError: when resuming and nothing verifies for these settings.
        Stopped: after Ctrl-C; the state was saved.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    out = Path(config.out)
    with accelerator.main_process_first():
        tok, tokens_dir = prepare_corpus(config, say)
        tasks = prepare_reading(config, tok, say)
    run = Run(config, accelerator, tokens_dir, tasks, say)
    step = run.start(resume)
    history = out / "history.jsonl"
    if accelerator.is_main_process:
        cut_history(history, step)
    with History(out, accelerator.is_main_process) as log:
        for row in run.steps(step):
            log.write(row)
            on_step(row)
    final: dict[str, Any] = {}
    if accelerator.is_main_process:
        model = run.plain
        final = validation(model, run.val, run.val.rows, bytes_per_token(tokens_dir))
        save_base(model, tok, out / "model")
        settings = asdict(config)
        files.write_json(
            out / "pretrain.json",
            {
                "settings": settings,
                "validation": final,
                "tokens": config.steps * config.tokens_per_step,
                "parameters": sum(p.numel() for p in model.parameters()),
                "corpus": files.read_json(tokens_dir / "facts.json"),
            },
        )
    return final
