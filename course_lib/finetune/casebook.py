"""What a case of the troubleshooting clinic shows, and what is said when it is revealed.

Runs A to H are made by ``examine.clinic``, faults of deployment I to L by ``deploy.faults``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from course_lib.errors import UnknownNameError

Curve = tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """One measured number of a case, beside that of the same run without the fault.

    ``healthy`` is None where there is nothing to compare; ``form`` is a format.
    """

    name: str
    value: float
    healthy: float | None = None
    form: str = ".2f"

    def line(self) -> str:
        """Give it as one line of a table."""
        beside = "" if self.healthy is None else f"{self.healthy:{self.form}}"
        return f"{self.name:44} {self.value:>10{self.form}} {beside:>10}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a case shows; its name is not in it.

    Attributes:
        case: its letter.
        complaint: what its owner says.
        facts: numbers, here and without the fault.
        samples: lines of text: messages, answers, what the model read.
        curve: the run's history rows, ``step``, ``loss``, ``grad_norm`` and ``lr``.
        healthy: those of the same run without the fault; empty where nothing was trained.
    """

    case: str
    complaint: str
    facts: tuple[Fact, ...]
    samples: tuple[str, ...] = ()
    curve: Curve = ()
    healthy: Curve = ()

    def __getitem__(self, name: str) -> Fact:
        """Give the fact of that name."""
        return next(f for f in self.facts if f.name == name)

    def text(self) -> str:
        """Give complaint, numbers and samples as text."""
        head = f"{'':44} {'this one':>10} {'healthy':>10}"
        lines = [f"Case {self.case}. “{self.complaint}”", head, *(f.line() for f in self.facts)]
        return "\n".join([*lines, *(f"  {s}" for s in self.samples)])


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was wrong: its name, the sign that gives it away, and the repair."""

    name: str
    sign: str
    repair: str

    def text(self) -> str:
        """Give it as two sentences."""
        return f"{self.name}. {self.sign} Repair: {self.repair}"


def reveal(case: str) -> Diagnosis:
    """Give what was wrong in a case.

    Raises:
        UnknownNameError: for a letter no case has.
    """
    if case not in DIAGNOSES:
        raise UnknownNameError("case", case, DIAGNOSES)
    return DIAGNOSES[case]


def fault_names(cases: Iterable[str]) -> list[str]:
    """Give the names of the faults of these cases by alphabet, to choose from."""
    return sorted(reveal(case).name for case in cases)


def judge(case: str, guess: str) -> str:
    """Say whether a guess is right, and what was wrong.

    Args:
        case: its letter.
        guess: the name of a fault.
    """
    diagnosis = reveal(case)
    right = guess.strip().lower() == diagnosis.name.lower()
    start = "Right: " if right else f"Not {guess}. It is "
    return start + diagnosis.text()


def shorten(text: str, most: int = 60) -> str:
    """Give the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


DIAGNOSES: dict[str, Diagnosis] = {
    "A": Diagnosis(
        "leaked test set",
        "The test rows come out as well as the training rows, and far better than other rows "
        "nobody trained on: they were among the training rows.",
        "compare texts, not only ids, across the splits before training, and count a score "
        "that nothing explains as a fault until it is explained.",
    ),
    "B": Diagnosis(
        "learning rate too high",
        "The loss goes up from the first steps on and then wanders above the healthy one, "
        "without ever running away; even the training rows are not learned by heart.",
        "divide the rate by ten until a handful of rows can be learned by heart.",
    ),
    "C": Diagnosis(
        "wrong tokenizer",
        "At the first step the loss is as high as an even guess over all tokens, or higher: "
        "the ids mean other words than those the base learned.",
        "always load the tokenizer from the folder of the base, and look at the first loss.",
    ),
    "D": Diagnosis(
        "unmasked prompt",
        "Nearly every token of a row is counted in the loss, so most of the learning goes into "
        "writing customers' messages.",
        "give the prompt's tokens the label -100, so that only the answer counts.",
    ),
    "E": Diagnosis(
        "frozen head",
        "The head did not move at all. It stood at zero, so it passed no gradient on to the "
        "layers below: every class stays equally likely.",
        "list the parameters that are trained, with their number, before the first step.",
    ),
    "F": Diagnosis(
        "label shift",
        "Training and validation rows lean to the same class, the test rows do not, and the "
        "model has learned to lean.",
        "draw the held-out rows from where the model will work; weigh or resample the classes.",
    ),
    "G": Diagnosis(
        "exploding loss",
        "The loss jumps by powers of ten within a few steps: the steps are so large that each "
        "undoes the one before. Warm-up and clipping were off.",
        "mend the rate first, then put warm-up and clipping back; stop a run whose loss is "
        "no longer a number.",
    ),
    "H": Diagnosis(
        "wrong padding side",
        "The same message gets another answer when longer ones stand beside it. Training is "
        "healthy; the short rows were filled up on the right, and the model went on after "
        "the filler.",
        "pad on the left when a model writes, and test that a batch answers as one text does.",
    ),
    "I": Diagnosis(
        "timeout",
        "Every reply was written to its end; the client had stopped waiting for the long ones. "
        "The seconds grow with the length of the reply, the patience does not.",
        "limit the reply's tokens, stream them, and set the patience from the slowest reply "
        "you mean to allow, not from one short try.",
    ),
    "J": Diagnosis(
        "truncated context",
        "The thread is longer than the model can read and was cut at its end, so the "
        "question and the cue to answer were never read.",
        "count tokens before sending; drop the oldest turns, never the last; refuse what "
        "still does not fit, as the course's own server does.",
    ),
    "K": Diagnosis(
        "wrong chat template",
        "The turns are marked in another way than in training. The model was never shown such "
        "marks, so it does not know that it is its turn, nor how a turn ends.",
        "save the template with the tokenizer, let nobody build prompts by hand, and compare "
        "one rendered prompt of training and of service letter by letter.",
    ),
    "L": Diagnosis(
        "stale version",
        "The pointer moved, the process did not: the weights in memory are not those of the "
        "champion.",
        "have the service say which version it answers with, compare that with the "
        "registry in the health check, and restart on promotion.",
    ),
}
