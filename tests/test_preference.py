"""Preference tuning: encoding, the win rate against TRL's own figures, and a DPO run."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from course_lib import files
from course_lib.errors import DataError, ModelError, Stopped, UnknownNameError, UsageError
from course_lib.finetune import generate, lineage, recipe, runs
from course_lib.finetune.feedback import dpo, dpo_step, preference
from course_lib.finetune.feedback import ratings as feedback
from course_lib.finetune.feedback.ratings import Pair
from course_lib.finetune.model import context_of, load_base

BETA = {name: value for name, (value, _) in dpo_step.SETTINGS.items()}


def openings(count: int) -> list[Pair]:
    """Give the beginnings of course pairs, short enough for the tiny base's context."""
    pairs = feedback.load_pairs("preferences").train
    return [
        Pair(p.id, p.prompt[:30], p.chosen[:24], p.rejected[:16], p.reason)
        for p in pairs
        if p.chosen[:16] != p.rejected[:16]
    ][:count]


def shifted(model: Any, seed: int = 0) -> Any:
    """Give a copy of a model with other weights: a policy that has moved."""
    draw = torch.Generator().manual_seed(seed)
    policy = copy.deepcopy(model)
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=draw)
    return policy


@pytest.mark.parametrize("chat", [True, False])
def test_course_pairs_are_encoded_in_the_format_the_model_knows(chat: bool) -> None:
    model, tokenizer = load_base(task="completion")
    pairs = feedback.load_pairs("preferences").test
    coded = preference.encode_pairs(pairs, tokenizer, context_of(model), chat=chat)
    assert len(coded.pairs) == len(coded.rows) == 45 and coded.cut == coded.dropped == 0
    coded = preference.encode_pairs(pairs[:8], tokenizer, context_of(model), chat=chat)
    prompt, chosen, rejected = (
        tokenizer.decode(coded.rows[0][n]) for n in ("prompt_ids", "chosen_ids", "rejected_ids")
    )
    if chat:
        assert prompt == f"<|user|>{pairs[0].prompt}<|end|><|assistant|>"
        assert (chosen, rejected) == (pairs[0].chosen + "<|end|>", pairs[0].rejected + "<|end|>")
    else:
        assert prompt == pairs[0].prompt
        assert chosen == f" {pairs[0].chosen}<|endoftext|>"
    found = preference.log_probs(model, tokenizer, coded)
    row = coded.rows[7]
    ids = torch.tensor([row["prompt_ids"] + row["chosen_ids"]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0].double().log_softmax(-1)
    start = len(row["prompt_ids"])
    by_hand = sum(float(logits[t - 1, ids[0, t]]) for t in range(start, ids.shape[1]))
    assert found.shape == (8, 2) and found[7, 0] == pytest.approx(by_hand, abs=1e-3)
    if not chat:  # the library's own scoring, without the end-of-text token
        given = generate.log_likelihood(model, tokenizer, [(pairs[7].prompt, pairs[7].chosen)])
        assert given[0] == pytest.approx(by_hand - float(logits[-2, ids[0, -1]]), abs=1e-3)


def test_the_win_rate_is_trls_reward_accuracy(tiny_base: Path, tmp_path: Path) -> None:
    reference, tokenizer = load_base(str(tiny_base), task="completion")
    policy = shifted(reference)
    pairs = openings(24)
    coded = preference.encode_pairs(pairs, tokenizer, context_of(policy))
    found = preference.win_rate(policy, reference, tokenizer, pairs)
    trainer = dpo_step.make_trainer(
        policy, reference, tokenizer, {"train": coded, "validation": coded},
        {**BETA, "batch_size": 24}, 0, str(tmp_path),
    )  # fmt: skip
    theirs = trainer.evaluate()  # 24 pairs, in two batches of 12
    assert theirs["eval_rewards/accuracies"] == pytest.approx(found.metrics["win_rate"], abs=1e-5)
    margin = theirs["eval_rewards/margins"] / BETA["beta"]
    assert margin == pytest.approx(found.metrics["margin"], abs=1e-5)
    sums = (
        preference.log_probs(reference, tokenizer, coded),
        preference.log_probs(policy, tokenizer, coded),
    )
    assert theirs["eval_logps/chosen"] == pytest.approx(sums[1][:, 0].mean(), abs=1e-4)
    gain = BETA["beta"] * (sums[1] - sums[0])
    loss = np.log1p(np.exp(-(gain[:, 0] - gain[:, 1]))).mean()
    assert theirs["eval_loss"] == pytest.approx(loss, abs=1e-5)
    assert 0 < found.metrics["win_rate"] < 1, "a comparison of 0 with 0 would prove nothing"


def test_a_policy_that_is_its_reference_wins_half(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), task="completion")
    found = preference.win_rate(model, model, tokenizer, openings(10)).metrics
    assert found["win_rate"] == found["win_rate_normalised"] == 0.5 and found["margin"] == 0
    assert found["win_rate_interval"] == [0.5, 0.5]


def test_length_is_taken_out_of_the_second_figure() -> None:
    pairs = (Pair("a", "p", "b", "c"), Pair("b", "p", "b", "c"))
    rows = tuple(
        {"prompt_ids": [1], "chosen_ids": [2] * long, "rejected_ids": [3] * 2} for long in (8, 2)
    )
    coded = preference.EncodedPairs(pairs, rows, 0, 0)
    # the long reply gained 4 nats over 8 tokens, its rival 2 nats over 2: more, but less a token
    ours, theirs = np.array([[-4.0, -2.0], [-1.0, -2.0]]), np.array([[-8.0, -4.0], [-2.0, -2.0]])
    found = preference.compare_log_probs(coded, ours, theirs)
    assert found.metrics["win_rate"] == 1.0 and found.metrics["win_rate_normalised"] == 0.5
    assert found.metrics["likelier"] == 1.0 and found.metrics["margin"] == 1.5
    assert found.metrics["chosen_nats"] == 0.5, "5 nats over 10 tokens"
    assert [p["id"] for p in found.predictions] == ["a", "b"]


def test_long_texts_are_cut_or_left_out_and_counted(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), task="completion")
    fits, other = openings(2)
    long_prompt = Pair("long-prompt", "boots " * 200 + "size?", fits.chosen, fits.rejected)
    long_reply = Pair("long-reply", fits.prompt, "boots " * 200, fits.rejected)
    coded = preference.encode_pairs([fits, long_prompt, long_reply, other], tokenizer, 64)
    assert [p.id for p in coded.pairs] == [fits.id, "long-prompt", other.id]
    assert (coded.cut, coded.dropped) == (1, 1)
    row = coded.rows[1]
    assert len(row["prompt_ids"]) + len(row["chosen_ids"]) == 64
    assert tokenizer.decode(row["prompt_ids"]).endswith("size?<|end|><|assistant|>")
    found = preference.win_rate(model, model, tokenizer, [fits, long_prompt, long_reply])
    assert (found.metrics["pairs"], found.metrics["cut"], found.metrics["dropped"]) == (2, 1, 1)
    with pytest.raises(DataError, match="no preference pair fits the context"):
        preference.encode_pairs([long_reply], tokenizer, 64)
    with pytest.raises(DataError, match="there are no preference pairs"):
        preference.encode_pairs([], tokenizer, 64)
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="this tokenizer has no chat template"):
        preference.encode_pairs([fits], tokenizer, 64, chat=True)


def test_baselines_know_no_language_model() -> None:
    found = feedback.load_pairs("preferences")
    table = preference.pair_baselines(found.train, found.validation)
    assert set(table) == {"shorter", "tfidf"}
    assert 0.3 < table["shorter"]["win_rate"] < 0.7, "the set was made so that length tells little"
    assert table["tfidf"]["win_rate"] > 0.6
    with pytest.raises(DataError, match="there are no preference pairs"):
        preference.pair_baselines(found.train, [])


def test_a_dpo_run_learns_and_is_a_run_like_others(tmp_path: Path) -> None:
    """A few course pairs, learnt by heart by the embedded base: the win rate on them rises."""
    pairs = feedback.load_pairs("preferences").train[:8]
    folder = tmp_path / "few"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        feedback.save_pairs(pairs, folder / f"{split}.jsonl")
    # the same pairs in every split: left out of train by the guard against leakage
    with pytest.raises(DataError, match="no train rows are left"):
        dpo.dpo(str(folder), out=tmp_path / "none")
    for split in ("validation", "test"):
        held = [Pair(p.id, f"{p.prompt} Thanks.", p.chosen, p.rejected) for p in pairs]
        feedback.save_pairs(
            [Pair(p.id, p.prompt + (" Bye." if split == "test" else ""), p.chosen, p.rejected)
             for p in held], folder / f"{split}.jsonl",
        )  # fmt: skip
    said: list[str] = []
    seen: list[float] = []
    out = tmp_path / "run"
    run = dpo.dpo(
        str(folder), out=out, settings={"epochs": 2, "batch_size": 4, "learning_rate": "2e-4"},
        say=said.append, on_step=lambda row: seen.append(row["steps"]),
    )  # fmt: skip
    assert json.loads((out / "run.json").read_text()) == run
    assert run["metrics"]["before"]["win_rate"] == 0.5
    assert run["metrics"]["after"]["win_rate"] > 0.8 and run["metrics"]["after"]["margin"] > 1
    assert run["kept_epoch"] == 2 and run["steps"] == 4 and seen == [4, 4, 4, 4]
    assert [s for s in said if s.startswith("about ") and s.endswith(" s for 4 steps")]
    history = [row for _, row in files.read_jsonl(out / "history.jsonl")]
    assert [row["step"] for row in history] == [1, 2, 3, 4]
    assert history[3]["validation_loss"] < history[1]["validation_loss"] < np.log(2)
    assert run["settings"]["beta"]["reason"] and run["settings"]["epochs"]["reason"] == "given"
    model, tokenizer = runs.load_run(out)
    reference, _ = load_base(task="completion")
    again = preference.win_rate(model, reference, tokenizer, feedback.load_pairs(str(folder)).test)
    assert again.metrics["win_rate"] == run["metrics"]["after"]["win_rate"]
    assert runs.predict_run(out, ["where is my parcel"])[0]["prediction"] is not None
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_run_on_a_run_names_its_parents(tiny_base: Path, tmp_path: Path) -> None:
    lines = [{"prompt": p.prompt, "completion": p.chosen} for p in openings(40)]
    data = tmp_path / "replies.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in lines))
    recipe.finetune(
        "completion", str(data), base=str(tiny_base), settings={"epochs": 1}, out=tmp_path / "sft"
    )
    feedback.save_pairs(openings(40), tmp_path / "pairs.jsonl")
    run = dpo.dpo(
        str(tmp_path / "pairs.jsonl"), base=str(tmp_path / "sft"), out=tmp_path / "dpo",
        settings={"epochs": 1, "train_rows": 8}, chat=False,
    )  # fmt: skip
    assert run["data"]["rows"]["train"] == 8 and run["steps"] == 1
    assert [(p["name"], p["task"]) for p in run["parents"]] == [("sft", "completion")]
    chain = lineage.lineage(tmp_path / "dpo")
    assert [c["name"] for c in chain] == ["dpo", "sft", tiny_base.name]
    assert all(c["verified"] for c in chain[:2])
    rows = [{"text": p.prompt, "label": "ab"[i % 2]} for i, p in enumerate(openings(40))]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe.finetune(
        "classification", str(data), base=str(tiny_base), settings={"epochs": 1},
        out=tmp_path / "classes",
    )  # fmt: skip
    with pytest.raises(ModelError, match="preferences need a model that writes text"):
        dpo.dpo("preferences", base=str(tmp_path / "classes"))


def test_a_run_of_one_step_moves_the_model(tiny_base: Path, tmp_path: Path) -> None:
    """TRL rounds the warm-up up: its only step would come at a learning rate of zero."""
    feedback.save_pairs(openings(12), tmp_path / "pairs.jsonl")
    seen: list[Mapping[str, float]] = []
    dpo.dpo(
        str(tmp_path / "pairs.jsonl"), base=str(tiny_base), out=tmp_path / "dpo",
        settings={"epochs": 1, "batch_size": 64}, on_step=seen.append,
    )  # fmt: skip
    assert [row["learning_rate"] > 0 for row in seen] == [True]


def test_a_model_that_only_gets_worse_is_not_kept(tiny_base: Path, tmp_path: Path) -> None:
    """With a rate that destroys the model, the untrained one stays: epoch 0."""
    feedback.save_pairs(openings(40), tmp_path / "pairs.jsonl")
    run = dpo.dpo(
        str(tmp_path / "pairs.jsonl"), base=str(tiny_base), out=tmp_path / "dpo",
        settings={"epochs": 1, "learning_rate": 5.0},
    )  # fmt: skip
    assert run["kept_epoch"] == 0 and run["metrics"]["after"]["win_rate"] == 0.5


def test_ctrl_c_stops_after_the_step_and_keeps_nothing(tiny_base: Path, tmp_path: Path) -> None:
    feedback.save_pairs(openings(40), tmp_path / "pairs.jsonl")
    steps: list[float] = []

    def press(row: Mapping[str, float]) -> None:
        steps.append(row["step"])
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="preference tuning was stopped after step 1 of 12"):
        dpo.dpo(
            str(tmp_path / "pairs.jsonl"), base=str(tiny_base), out=tmp_path / "dpo", on_step=press
        )
    assert steps == [1] and not (tmp_path / "dpo").exists()


def test_bad_settings_are_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'learning_rate'"):
        dpo.dpo("preferences", settings={"learning_rat": 1})
    with pytest.raises(UsageError, match="the setting epochs cannot be 1.5"):  # noqa: RUF043
        dpo.dpo("preferences", settings={"epochs": 1.5})
    with pytest.raises(UsageError, match="beta is too small; got 0.0; expected above 0"):  # noqa: RUF043
        dpo.dpo("preferences", settings={"beta": 0})
    with pytest.raises(UsageError, match="the setting beta cannot be 'high'"):
        dpo_step.resolve({"beta": "high"})
