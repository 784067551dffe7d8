"""Token probabilities, attention and text vectors of the embedded base, on real tickets."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from course_lib.errors import DataError, ModelError, UsageError
from course_lib.finetune import generate
from course_lib.finetune.examine import inspect_model, slices
from course_lib.finetune.model import close_texts, load_base
from course_lib.finetune.prepare import TOPIC_PROMPT
from course_lib.show import diagnosis


@cache
def base() -> tuple[Any, Any]:
    return load_base("embedded", task="language-modeling")


@cache
def texts() -> list[str]:
    rows = slices.columns_of("support_tickets").values()
    return [r["text"] for r in rows if r["id"].startswith("test-")][:12]


def test_token_probabilities_are_the_models_own() -> None:
    model, tokenizer = base()
    text = texts()[0]
    found = inspect_model.token_probabilities(model, tokenizer, text)
    assert "".join(t.text for t in found) == text
    nats = -sum(np.log(t.probability) for t in found)
    end = tokenizer.decode([tokenizer.eos_token_id])
    ids = [tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]
    with torch.no_grad():
        loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss
    assert nats / len(found) == pytest.approx(float(loss), abs=1e-4), end
    for token in found:
        likely = [p for _, p in token.alternatives]
        assert len(likely) == 5 and likely == sorted(likely, reverse=True)
        assert (token.rank == 1) == (token.probability == pytest.approx(likely[0]))
        assert 0 <= token.entropy <= np.log2(model.config.vocab_size)


def test_a_plain_sentence_is_less_surprising_than_its_words_shuffled() -> None:
    model, tokenizer = base()

    def mean(text: str) -> float:
        found = inspect_model.token_probabilities(model, tokenizer, text, alternatives=1)
        return float(np.mean([np.log(t.probability) for t in found]))

    assert mean("The train leaves at nine in the morning.") > mean(
        "nine morning leaves. the at in train The"
    )
    prompt = "The capital of"
    said = generate.complete(model, tokenizer, [prompt], max_new_tokens=3)[0]
    after = inspect_model.token_probabilities(model, tokenizer, f"{prompt} {said}")
    assert after[len(tokenizer(prompt)["input_ids"])].rank <= 3


def test_a_classifier_gives_no_token_probabilities(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), task="classification", labels=["a", "b"])
    with pytest.raises(ModelError, match="no next-token probabilities; got LlamaForSequence"):
        inspect_model.token_probabilities(model, tokenizer, "where is my parcel")


def test_attention_is_a_distribution_over_what_came_before() -> None:
    model, tokenizer = base()
    kept = model.config._attn_implementation
    found = inspect_model.attention(model, tokenizer, texts()[1])
    seq = len(found.tokens)
    assert found.weights.shape == (4, 4, seq, seq)
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-5)
    assert np.all(np.triu(found.weights, 1) == 0), "no head looks ahead"
    assert model.config._attn_implementation == kept
    one = inspect_model.head_of(found, 3, 0)
    np.testing.assert_array_equal(one, found.weights[3, 0])
    assert diagnosis.attention(found.tokens, one).axes[0].get_xlabel() == "looked at"


def test_attention_weights_are_those_the_layer_computes_with() -> None:
    """The first layer's attention, from its own projections by the formula of the paper."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    model, tokenizer = base()
    ids = torch.tensor([tokenizer(texts()[2])["input_ids"]])
    found = inspect_model.attention(model, tokenizer, texts()[2])
    body = model.model
    with torch.no_grad():
        hidden = body.embed_tokens(ids)
        turns = body.rotary_emb(hidden, torch.arange(ids.shape[1])[None])
        layer = body.layers[0]
        normed = layer.input_layernorm(hidden)
        query, key = (
            p(normed).view(1, -1, 4, 64).transpose(1, 2)
            for p in (layer.self_attn.q_proj, layer.self_attn.k_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, *turns)
        scores = query @ key.transpose(2, 3) / 8.0
        ahead = torch.ones_like(scores).triu(1).bool()
        expected = scores.masked_fill(ahead, -torch.inf).softmax(-1)
    np.testing.assert_allclose(found.weights[0], expected[0].numpy(), atol=1e-5)


def test_a_classifiers_attention_shows_its_closing_words() -> None:
    model, tokenizer = load_base("embedded", task="classification", labels=["a", "b"])
    close_texts(tokenizer, TOPIC_PROMPT)
    found = inspect_model.attention(model, tokenizer, "My zip broke.")
    assert "".join(found.tokens) == "My zip broke." + TOPIC_PROMPT


def test_vectors_do_not_depend_on_the_neighbours_in_the_batch() -> None:
    model, tokenizer = base()
    together = inspect_model.embed(model, tokenizer, texts())
    assert together.shape == (12, 256) and together.dtype == np.float32
    for i in (0, 5):
        alone = inspect_model.embed(model, tokenizer, [texts()[i]])[0]
        np.testing.assert_allclose(together[i], alone, atol=2e-4)
    with pytest.raises(DataError, match="text 2: an empty text"):
        inspect_model.embed(model, tokenizer, ["a", " "])


def test_a_gpt2_shaped_model_is_looked_into_the_same_way(tiny_base: Path) -> None:
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    shape = GPT2Config(
        vocab_size=320, n_embd=32, n_layer=3, n_head=2, n_positions=64, bos_token_id=0,
        eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    model = GPT2LMHeadModel(shape).eval()
    found = inspect_model.attention(model, tokenizer, "where is my parcel")
    assert found.weights.shape[:2] == (3, 2)
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-5)
    assert inspect_model.embed(model, tokenizer, ["zip", "my boots"]).shape == (2, 32)
    read = inspect_model.token_probabilities(model, tokenizer, "where is my parcel")
    assert "".join(t.text for t in read) == "where is my parcel"


def test_what_cannot_be_looked_at_is_refused(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), task="language-modeling")
    found = inspect_model.attention(model, tokenizer, "where is my parcel")
    with pytest.raises(UsageError, match="there is no layer 2; got 2 layers; expected 0 to 1"):
        inspect_model.head_of(found, 2, 0)
    with pytest.raises(UsageError, match="there is no head -1; got 2 heads; expected 0 to 1"):
        inspect_model.head_of(found, 0, -1)
    long = "the zip on the jacket " * 40
    with pytest.raises(DataError, match=r"longer than the model's context; got .* at most 64"):
        inspect_model.attention(model, tokenizer, long)
    with pytest.raises(DataError, match="expected at most 63"):
        inspect_model.token_probabilities(model, tokenizer, long)
    with pytest.raises(DataError, match="an empty text"):
        inspect_model.attention(model, tokenizer, "  ")
    with pytest.raises(UsageError, match="this many alternatives; got 0; expected 1 to 320"):
        inspect_model.token_probabilities(model, tokenizer, "zip", alternatives=0)


def test_tokens_are_shown_with_their_probability() -> None:
    model, tokenizer = base()
    found = inspect_model.token_probabilities(model, tokenizer, texts()[3])
    view = diagnosis.tokens([(t.text, t.probability, t.rank, t.alternatives) for t in found])
    assert view.data.count("<span") == len(found)
    assert f"rank {found[1].rank};" in view.data
