"""The troubleshooting clinic: eight runs that are really broken.

    evidence = clinic("A", "quick")    # a curve, numbers, samples; not the name
    print(evidence.text())
    print(judge("A", "frozen head"))

Every case is trained (or asked) anew by a small run on the shop's tickets, with one thing wrong;
``healthy`` in the evidence is the same run without it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from course_lib.errors import UnknownNameError
from course_lib.finetune import evaluate
from course_lib.finetune.casebook import Evidence, Fact, shorten
from course_lib.finetune.examine import clinic_runs as runs
from course_lib.finetune.examine.clinic_runs import Kit
from course_lib.finetune.model import EMBEDDED
from course_lib.finetune.objective import Objective
from course_lib.finetune.records import Example
from course_lib.finetune.train import validate

TOO_HIGH, FAR_TOO_HIGH = 30.0, 1000.0  # times the learning rate that suits the base


def clinic(case: str, profile: str = "cpu", seed: int = 0, *, base: str = EMBEDDED) -> Evidence:
    """Make the runs of a case and give what they show.

    Args:
        case: a letter of ``CASES``.
        profile: ``quick``, ``cpu`` or ``gpu``: the sizes of the runs.
        seed: of rows, heads and order.
        base: the base model.

    Raises:
        UnknownNameError: for a case or profile there is not.
    """
    if case not in CASES:
        raise UnknownNameError("case", case, CASES)
    return CASES[case](Kit(profile, seed, base))


def _losses(broken: runs.Learned, healthy: runs.Learned) -> list[Fact]:
    """Give first, last and largest loss and the largest gradient norm of two runs."""

    def fact(name: str, read: Callable[[list[float]], float], key: str = "loss") -> Fact:
        here, beside = (read([row[key] for row in run.curve]) for run in (broken, healthy))
        return Fact(name, here, beside, ".3f")

    return [
        fact("loss, first step", lambda v: v[0]),
        fact("loss, mean of the last four steps", lambda v: sum(v[-4:]) / len(v[-4:])),
        fact("loss, largest", max),
        fact("gradient norm, largest", max, "grad_norm"),
    ]


def _accuracies(
    broken: runs.Learned,
    healthy: runs.Learned,
    kit: Kit,
    splits: Sequence[str] = ("train", "validation", "test"),
    **own: Sequence[Example],
) -> list[Fact]:
    """Give the accuracy on some splits; ``own`` rows are those of the broken run."""
    facts = []
    for split in splits:
        rows = kit.rows(split)
        value = broken.accuracy(own.get(split, rows))
        facts.append(Fact(f"accuracy, {split} rows", value, healthy.accuracy(rows)))
    return facts


def _leaked_test(kit: Kit) -> Evidence:
    rows = kit.rows("train")
    train = [*rows[::2], *kit.rows("test")]
    broken, healthy = runs.classifier(kit, train), runs.healthy_classifier(kit)
    return Evidence(
        "A",
        "The best test score this desk has ever had. Then came Monday's mail.",
        tuple(_accuracies(broken, healthy, kit, train=train)),
        curve=broken.curve,
        healthy=healthy.curve,
    )


def _rate(case: str, complaint: str, kit: Kit, **own: Any) -> Evidence:
    rows = kit.rows("train")
    broken, healthy = runs.classifier(kit, rows, **own), runs.healthy_classifier(kit)
    facts = (*_losses(broken, healthy), *_accuracies(broken, healthy, kit, ["train"]))
    return Evidence(case, complaint, facts, curve=broken.curve, healthy=healthy.curve)


def _rate_too_high(kit: Kit) -> Evidence:
    said = "It runs to the end without an error. It even gets its own training rows wrong."
    return _rate("B", said, kit, rate=TOO_HIGH)


def _exploding(kit: Kit) -> Evidence:
    said = "After two steps the loss had more digits than I had room for."
    return _rate("G", said, kit, rate=FAR_TOO_HIGH, clip_norm=1e9, warmup_share=0.0)


def _wrong_tokenizer(kit: Kit) -> Evidence:
    rows, held_out = kit.rows("train"), kit.rows("validation")
    broken, healthy = runs.reader(kit, rows, own_words=True), runs.healthy_reader(kit)

    def pieces(run: runs.Learned) -> float:
        return sum(len(run.tokenizer(r.text)["input_ids"]) for r in rows) / len(rows)

    def bits(run: runs.Learned) -> float:
        found = evaluate.language_modeling(run.model, run.tokenizer, held_out)
        return float(found.metrics["bits_per_byte"])

    first, _, largest, norm = _losses(broken, healthy)
    even = math.log(broken.model.config.vocab_size)
    facts = (
        first,
        Fact("loss of an even guess over the vocabulary", even, even, ".3f"),
        largest,
        norm,
        Fact("tokens a message", pieces(broken), pieces(healthy), ".1f"),
        Fact("bits per byte, validation, afterwards", bits(broken), bits(healthy), ".3f"),
    )
    said = "They sold me this base as pre-trained. I see nothing of it."
    return Evidence("C", said, facts, (), broken.curve, healthy.curve)


def _unmasked_prompt(kit: Kit) -> Evidence:
    rows, held_out = kit.rows("train"), kit.rows("validation")
    broken, healthy = runs.writer(kit, rows, masked=False), runs.healthy_writer(kit)

    def counted(masked: bool) -> float:
        found = runs.answers(kit, healthy.tokenizer, rows, masked=masked).labels
        return float((found >= 0).sum()) / len(rows)

    def answer_loss(run: runs.Learned) -> float:
        coded = runs.answers(kit, run.tokenizer, held_out)
        objective = Objective(run.model, "completion")
        pad, device = run.tokenizer.pad_token_id, next(run.model.parameters()).device
        return validate(objective, coded, pad, device)[0]

    first, last, *_ = _losses(broken, healthy)
    facts = (
        Fact("tokens a row that the loss counts", counted(False), counted(True), ".1f"),
        first,
        last,
        Fact("loss of the answers alone, validation", answer_loss(broken), answer_loss(healthy)),
        Fact(
            "right name likeliest, training rows",
            runs.likeliest(broken, rows),
            runs.likeliest(healthy, rows),
        ),
    )
    said = (
        "It should write the desk's name after a message. The loss falls nicely; the names do not."
    )
    asked = held_out[:: len(held_out) // 4][:4]
    wrote = runs.write_batch(broken, [runs.prompt_of(r) for r in asked], "left")
    samples = [
        f"{shorten(r.text, 50)} → {shorten(w, 24)!r} (right: {runs.name_of(str(r.label))})"
        for r, w in zip(asked, wrote, strict=True)
    ]
    return Evidence("D", said, facts, tuple(samples), broken.curve, healthy.curve)


def _frozen_head(kit: Kit) -> Evidence:
    rows = kit.rows("train")
    broken, healthy = runs.classifier(kit, rows, dead_head=True), runs.healthy_classifier(kit)
    first, last, largest, norm = _losses(broken, healthy)
    even = math.log(len(runs.LABELS))
    facts = (
        first,
        last,
        largest,
        Fact("loss of an even guess over the classes", even, even, ".3f"),
        norm,
        Fact(
            "largest change of a weight of the head", broken.head_moved, healthy.head_moved, ".4f"
        ),
        *_accuracies(broken, healthy, kit, ["train"]),
    )
    said = "Every step prints the same loss, to the last decimal."
    return Evidence("E", said, facts, curve=broken.curve, healthy=healthy.curve)


def _label_shift(kit: Kit) -> Evidence:
    most, few = 3 * kit.each, max(1, kit.each // 4)
    counts = {name: most if name == "product_question" else few for name in runs.LABELS}
    held_out = {name: (kit.each if name == "product_question" else 1) for name in runs.LABELS}
    train, validation = kit.rows("train", counts), kit.rows("validation", held_out)
    broken, healthy = runs.classifier(kit, train), runs.healthy_classifier(kit)
    facts = _accuracies(broken, healthy, kit, train=train, validation=validation)
    test = kit.rows("test")
    are, called = Counter(str(r.label) for r in test), Counter(broken.called(test))
    expected = Counter(healthy.called(test))
    facts += [
        Fact(f"test rows called {runs.name_of(n)}", called[n], expected[n], ".0f")
        for n in runs.LABELS
    ]
    samples = [
        "test rows that really are: "
        + ", ".join(f"{runs.name_of(n)} {are[n]}" for n in runs.LABELS)
    ]
    samples += ["what validation rows are: " + _listed(validation)]
    said = (
        "It did better on the validation rows than in use. There, one desk drowns, three are idle."
    )
    return Evidence("F", said, tuple(facts), tuple(samples), broken.curve, healthy.curve)


def _listed(rows: Sequence[Example]) -> str:
    counts = Counter(str(r.label) for r in rows)
    return ", ".join(f"{runs.name_of(name)} {counts[name]}" for name in runs.LABELS)


def _padding_side(kit: Kit) -> Evidence:
    healthy, rows = runs.healthy_writer(kit), kit.rows("validation")
    prompts = [runs.prompt_of(r) for r in rows]
    alone = [runs.write_batch(healthy, [p], "left")[0] for p in prompts]
    together = runs.write_batch(healthy, prompts, "right")
    mended = runs.write_batch(healthy, prompts, "left")

    def same(made: Sequence[str]) -> float:
        return sum(a == b for a, b in zip(alone, made, strict=True)) / len(alone)

    def right(made: Sequence[str]) -> float:
        pairs = zip(made, rows, strict=True)
        return sum(m == runs.name_of(str(r.label)) for m, r in pairs) / len(rows)

    facts = (
        Fact("same answer alone and in the batch", same(together), same(mended)),
        Fact("right answers, asked alone", right(alone), right(alone)),
        Fact("right answers, asked in the batch", right(together), right(mended)),
    )
    order = sorted(range(len(rows)), key=lambda i: len(prompts[i]))
    samples = tuple(
        f"{len(prompts[i].split()):3} words: alone {shorten(alone[i], 24)!r}, "
        f"in the batch {shorten(together[i], 24)!r}"
        for i in [*order[:3], *order[-2:]]
    )
    said = "Asked one message at a time it answers. Asked all at once it mostly falls silent."
    return Evidence("H", said, facts, samples, healthy.curve, healthy.curve)


CASES: dict[str, Callable[[Kit], Evidence]] = {
    "A": _leaked_test,
    "B": _rate_too_high,
    "C": _wrong_tokenizer,
    "D": _unmasked_prompt,
    "E": _frozen_head,
    "F": _label_shift,
    "G": _exploding,
    "H": _padding_side,
}
