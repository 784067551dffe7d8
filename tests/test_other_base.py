"""Lessons run with another base, of another architecture, swapped in; and without a network."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from course_lib.finetune.model import load_base
from course_lib.teach import regenerate
from course_lib.teach.building import runner


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 with random weights and the course's tokenizer, without a chat template."""
    from transformers import GPT2Config, GPT2LMHeadModel

    _, tokenizer = load_base("embedded", task="language-modeling")
    tokenizer.chat_template = None
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=512, n_embd=48, n_layer=2, n_head=2,
        bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("gpt2")
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("lesson", ["00", "03"])
def test_a_lesson_runs_with_another_architecture(
    lesson: str, gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSE_BASE", str(gpt2))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = regenerate.lesson_sources([lesson])[0]
    book = nbformat.writes(regenerate.read_source(source))
    ran = runner.run(runner.Job(lesson, book, "quick"))
    assert not ran.error, f"cell {ran.cell}: {ran.error}"
    printed = [
        o.get("text", "") for c in nbformat.reads(ran.notebook, 4).cells if c.cell_type == "code"
        for o in c.outputs if o.output_type == "stream"
    ]  # fmt: skip
    count = sum(p.numel() for p in load_base(str(gpt2), task="language-modeling")[0].parameters())
    assert lesson != "00" or any(f"{count:,} parameters" in text for text in printed)
