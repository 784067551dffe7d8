"""Shared fixtures: a tiny base model, trained nowhere, saved as a real folder."""

from __future__ import annotations

from pathlib import Path

import pytest

WORDS = (
    "where is my parcel the zip on the jacket came apart please cancel that order today "
    "thank you for the lovely boots what size should i take my card was charged twice "
)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a 2-layer Llama of width 32 with a context of 64 tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    from course_lib.finetune.pretraining.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = train_tokenizer([WORDS] * 20, vocab_size=320, context=64)
    set_seed(0)
    shape = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
