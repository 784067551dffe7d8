"""Preferences: pairs of replies as token ids, their log probabilities, and the win rate.

Direct preference optimisation (DPO, Rafailov et al. 2023; the step itself is ``dpo.py``) rewards
a reply by ``beta`` times the policy's log probability of it minus that of a frozen copy of
the model as it was, the reference. A held-out pair is won when the better reply has the
larger reward; the share of pairs won is the win rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from course_lib import metrics
from course_lib.errors import DataError, ModelError
from course_lib.finetune import model as models
from course_lib.finetune.batch import plain_batches
from course_lib.finetune.feedback.ratings import Pair
from course_lib.finetune.flat import Rows
from course_lib.finetune.loss import IGNORE, fused_cross_entropy
from course_lib.finetune.records import Evaluation

LEAST_PROMPT = 8  # tokens of a prompt that must fit beside its longer reply


@dataclass(frozen=True, slots=True)
class EncodedPairs:
    """Pairs as token ids.

    Attributes:
        pairs: the pairs that fit, in order.
        rows: their ids: ``prompt_ids``, ``chosen_ids``, ``rejected_ids``.
        cut: prompts that lost their beginning; dropped: pairs whose replies do not fit.
    """

    pairs: tuple[Pair, ...]
    rows: tuple[dict[str, list[int]], ...]
    cut: int
    dropped: int


def encode_pairs(
    pairs: Sequence[Pair], tokenizer: Any, context: int, *, chat: bool | None = None
) -> EncodedPairs:
    """Encode pairs so that prompt and longer reply fit the context.

    A prompt too long loses its beginning, the same of it for both replies; a pair whose
    longer reply leaves no room for ``LEAST_PROMPT`` prompt tokens is left out. Replies are
    never shortened: their ends would go uncounted.

    Args:
        pairs: at least one.
        context: tokens the model takes.
        chat: write prompt and reply with the tokenizer's chat template; otherwise as the
            completion task does, the reply after one space. None: chat where there is one.

    Raises:
        DataError: when no pair is given, or none fits.
        ModelError: for ``chat`` with a tokenizer without a chat template.
    """
    if not pairs:
        raise DataError("there are no preference pairs")
    if chat and not tokenizer.chat_template:
        raise ModelError("this tokenizer has no chat template", next_step="use chat=False")
    chat = bool(tokenizer.chat_template) if chat is None else chat
    kept, rows, cut = [], [], 0
    for pair in pairs:
        prompt, replies = (_chat if chat else _plain)(tokenizer, pair)
        room = context - max(map(len, replies))
        if room < min(LEAST_PROMPT, len(prompt)):
            continue
        cut += len(prompt) > room
        kept.append(pair)
        ids = (prompt[-room:], *replies)
        rows.append(dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), ids, strict=True)))
    if not kept:
        raise DataError(
            "no preference pair fits the context",
            got=f"{len(pairs)} pairs, all with a reply of nearly {context} tokens or more",
            next_step="shorten the replies or use a base with a longer context",
        )
    return EncodedPairs(tuple(kept), tuple(rows), cut, len(pairs) - len(kept))


def _plain(tokenizer: Any, pair: Pair) -> tuple[list[int], list[list[int]]]:
    prompt, *replies = tokenizer(
        [pair.prompt, " " + pair.chosen.strip(), " " + pair.rejected.strip()],
        add_special_tokens=False,
        verbose=False,
    )["input_ids"]
    return list(prompt), [[*reply, tokenizer.eos_token_id] for reply in replies]


def _chat(tokenizer: Any, pair: Pair) -> tuple[list[int], list[list[int]]]:
    asked = [{"role": "user", "content": pair.prompt}]

    def ids(messages: list[dict[str, str]], more: bool) -> list[int]:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=more)
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    prompt = ids(asked, True)
    both = [ids([*asked, {"role": "assistant", "content": t}], False)
            for t in (pair.chosen, pair.rejected)]  # fmt: skip
    if any(whole[: len(prompt)] != prompt for whole in both):
        raise ModelError(
            "the chat template writes a prompt otherwise when a reply follows",
            next_step="use chat=False",
        )
    return prompt, [whole[len(prompt) :] for whole in both]


@torch.no_grad()
def log_probs(model: Any, tokenizer: Any, encoded: EncodedPairs) -> np.ndarray:
    """Give the summed log probability of each reply after its prompt.

    Returns:
        Nats, float64 ``[pairs, 2]``: chosen, rejected.
    """
    rows = Rows("completion")
    for row in encoded.rows:
        for reply in (row["chosen_ids"], row["rejected_ids"]):
            rows.add(row["prompt_ids"] + reply, [IGNORE] * len(row["prompt_ids"]) + reply)
    data = rows.done()
    weight = model.get_output_embeddings().weight
    model.eval()
    found = np.zeros(len(data))
    for group, batch in plain_batches(data, budget=8192, pad_id=tokenizer.pad_token_id):
        hidden = model.base_model(input_ids=batch["input_ids"].to(weight.device)).last_hidden_state
        labels = batch["labels"].to(weight.device)
        for place, i in enumerate(group):
            found[i] = -float(fused_cross_entropy(hidden[place], weight, labels[place]))
    return found.reshape(-1, 2)


def win_rate(
    policy: Any, reference: Any, tokenizer: Any, pairs: Sequence[Pair], *, chat: bool | None = None
) -> Evaluation:
    """Measure a policy against its reference on pairs it was not trained on.

    Args:
        policy, reference: causal models of one tokenizer.
        pairs: held-out pairs; chat: as in :func:`encode_pairs`.

    Returns:
        An evaluation with ``win_rate``: the share of pairs whose better reply has the
        larger policy-minus-reference log probability, a tie counting half (so a policy that
        is its reference has 0.5); ``win_rate_normalised``: the same by difference per token,
        which takes the advantage of length away; ``likelier``: the share whose better reply
        the policy itself finds likelier per token, reference left aside; ``margin``: the
        mean advantage in nats; ``chosen_nats``: the loss a token on the better replies, which
        DPO may raise as long as the worse ones lose more; ``pairs``, ``cut``, ``dropped``.
        Shares have an interval.

    Raises:
        DataError: when no pair is given or fits the context.
    """
    encoded = encode_pairs(pairs, tokenizer, models.context_of(policy), chat=chat)
    ours = log_probs(policy, tokenizer, encoded)
    return compare_log_probs(encoded, ours, log_probs(reference, tokenizer, encoded))


def compare_log_probs(encoded: EncodedPairs, ours: np.ndarray, theirs: np.ndarray) -> Evaluation:
    """Give the win rate from log probabilities that are known already.

    Args:
        encoded: the pairs.
        ours, theirs: nats of policy and reference, ``[pairs, 2]`` as :func:`log_probs` gives.

    Returns:
        As :func:`win_rate`.
    """
    lengths = [[len(r["chosen_ids"]), len(r["rejected_ids"])] for r in encoded.rows]
    tokens = np.array(lengths, dtype=float)
    gain = ours - theirs
    advantage = {
        "win_rate": gain[:, 0] - gain[:, 1],
        "win_rate_normalised": (gain / tokens)[:, 0] - (gain / tokens)[:, 1],
        "likelier": (ours / tokens)[:, 0] - (ours / tokens)[:, 1],
    }
    found: dict[str, Any] = {}
    for name, by in advantage.items():
        wins = (np.sign(by) + 1) / 2
        found |= {
            name: float(wins.mean()),
            f"{name}_interval": list(metrics.bootstrap_interval(wins)),
        }
    found |= {
        "margin": float(advantage["win_rate"].mean()),
        "chosen_nats": float(-ours[:, 0].sum() / tokens[:, 0].sum()),
        "pairs": len(encoded.pairs),
        "cut": encoded.cut,
        "dropped": encoded.dropped,
    }
    rows = tuple(
        {
            "id": pair.id,
            "reason": pair.reason,
            **{name: round(float(by[i]), 6) for name, by in advantage.items()},
        }
        for i, pair in enumerate(encoded.pairs)
    )
    return Evaluation(found, rows)


def pair_baselines(train: Sequence[Pair], held_out: Sequence[Pair]) -> dict[str, dict[str, Any]]:
    """Give what knows no language model: how often the shorter reply is the better one, and TF-IDF.

    ``tfidf`` is a logistic regression on the difference of the replies' word TF-IDF
    vectors, fitted on ``train`` in both orders; accuracies are on ``held_out``.

    Raises:
        DataError: when either is empty.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    if not train or not held_out:
        raise DataError("there are no preference pairs")
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    words.fit([t for p in train for t in (p.chosen, p.rejected)])

    def difference(pairs: Sequence[Pair]) -> Any:
        better, worse = ([getattr(p, n) for p in pairs] for n in ("chosen", "rejected"))
        return words.transform(better) - words.transform(worse)

    seen = difference(train).toarray()
    judge = LogisticRegression(C=10.0, fit_intercept=False)
    judge.fit(np.vstack([seen, -seen]), [1] * len(seen) + [0] * len(seen))
    by_words = judge.decision_function(difference(held_out))
    by_length = [len(p.rejected.split()) - len(p.chosen.split()) for p in held_out]
    found = {}
    for name, advantage in (("shorter", by_length), ("tfidf", by_words)):
        wins = (np.sign(np.asarray(advantage, dtype=float)) + 1) / 2
        interval = list(metrics.bootstrap_interval(wins))
        found[name] = {"win_rate": float(wins.mean()), "win_rate_interval": interval}
    return found
