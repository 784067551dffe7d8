"""How likely texts are after a prompt: the same alone or together, each prompt read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from course_lib.finetune.generate import log_likelihood
from course_lib.finetune.model import load_base

PROMPTS = (
    "Where is my parcel? It was due on Monday. This is about",
    "Where is my parcel? It was due on Friday. This is about",
    "The zip broke. This is about",
)
LABELS = ("delivery", "a refund", "the quality of a product, and nothing else")
PAIRS = [(prompt, label) for prompt in PROMPTS for label in LABELS]


def of_family(family: str, folder: Path) -> tuple[Any, Any]:
    """The embedded base, or a small random model of another family with its tokenizer."""
    import torch
    import transformers

    if family == "embedded":
        return load_base(task="language-modeling")
    tokenizer = load_base(task="language-modeling")[1]
    small: dict[str, Any] = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2}
    small["initializer_range"] = 0.3  # so that what was read matters
    ends = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    options = {"vocab_size": len(tokenizer), "max_position_embeddings": 128, **small, **ends}
    config = transformers.AutoConfig.for_model(family, **options)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_base(str(folder), task="language-modeling")


@pytest.mark.parametrize("family", ["embedded", "gpt2", "gpt_neox", "bloom", "mamba"])
def test_texts_are_as_likely_together_as_alone(family: str, tmp_path: Path) -> None:
    model, tokenizer = of_family(family, tmp_path)
    alone = [log_likelihood(model, tokenizer, [pair])[0] for pair in PAIRS]
    assert log_likelihood(model, tokenizer, PAIRS) == pytest.approx(alone, abs=1e-3)
    mixed = [*PAIRS[::2], ("On its own", "it stands"), *PAIRS[1::2]]
    found = dict(zip(mixed, log_likelihood(model, tokenizer, mixed), strict=True))
    assert [found[pair] for pair in PAIRS] == pytest.approx(alone, abs=1e-3)
    assert len({round(value, 3) for value in alone}) == len(alone)


def test_a_prompt_of_several_texts_is_read_once() -> None:
    model, tokenizer = load_base(task="language-modeling")
    read = []
    model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    long = "My tent leaks at the seams. " * 8
    log_likelihood(model, tokenizer, [(long, label) for label in LABELS])
    prompt = len(tokenizer(long)["input_ids"])
    longest = max(len(tokenizer(" " + label)["input_ids"]) for label in LABELS)
    assert sum(read) <= prompt + len(LABELS) * (longest + 1)
