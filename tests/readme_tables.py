"""The results in README.md, made from the kept runs: `python tests/readme_tables.py --write`.

A test holds the page against them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from course_lib.finetune import experiment

README = Path(__file__).resolve().parent.parent / "README.md"
TITLES = {
    "clinc150": "CLINC150, 150 intents, accuracy in %",
    "customer_reviews": "Customer reviews, positive or negative, accuracy in %",
    "tickets": "support_tickets, 8 intents, accuracy in %",
    "xquad_en": "XQuAD English, answers found in a passage, F1 in %",
}


def page() -> str:
    """Give the tables of all experiments that have results."""
    parts = []
    for name, title in TITLES.items():
        cells = experiment.table(name)
        if cells:
            parts.append(
                f"**{title}** (`course experiment {name}`)\n\n{experiment.markdown(cells)}"
            )
    return "\n\n".join(parts)


def main() -> None:
    """Print the tables; with ``--write`` put them into the page."""
    found = page()
    print(found)
    if "--write" in sys.argv:
        head, _, rest = README.read_text("utf-8").partition("<!-- results -->")
        _, _, tail = rest.partition("<!-- end -->")
        README.write_text(f"{head}<!-- results -->\n{found}\n<!-- end -->{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
