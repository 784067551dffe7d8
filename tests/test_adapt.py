"""LoRA, freezing and cached features: what they change, and what they must not change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from course_lib.errors import ModelError, StorageError, UnknownNameError, UsageError
from course_lib.finetune import adapt, cached, data, flat, prepare, recipe, runs
from course_lib.finetune.model import count_parameters, freeze, load_base
from course_lib.finetune.records import Example, Prepared, TrainConfig, TrainResult
from course_lib.finetune.splits import sample
from course_lib.finetune.tradeoffs import ways
from course_lib.finetune.train import train

TICKETS = data.load("classification", "support_tickets")
ROWS = sample(TICKETS.train, 24, 0)
HELD_OUT = sample(TICKETS.validation, 16, 0)
KINDS = ("classification", "language-modeling", "question-answering-span", "token-classification")


def as_any(row: Example) -> Example:
    """Give a ticket as a row of every task."""
    words = tuple(row.text.split()[:12])
    text = " ".join(words)
    return Example(
        id=row.id, text=text, label=row.label, question="what?", answers=(words[1],),
        answer_starts=(len(words[0]) + 1,), tokens=words,
        tags=tuple("B-LONG" if len(w) > 6 else "O" for w in words),
    )  # fmt: skip


@pytest.fixture(scope="module")
def tiny_gpt2(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a 2-layer GPT-2 of width 32, without dropout."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, set_seed

    folder = tmp_path_factory.mktemp("gpt2")
    set_seed(0)
    shape = GPT2Config(
        vocab_size=320, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0,
        eos_token_id=0, pad_token_id=1, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    GPT2LMHeadModel(shape).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(folder)
    return folder


def load(base: Path, kind: str = "classification") -> tuple[Any, Any]:
    labels = ("B-LONG", "O") if kind == "token-classification" else TICKETS.labels
    # A shift of all start or end scores changes nothing, so a span head's biases have no
    # gradient but rounding, which AdamW blows up to whole steps: there only float64 can agree.
    dtype = torch.float64 if kind.endswith("span") else torch.float32
    return load_base(str(base), task=kind, labels=labels, dtype=dtype)


def encoded(tokenizer: Any, kind: str = "classification") -> tuple[Prepared, Prepared]:
    labels = ("B-LONG", "O") if kind == "token-classification" else TICKETS.labels
    first, second = (
        prepare.encode(kind, [as_any(r) for r in part], tokenizer, 64, labels)
        for part in (ROWS, HELD_OUT)
    )
    return first, second


def config(**changed: Any) -> TrainConfig:
    """Give settings with several passes a step, so that batches are padded differently."""
    return TrainConfig(
        **{"epochs": 2, "batch_size": 8, "tokens_per_batch": 256, "precision": "float32"} | changed
    )


def same(one: tuple[TrainResult, Any], other: tuple[TrainResult, Any]) -> None:
    """Compare two runs: losses of every step and validation, and all weights, to 1e-5."""
    for key in ("loss", "validation_loss", "validation_accuracy"):
        first, second = ([row[key] for row in r.history if key in row] for r, _ in (one, other))
        assert first or key == "validation_accuracy"
        np.testing.assert_allclose(second, first, rtol=0, atol=1e-5)
    weights, others = one[1].state_dict(), other[1].state_dict()
    assert list(weights) == list(others)
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, rtol=0, atol=1e-5, msg=name)


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    batch = tokenizer(
        [r.text for r in ROWS], padding=True, truncation=True, max_length=64, return_tensors="pt"
    )
    with torch.no_grad():
        found: torch.Tensor = model.eval()(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
    return found


@pytest.mark.parametrize("family", ["tiny_base", "tiny_gpt2"])
@pytest.mark.parametrize("targets", ["attention", "all"])
def test_merged_weights_give_the_same_logits(
    family: str, targets: str, request: pytest.FixtureRequest
) -> None:
    model, tokenizer = load(request.getfixturevalue(family))
    whole, untouched = count_parameters(model)[0], logits(model, tokenizer)
    adapter = adapt.add_lora(model, rank=4, targets=targets)
    assert torch.equal(logits(model, tokenizer), untouched), "B is zero at the start"
    sizes = {
        ("tiny_base", "attention"): 2 * 4 * 4 * (32 + 32),
        ("tiny_base", "all"): 2 * 4 * (4 * (32 + 32) + 3 * (32 + 64)),
        ("tiny_gpt2", "attention"): 2 * 4 * ((32 + 96) + (32 + 32)),
        ("tiny_gpt2", "all"): 2 * 4 * ((32 + 96) + (32 + 32) + 2 * (32 + 128)),
    }
    assert count_parameters(model)[1] == sizes[family, targets] + 32 * len(TICKETS.labels)
    result = train(model, *encoded(tokenizer), config(learning_rate=1e-2), pad_id=1)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    apart = logits(model, tokenizer)
    assert float((apart - untouched).abs().max()) > 0.1
    assert adapt.merge(adapter) is model
    torch.testing.assert_close(logits(model, tokenizer), apart, rtol=0, atol=1e-5)
    assert count_parameters(model)[0] == whole, "nothing of the adapter is left"


@pytest.mark.parametrize("family", ["tiny_base", "tiny_gpt2"])
def test_a_lora_run_keeps_model_and_adapter(
    family: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    import peft
    from transformers import AutoModelForSequenceClassification

    base, out = request.getfixturevalue(family), tmp_path / "run"
    settings = {"adapter": "lora", "lora_rank": 8, "epochs": 1, "train_rows": 24, "test_rows": 16}
    run = recipe.finetune(
        "classification", "support_tickets", base=str(base), settings=settings, out=out
    )
    assert run["settings"]["lora_rank"] == {"value": 8, "reason": "given"}
    assert run["settings"]["learning_rate"]["value"] == pytest.approx(5e-3)
    assert run["base"]["trainable"] < run["base"]["parameters"]
    merged, tokenizer = runs.load_run(out)
    assert run["base"]["parameters"] == count_parameters(merged)[0]
    plain = AutoModelForSequenceClassification.from_pretrained(out / "model")
    assert torch.equal(logits(plain, tokenizer), logits(merged, tokenizer))
    fresh, _ = load(base)
    beside = peft.PeftModel.from_pretrained(fresh, out / "adapter")
    torch.testing.assert_close(
        logits(beside, tokenizer), logits(merged, tokenizer), rtol=0, atol=1e-5
    )
    facts = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert facts["base_model_name_or_path"] == base.name, "no path of this machine"
    assert facts["fan_in_fan_out"] is (family == "tiny_gpt2")
    again = runs.evaluate_run(out, "support_tickets").metrics["accuracy"]
    assert 0 <= again <= 1
    settings["adapter"] = "none"
    recipe.finetune("classification", "support_tickets", base=str(base), settings=settings, out=out)
    assert not (out / "adapter").exists()


def test_lora_needs_settings_that_can_work(tiny_base: Path) -> None:
    model, _ = load(tiny_base)
    with pytest.raises(UsageError, match="got rank 0, alpha 16"):
        adapt.add_lora(model, rank=0)
    with pytest.raises(UnknownNameError, match=r"unknown LoRA target 'qproj'") as no:
        adapt.add_lora(model, targets="v_proj,qproj")
    assert "q_proj" in no.value.close
    with pytest.raises(UsageError, match="expected a number from 0 to 1: this base has 2 layers"):
        adapt.add_lora(model, first_layer=2)
    model.model.layers[0].self_attn = model.model.layers[1].self_attn = torch.nn.Linear(2, 2)
    with pytest.raises(ModelError, match="matrices of this architecture are not known by name"):
        adapt.add_lora(model)
    known = {"base": str(tiny_base), "profile": "quick"}
    for settings, said in (
        ({"adapter": "lora", "freeze": "base"}, "adapter=lora trains beside the layers"),
        ({"adapter": "lora", "freeze": "2"}, "no layer is left to adapt"),
        ({"adapter": "lora", "freeze": "9"}, "cannot freeze '9'; expected none, base or a number"),
        ({"freeze": "3", "features": "cached"}, "cannot freeze '3'.* up to 2"),
        ({"features": "cached"}, "no layer is frozen.* this base has 2 layers"),
        ({"lora_rank": 0}, "lora_rank must be at least 1"),
        ({"adapter": "lore"}, "unknown adapter 'lore'"),
        ({"features": "kept"}, "unknown features 'kept'"),
    ):
        with pytest.raises(UsageError, match=said):
            recipe.finetune("classification", "support_tickets", settings=settings, **known)


# GPT-2's token classifier is left out: its dropout stands in the head alone.
BOTH = [("tiny_base", kind) for kind in KINDS]
BOTH += [("tiny_gpt2", kind) for kind in KINDS if kind != "token-classification"]


@pytest.mark.parametrize(("family", "kind"), BOTH)
def test_cached_features_change_nothing(
    kind: str, family: str, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue(family)
    found = []
    for trainer in (train, cached.train_cached):
        model, tokenizer = load(base, kind)
        freeze(model, "1")
        before = list(model.state_dict())
        found.append((trainer(model, *encoded(tokenizer, kind), config(), pad_id=1), model))
        assert list(model.state_dict()) == before
    same(*found)


def test_cached_features_of_the_embedded_base_save_time() -> None:
    found = []
    for trainer in (train, cached.train_cached):
        model, tokenizer = load_base(task="classification", labels=TICKETS.labels)
        freeze(model, "base")
        coded = prepare.classification(ROWS, tokenizer, 512, TICKETS.labels)
        found.append((trainer(model, coded, coded, config(epochs=4), pad_id=1), model))
    same(*found)
    assert found[1][0].seconds < found[0][0].seconds


def test_cached_features_through_the_recipe(tiny_base: Path, tmp_path: Path) -> None:
    settings = {"freeze": "1", "epochs": 2, "train_rows": 24, "validation_rows": 16,
                "test_rows": 16, "precision": "float32"}  # fmt: skip
    found: list[Any] = []
    said: list[str] = []
    for features in ("fresh", "cached"):
        out = tmp_path / features
        run = recipe.finetune(
            "classification", "support_tickets", base=str(tiny_base), out=out, say=said.append,
            settings={**settings, "features": features},
        )  # fmt: skip
        history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
        found.append((TrainResult(run["steps"], 0, 0.0, 0, tuple(history)), runs.load_run(out)[0]))
    same(*found)
    assert [s for s in said if s.startswith("the lowest 1 layers run once over")]


def test_cached_features_go_with_lora_above(tiny_base: Path) -> None:
    found = []
    for trainer in (train, cached.train_cached):
        model, tokenizer = load(tiny_base)
        adapt.add_lora(model, rank=4, first_layer=1, dropout=0.1)
        assert cached.frozen_depth(model) == 1
        found.append((trainer(model, *encoded(tokenizer), config(), pad_id=1), model))
    same(*found)


def test_many_hidden_states_lie_in_a_file(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load(tiny_base)
    freeze(model, "base")
    parts = encoded(tokenizer)
    tokens = sum(len(p.ids) for p in parts)
    states = []
    for most in (flat.SPILL, 2000):
        monkeypatch.setattr(flat, "SPILL", most)
        with cached.reuse(model, *parts, pad_id=1) as kept:
            assert (kept.layers, kept.bytes) == (2, tokens * 32 * 4)
            states.append(model.model.layers[1].memory.states)
    assert isinstance(states[1], np.memmap) and not isinstance(states[0], np.memmap)
    assert states[1].dtype == np.float32 and states[1].shape == (tokens, 32)
    np.testing.assert_array_equal(states[0], states[1])
    with pytest.raises(StorageError, match=r"take 1000000000\.0 GB of disk; got .* GB free"):
        cached._room_for(10**18)


def test_a_stopped_cached_run_goes_on_without_the_cache(tiny_base: Path, tmp_path: Path) -> None:
    found = []
    for stop in (False, True):
        model, tokenizer = load(tiny_base)
        freeze(model, "1")
        parts, settings = encoded(tokenizer), config(save_every_seconds=0.0)
        if stop:

            def power_cut(row: Any) -> None:
                if row["step"] == 4:
                    raise RuntimeError("power cut")

            with pytest.raises(RuntimeError, match="power cut"):
                cached.train_cached(
                    model, *parts, settings, pad_id=1, out=tmp_path, on_step=power_cut
                )
            assert isinstance(model.get_input_embeddings(), torch.nn.Embedding), "whole again"
            model, _ = load(tiny_base)
            freeze(model, "1")
            result = train(model, *parts, settings, pad_id=1, out=tmp_path, resume=True)
        else:
            result = train(model, *parts, settings, pad_id=1)
        found.append((result, model))
    same(*found)


def test_cached_features_are_refused_where_they_would_change(
    tiny_base: Path, tiny_gpt2: Path
) -> None:
    model, tokenizer = load(tiny_base)
    parts = encoded(tokenizer)

    def refused(model: Any, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            cached.train_cached(model, *parts, config(), pad_id=1)

    refused(model, "no layer is frozen.* expected freeze from 1 to 2, or base")
    freeze(model, "1")
    embedding = model.get_input_embeddings()
    embedding.weight.requires_grad_(True)
    refused(model, r"below layer 1 something is trained.* got model\.embed_tokens\.weight")
    embedding.weight.requires_grad_(False)

    def noise(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output + torch.randn_like(output) * 1e-3 if module.training else output

    handle = embedding.register_forward_hook(noise)
    refused(model, "below layer 1 something is random.* got noise on the embeddings")
    handle.remove()
    cached.train_cached(model, *parts, config(), pad_id=1)
    model, _ = load(tiny_gpt2)
    freeze(model, "1")
    assert not model.transformer.wpe.weight.requires_grad, "learned places are below too"
    model.transformer.h[0].mlp.dropout.p = 0.1
    refused(model, r"below layer 1 something is random.* got transformer\.h\.0\.mlp\.dropout")
    model.transformer.h[0].mlp.dropout.p = 0.0
    model.transformer.h[1].mlp.dropout.p = 0.1
    cached.train_cached(model, *parts, config(), pad_id=1)


def test_an_architecture_that_cannot_start_at_a_layer_is_refused(tiny_base: Path) -> None:
    model, tokenizer = load(tiny_base)
    freeze(model, "1")

    class Skip(torch.nn.Module):
        """A layer that reads the embedding once more, past the layers below."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, hidden: torch.Tensor, *args: Any, **options: Any) -> Any:
            places = torch.arange(hidden.shape[1])[None]
            more = model.get_input_embeddings()(places)
            return self.layer(hidden + more, *args, **options)

    model.model.layers[1] = Skip(model.model.layers[1])
    with pytest.raises(ModelError, match="gives something else when started from a layer"):
        cached.train_cached(model, *encoded(tokenizer), config(), pad_id=1)


def test_ways_side_by_side(tiny_base: Path) -> None:
    said: list[str] = []
    found = ways.compare_ways(
        base=str(tiny_base), rows=(24,), seeds=(0,), freeze=1, ways=("cached", "lora"),
        settings={"epochs": 1, "lora_rank": 2, "test_rows": 40}, say=said.append,
    )  # fmt: skip
    assert [(w.way, w.rows, w.seed) for w in found] == [("cached", 24, 0), ("lora", 24, 0)]
    assert found[1].trainable < found[0].trainable
    assert all(w.seconds > 0 and w.memory_bytes >= 0 and 0 <= w.accuracy <= 1 for w in found)
    assert len(said) == 2
    table = ways.markdown(found).splitlines()
    assert len(table) == 4 and table[3].startswith(f"| 24 | lora | {found[1].trainable:,} | ")
    with pytest.raises(UnknownNameError, match="unknown way to fine-tune 'lore'"):
        ways.compare_ways(ways=("lore",))
