"""Cleaning against the ledger of support_tickets_raw: each step on the even and the odd rows.

    python tests/benchmarks/cleaning.py --data datasets/support_tickets_raw

The steps were written on the even rows (by number) and general knowledge; of the odd rows only
these tables were looked at. Some odd rows are copies of even ones, so one part leaves out every
odd row whose group of copies has an even one.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from course_lib.files import read_jsonl
from course_lib.finetune.text import annotate, clean, duplicates, names, pii

Row = dict[str, Any]
REPAIRS = ("html", "mojibake", "control", "quoted_mail", "whitespace")
PERSONAL = tuple(kind for kind in pii.KINDS if kind != "ORDER")  # the ledger keeps order numbers
QUOTES = str.maketrans(dict.fromkeys('"\u2018\u2019\u201c\u201d\u00b4`', "'"))


def fold(text: str) -> str:
    """Give ``text`` with straight single quotation marks and single spaces."""
    return " ".join(text.translate(QUOTES).split())


def kinds_of(key: Row) -> set[str]:
    return {damage["kind"] for damage in key["damage"]}


def repairs(rows: Sequence[Row], keys: dict[str, Row]) -> list[list[Any]]:
    """Count rows repaired exactly, personal data replaced by the ledger's own places first."""
    given = []
    for row in rows:
        items = [
            pii.Pii(d["start"], d["end"], d["type"], "")
            for d in keys[row["id"]]["damage"]
            if d["kind"] == "pii"
        ]
        given.append({**row, "text": pii.replace_pii(row["text"], items)})
    cleaned = clean.clean(given, steps=REPAIRS)
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row in cleaned.rows:
        key = keys[row["id"]]
        for kind in kinds_of(key) & set(REPAIRS) or {"left alone"}:
            total[kind] += 1
            right[kind] += fold(row["text"]) == fold(key["clean_text"])
    return [
        [kind, f"{right[kind]} of {total[kind]}", f"{right[kind] / max(1, total[kind]):.3f}"]
        for kind in (*REPAIRS, "left alone")
    ]


def personal(rows: Sequence[Row], keys: dict[str, Row], house: frozenset[str]) -> list[list[Any]]:
    """Match found items to the ledger's: same kind, places overlap by half of their union."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        gold = [d for d in keys[row["id"]]["damage"] if d["kind"] == "pii"]
        found = pii.find_pii(row["text"], kinds=PERSONAL, house=house)
        free = list(gold)
        for item in found:
            hit = next(
                (d for d in free if d["type"] == item.kind and overlap(d, item) >= 0.5), None
            )
            if hit:
                free.remove(hit)
                counts["exact", item.kind] += (hit["start"], hit["end"]) == (item.start, item.end)
            counts["hit" if hit else "false", item.kind] += 1
        for missed in free:
            counts["missed", missed["type"]] += 1
    lines = []
    for kind in (*PERSONAL, "all"):
        own = PERSONAL if kind == "all" else (kind,)
        hit, false, missed, exact = (
            sum(counts[what, k] for k in own) for what in ("hit", "false", "missed", "exact")
        )
        recall, precision = hit / max(1, hit + missed), hit / max(1, hit + false)
        share = exact / max(1, hit)
        lines.append([kind, hit + missed, f"{recall:.3f}", f"{precision:.3f}", f"{share:.3f}"])
    return lines


def overlap(gold: Row, item: pii.Pii) -> float:
    """Give the intersection over union of two places."""
    both = min(gold["end"], item.end) - max(gold["start"], item.start)
    return max(0, both) / (max(gold["end"], item.end) - min(gold["start"], item.start))


def true_groups(keys: dict[str, Row]) -> dict[str, str]:
    """Give each row's group of copies by following the ledger's ``of``."""
    of = {i: d["of"] for i, key in keys.items() for d in key["damage"] if "of" in d}

    def first(row: str) -> str:
        while row in of:
            row = of[row]
        return row

    return {row: first(row) for row in keys}


def pairs_of(groups: Iterable[tuple[str, Any]]) -> set[tuple[str, str]]:
    members: dict[Any, list[str]] = {}
    for row, group in groups:
        members.setdefault(group, []).append(row)
    return {pair for ids in members.values() for pair in combinations(sorted(ids), 2)}


def copies(rows: Sequence[Row], keys: dict[str, Row], method: str) -> list[list[Any]]:
    """Score pairs of copies after the repairs: exact ones in the raw text, then near ones."""
    groups = true_groups(keys)
    texts = [row["text"] for row in rows]
    ids = [row["id"] for row in rows]
    real = pairs_of((i, groups[i]) for i in ids)
    same = {(min(a, b), max(a, b)) for g in duplicates.exact_duplicates(texts)
            for a, b in combinations([ids[p] for p in g], 2)}  # fmt: skip
    marked = {i for i in ids if "exact_duplicate" in kinds_of(keys[i])}
    exact_real = {pair for pair in real if marked & set(pair) and pair in same}
    repaired = [row["text"] for row in clean.clean(rows, steps=REPAIRS).rows]
    found = duplicates.duplicate_groups(repaired, method=method)
    near = pairs_of(zip(ids, found, strict=True))
    lines = [["exact", len(same), *scores(same, exact_real)]]
    lines.append(["exact or near", len(real), *scores(near, real)])
    return [*lines, ["near alone", len(real - same), *scores(near - same, real - same)]]


def scores(found: set[Any], real: set[Any]) -> list[str]:
    hit = len(found & real)
    precision, recall = hit / max(1, len(found)), hit / max(1, len(real))
    f1 = 2 * hit / max(1, len(found) + len(real))
    return [f"{precision:.3f}", f"{recall:.3f}", f"{f1:.3f}"]


def labels(rows: Sequence[Row], keys: dict[str, Row], seeds: int) -> list[list[Any]]:
    """Share of wrong labels among the k most suspect, k = the number that are wrong."""
    given = [row["intent"] for row in rows]
    wrong = [row["intent"] != keys[row["id"]]["intent"] for row in rows]
    texts = [row["text"] for row in clean.clean(rows, steps=REPAIRS).rows]
    k, lines = sum(wrong), []
    for seed in range(seeds):
        suspects = annotate.label_errors(given, texts=texts, seed=seed)
        hit = sum(wrong[s.place] for s in suspects[:k]) / k
        sure = [s for s in suspects if s.confident]
        caught = sum(wrong[s.place] for s in sure)
        lines.append([seed, k, f"{hit:.3f}", f"{k / len(rows):.3f}", f"{hit * len(rows) / k:.1f}",
                      f"{caught} of {len(sure)}"])  # fmt: skip
    return lines


def table(title: str, head: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    print(f"\n**{title}**\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for line in lines:
        print(f"| {' | '.join(map(str, line))} |")


def main() -> None:
    """Measure each half and the whole, and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("datasets/support_tickets_raw"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", default=["even", "odd", "odd, no even copy", "all"])
    options = parser.parse_args()
    raw = [row for _, row in read_jsonl(options.data / "raw.jsonl")]
    keys = {row["id"]: row for _, row in read_jsonl(options.data / "ledger.jsonl")}
    number = {row["id"]: int(row["id"].removeprefix("raw-")) for row in raw}
    groups = true_groups(keys)
    seen = {groups[i] for i, n in number.items() if n % 2 == 0}
    odd = [r for r in raw if number[r["id"]] % 2]
    parts = {
        "even": [r for r in raw if number[r["id"]] % 2 == 0],
        "odd": odd,
        "odd, no even copy": [r for r in odd if groups[r["id"]] not in seen],
        "all": raw,
    }
    print("`python tests/benchmarks/cleaning.py`")
    for name in options.parts:
        rows, start = parts[name], time.perf_counter()
        house = names.house_words(row["text"] for row in rows)
        print(f"\n## {name}: {len(rows):,} rows")
        table("Repaired exactly", ["kind", "rows", "share"], repairs(rows, keys))
        head = ["kind", "items", "recall", "precision", "to the letter"]
        table("Personal data", head, personal(rows, keys, house))
        head = ["copies", "pairs", "precision", "recall", "F1"]
        for method in ("rapidfuzz", "minhash"):
            table(f"Copies, pairs of rows, {method}", head, copies(rows, keys, method))
        if name != "odd, no even copy":
            head = ["seed", "k", "precision at k", "by chance", "times chance", "confident, wrong"]
            table("Wrong labels", head, labels(rows, keys, options.seeds))
        print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
