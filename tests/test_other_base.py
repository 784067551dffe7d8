"""Lessons run with another base, of another architecture, swapped in; and without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from course_lib.finetune.model import load_base
from course_lib.teach import regenerate
from course_lib.teach.building import runner

LESSONS = [path.name[:2] for path in regenerate.lesson_sources([])]
SOON = {("00", "gpt2"), ("03", "gpt_neox")}  # in `make test`; `make outside` runs them all


def small_model(architecture: str, tokenizer: Any) -> Any:
    """Give a model with random weights: 2 layers, 48 wide, 512 tokens of context."""
    from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig

    ids = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config: Any = (
        GPT2Config(
            vocab_size=len(tokenizer), n_positions=512, n_embd=48, n_layer=2, n_head=2, **ids
        )
        if architecture == "gpt2"
        else GPTNeoXConfig(
            vocab_size=len(tokenizer), max_position_embeddings=512, hidden_size=48,
            num_hidden_layers=2, num_attention_heads=2, intermediate_size=96, **ids,
        )
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of small models, each with the course's tokenizer and without a chat template."""
    _, tokenizer = load_base("embedded", task="language-modeling")
    tokenizer.chat_template = None
    folders = {}
    for architecture in ("gpt2", "gpt_neox"):
        folders[architecture] = tmp_path_factory.mktemp(architecture)
        small_model(architecture, tokenizer).save_pretrained(folders[architecture])
        tokenizer.save_pretrained(folders[architecture])
    return folders


@pytest.mark.parametrize(
    ("lesson", "architecture"),
    [
        pytest.param(n, a, marks=() if (n, a) in SOON else pytest.mark.outside)
        for n in LESSONS
        for a in ("gpt2", "gpt_neox")
    ],
)
def test_a_lesson_runs_with_another_architecture(
    lesson: str, architecture: str, bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = str(bases[architecture])
    monkeypatch.setenv("COURSE_BASE", base)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = regenerate.lesson_sources([lesson])[0]
    book = nbformat.writes(regenerate.read_source(source))
    ran = runner.run(runner.Job(lesson, book, "quick"))
    assert not ran.error, f"cell {ran.cell}: {ran.error}"
    printed = [
        o.get("text", "") for c in nbformat.reads(ran.notebook, 4).cells if c.cell_type == "code"
        for o in c.outputs if o.output_type == "stream"
    ]  # fmt: skip
    count = sum(p.numel() for p in load_base(base, task="language-modeling")[0].parameters())
    assert lesson != "00" or any(f"{count:,} parameters" in text for text in printed)
