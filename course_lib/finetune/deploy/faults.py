"""Four faults of deployment, each shown on real objects: a model, a prompt, a template, a registry.

    evidence = fault("I", "quick")     # numbers and samples; not the name
    print(judge("I", "timeout"))

No server is started: what goes wrong goes wrong in the same calls that a server makes.
"""

from __future__ import annotations

import copy
import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as GaveUp
from pathlib import Path
from typing import Any

import torch

from course_lib import files
from course_lib.errors import UnknownNameError
from course_lib.finetune import checkpoint, generate
from course_lib.finetune import model as models
from course_lib.finetune.casebook import Evidence, Fact, shorten
from course_lib.finetune.deploy.fault_desk import Desk
from course_lib.finetune.deploy.fault_desk import desk as make_desk
from course_lib.finetune.deploy.registry import Registry
from course_lib.finetune.settings import PROFILES

# by profile: tokens of the three replies that are asked for
LENGTHS = {"quick": (8, 24, 96), "cpu": (8, 48, 192), "gpu": (8, 48, 192)}
PATIENCE = 4  # times what one short reply took
RULE = "You answer for Larkspur Outfitters. Be brief, be kind, and promise nothing."
OTHER_TEMPLATE = (
    "{%- for message in messages -%}{%- if message['role'] == 'assistant' -%}"
    "### Response:\n{% generation %}{{ message['content'] | trim }}{% endgeneration %}"
    "{%- else -%}### Instruction:\n{{ message['content'] | trim }}\n\n{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}### Response:\n{%- endif -%}"
)


def fault(
    case: str, profile: str = "cpu", seed: int = 0, *, base: str = models.EMBEDDED
) -> Evidence:
    """Produce a fault of deployment and give what it shows.

    Args:
        case: a letter of ``CASES``.
        profile: ``quick``, ``cpu`` or ``gpu``: sizes.
        seed: of the rows and of training.
        base: the base model; one without a chat template gets a plain one.

    Raises:
        UnknownNameError: for a case or profile there is not.
    """
    if case not in CASES:
        raise UnknownNameError("case", case, CASES)
    if profile not in PROFILES:
        raise UnknownNameError("profile", profile, PROFILES)
    return CASES[case](make_desk(profile, seed, base))


@torch.no_grad()
def _write(desk: Desk, prompt: str, tokens: int) -> float:
    """Write a reply of exactly so many tokens; give the seconds."""
    coded = desk.tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    ids = {k: coded[k].to(desk.model.device) for k in ("input_ids", "attention_mask")}
    began, pad = time.perf_counter(), desk.tokenizer.pad_token_id
    desk.model.generate(
        **ids, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=pad
    )
    return time.perf_counter() - began


def _ask(desk: Desk, prompt: str, tokens: int, patience: float) -> tuple[bool, float]:
    """Ask for a reply; tell whether it came while the client waited, and the seconds it took."""
    with ThreadPoolExecutor(1) as server:
        asked = server.submit(_write, desk, prompt, tokens)
        try:
            return True, asked.result(patience)
        except GaveUp:
            return False, asked.result()  # the server does not know that nobody waits


def _timeout(desk: Desk) -> Evidence:
    lengths = LENGTHS[desk.profile]
    prompt = generate.prompt_and_target(desk.tokenizer, desk.chats[0])[0]
    patience = PATIENCE * max(_write(desk, prompt, lengths[0]) for _ in range(3))
    found = [_ask(desk, prompt, tokens, patience) for tokens in lengths]
    short = [_ask(desk, prompt, lengths[0], patience) for _ in lengths]
    samples = [
        f"reply of {tokens:3} tokens: {seconds:5.2f} s, "
        + ("and the client has it" if came else "and the client had given up before")
        for tokens, (came, seconds) in zip(lengths, found, strict=True)
    ]
    facts = (
        Fact("seconds the client waits at most", patience),
        Fact("requests sent", len(found), len(short), ".0f"),
        Fact("answered in time", sum(c for c, _ in found), sum(c for c, _ in short), ".0f"),
    )
    said = "Short answers come. Of long ones nothing arrives, and the machine is busy all day."
    return Evidence("I", said, facts, tuple(samples))


def _truncated(desk: Desk) -> Evidence:
    tokenizer, room = desk.tokenizer, models.context_of(desk.model)
    asked, older = desk.chats[0].turns[0][1], [t for c in desk.chats[1:] for t in c.turns]

    def prompt(history: Sequence[tuple[str, str]]) -> str:
        turns = [("system", RULE), *history, ("user", asked)]
        messages = [{"role": r, "content": c} for r, c in turns]
        made = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return str(made)

    def size(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    while size(prompt(older)) <= room + 64:
        older = older * 2  # a longer context needs a longer thread
    long = prompt(older)
    ids = tokenizer(long, add_special_tokens=False, verbose=False)["input_ids"][: room - 64]
    kept = len(older)
    while size(prompt(older[len(older) - kept :])) > room - 64:
        kept -= 2
    right = prompt(older[len(older) - kept :])
    read = tokenizer.decode(ids)
    replies = generate.complete(desk.model, tokenizer, [read, right], max_new_tokens=24)
    facts = (
        Fact("tokens of the thread", size(long), size(right), ".0f"),
        Fact("tokens the model can read", room, room, ".0f"),
        Fact("tokens it was given", len(ids), size(right), ".0f"),
        Fact("last question among them: 1 yes, 0 no", float(asked in read), 1.0, ".0f"),
    )
    samples = (
        f"the customer asked last: …{asked[-60:]!r}",
        f"what it was given ends:  …{read[-60:]!r}",
        f"it replied:              {shorten(replies[0])!r}",
        f"healthy, it replied:     {shorten(replies[1])!r}",
    )
    said = "The first messages of a talk are answered. Later on it talks past the customer."
    return Evidence("J", said, facts, samples)


def _template(desk: Desk) -> Evidence:
    other = copy.deepcopy(desk.tokenizer)
    other.chat_template = OTHER_TEMPLATE
    shown, known = (
        generate.prompt_and_target(t, desk.chats[0])[0] for t in (other, desk.tokenizer)
    )
    most = LENGTHS[desk.profile][2] // 2
    made = [desk.replies(desk.model, t, most) for t in (other, desk.tokenizer)]
    ended = [sum(len(desk.tokenizer(r)["input_ids"]) < most - 2 for r in part) for part in made]
    losses = [desk.loss(desk.model, t) for t in (other, desk.tokenizer)]
    facts = (
        Fact(f"of four replies, end within {most} tokens", ended[0], ended[1], ".0f"),
        Fact("loss of the real replies, nats a token", losses[0], losses[1]),
    )
    samples = (
        f"prompt begins {shown[:30]!r} and ends {shown[-30:]!r}",
        f"healthy: begins {known[:30]!r} and ends {known[-30:]!r}",
        f"it replied:          {shorten(made[0][0])!r}",
        f"healthy, it replied: {shorten(made[1][0])!r}",
    )
    said = "In the notebook it answers as it learned to. Behind the web page it sounds untrained."
    return Evidence("K", said, facts, samples)


def _digest(model: Any) -> str:
    """Give the SHA-256 of the weights in memory, its first twelve digits."""
    sums = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        sums.update(name.encode() + value.detach().float().cpu().numpy().tobytes())
    return sums.hexdigest()[:12]


def _save(folder: Path, model: Any, tokenizer: Any) -> Path:
    """Write what the registry asks of a finished run."""
    with models.quiet():
        model.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
    checkpoint.write_manifest(folder / "model")
    files.write_json(folder / "run.json", {"task": "completion", "head": "completion"})
    return folder


def _stale(desk: Desk) -> Evidence:
    with tempfile.TemporaryDirectory() as place:
        registry = Registry(Path(place) / "models")
        for name, model in (("old", desk.before), ("new", desk.model)):
            registry.add(_save(Path(place) / name, model, desk.tokenizer), "desk")
        registry.promote("desk", "v0001")
        # the server reads the champion once, when it starts
        served, tokenizer = models.load_base(_champion(registry), task="completion")
        last_week = desk.replies(served, tokenizer)
        registry.promote("desk", "v0002", force=True, reason="a better loss on held-out replies")
        today = desk.replies(served, tokenizer)
        newest, _ = models.load_base(_champion(registry), task="completion")
        after = desk.replies(newest, tokenizer)
        log = ", ".join(f"{e['action']} {e['version']}" for e in registry.history("desk"))
    facts = (
        Fact(
            "replies unlike last week's, of four",
            sum(a != b for a, b in zip(last_week, today, strict=True)),
            sum(a != b for a, b in zip(last_week, after, strict=True)),
            ".0f",
        ),
        Fact(
            "loss of the real replies, nats a token",
            desk.loss(served, tokenizer),
            desk.loss(newest, tokenizer),
        ),
    )
    samples = (
        f"history of the registry: {log}",
        f"weights that answer: {_digest(served)}; weights of the champion: {_digest(newest)}",
    )
    said = "On Monday we promoted a better model. The replies are last week's, letter for letter."
    return Evidence("L", said, facts, samples)


def _champion(registry: Registry) -> str:
    found = registry.champion("desk")
    assert found is not None
    return str(found.folder / "model")


CASES: dict[str, Callable[[Desk], Evidence]] = {
    "I": _timeout,
    "J": _truncated,
    "K": _template,
    "L": _stale,
}
