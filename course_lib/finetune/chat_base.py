"""A base that can be talked to: one without a chat template gets a plain one of its own words.

The embedded base has tokens for the turns of a chat. GPT-2 and its like have none, and need
none: what a template must do is to mark who speaks, always in the same way.
"""

from __future__ import annotations

from pathlib import Path

from course_lib.finetune import model as models

PLAIN = (
    "{%- for message in messages -%}{%- if message['role'] == 'assistant' -%}"
    "{{ 'Assistant: ' }}{% generation %}{{ message['content'] | trim + END }}{% endgeneration %}"
    "{%- else -%}{{ message['role'] | capitalize + ': ' + message['content'] | trim + '\\n\\n' }}"
    "{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%}"
)


def chat_base(base: str, folder: Path | str) -> str:
    """Give a base with a chat template: the base itself, or a copy that has got a plain one.

    Args:
        base: ``embedded``, a folder, or a Hub id.
        folder: where the copy goes, if one is needed.

    Raises:
        ModelError: for a folder without a usable model.
        OfflineError: for a Hub id that cannot be fetched.
    """
    model, tokenizer = models.load_base(base, task="completion")
    if tokenizer.chat_template:
        return base
    tokenizer.chat_template = PLAIN.replace("END", repr(str(tokenizer.eos_token)))
    with models.quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return str(folder)
