"""The sampling explorer: its settings mean what generation means by them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from course_lib.errors import DataError, UsageError
from course_lib.show.explorers import sampling

LOGITS = np.array([2.0, 1.5, 0.5, 0.0, -1.0, -3.0])


def test_each_setting_does_what_it_says() -> None:
    plain = sampling.filtered(LOGITS)
    assert plain == pytest.approx(np.exp(LOGITS) / np.exp(LOGITS).sum())
    cold, hot = (sampling.filtered(LOGITS, temperature=t) for t in (0.5, 2.0))
    assert cold[0] > plain[0] > hot[0]
    assert cold[5] < plain[5] < hot[5]
    assert sampling.filtered(LOGITS, temperature=0).tolist() == [1, 0, 0, 0, 0, 0]
    assert (sampling.filtered(LOGITS, top_k=2) > 0).sum() == 2
    half = sampling.filtered(LOGITS, top_p=plain[0] + 1e-9)
    assert (half > 0).tolist() == [True, True, False, False, False, False]
    assert (sampling.filtered(LOGITS, top_p=1e-6) > 0).sum() == 1
    # a penalty can dethrone the leader, and lowers a negative logit too
    again = sampling.filtered(LOGITS, [0, 0, 4], repetition_penalty=2.0)
    assert again.argmax() == 1
    assert again[4] / again[5] < plain[4] / plain[5]


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"top_k": -1}, {"top_p": 0}, {"top_p": 2}, {"repetition_penalty": 0}],
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot be"):
        sampling.filtered(LOGITS, **wrong)


def test_it_is_what_transformers_samples_from() -> None:
    import torch
    from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=1))
    rng = np.random.default_rng(0)
    logits, seen = rng.normal(0, 3, 50), [3, 7, 7, 20]
    settings = itertools.product((0.5, 1.0, 1.7), (0, 5), (0.4, 0.9, 1.0), (1.0, 1.3))
    for temperature, top_k, top_p, penalty in settings:
        given = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        config = GenerationConfig(do_sample=True, repetition_penalty=penalty, **given)
        processors = model._get_logits_processor(
            config, input_ids_seq_length=len(seen), device="cpu", model_kwargs={}
        )
        scores = processors(torch.tensor([seen]), torch.tensor(logits[None]))
        expected = torch.softmax(scores, -1)[0].numpy()
        found = sampling.filtered(logits, seen, repetition_penalty=penalty, **given)
        assert found == pytest.approx(expected, abs=1e-9)


def explorer(written: list[Any]) -> Any:
    def next_token(text: str) -> tuple[np.ndarray, list[int]]:
        if not text:
            raise DataError("an empty prompt", next_step="give at least one word")
        return LOGITS, [0]

    def write(text: str, **settings: Any) -> str:
        if not text:
            raise DataError("an empty prompt", next_step="give at least one word")
        written.append((text, settings))
        return "<b>sand</b>"

    return sampling.sampling_explorer(next_token, lambda i: "abcdef"[i], write, prompt="a <tent>")


def test_the_explorer_follows_its_sliders_and_writes_on_request() -> None:
    written: list[Any] = []
    view = explorer(written)
    box, middle, text = view.children
    knobs, table = middle.children
    *sliders, button = knobs.children
    assert "struck out" not in table.value
    assert not written, "it wrote before it was asked to"
    sliders[1].value = 2
    assert table.value.count("struck out") == 4
    assert "2 of 6 tokens" in table.value
    button.click()
    assert written[-1] == ("a <tent>", {"temperature": 1.0, "top_k": 2, "top_p": 1.0,
                                        "repetition_penalty": 1.0, "seed": 0})  # fmt: skip
    assert "a &lt;tent&gt;" in text.value
    assert "&lt;b&gt;sand" in text.value
    box.value = "a stove"  # Enter in the prompt writes too, and the text stays typed
    assert written[-1][0] == "a stove"
    assert box.value == "a stove"


def test_the_explorer_says_what_is_wrong_and_goes_on() -> None:
    view = explorer([])
    box, middle, text = view.children
    box.value = ""
    assert "an empty prompt" in middle.children[1].value
    assert "an empty prompt" in text.value
    assert not middle.children[0].children[-1].disabled
    box.value = "again"
    assert "sand" in text.value
