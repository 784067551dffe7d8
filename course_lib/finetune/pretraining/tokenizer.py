"""Byte-level BPE: train a tokenizer on text and save it with its chat template.

Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019): any text can be
encoded, because the 256 bytes are tokens too; the rest of the vocabulary is
merges of pairs that occur often in the training text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
SYSTEM, USER, ASSISTANT, END_OF_TURN = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIAL_TOKENS = (END_OF_TEXT, PAD, SYSTEM, USER, ASSISTANT, END_OF_TURN)

# The generation markers let transformers report which tokens the assistant wrote.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "<|assistant|>{% generation %}{{ message['content'] | trim }}<|end|>{% endgeneration %}"
    "{%- elif message['role'] in ('system', 'user') -%}"
    "<|{{ message['role'] }}|>{{ message['content'] | trim }}<|end|>"
    "{%- else -%}"
    "{{ raise_exception('role must be system, user or assistant, got ' + message['role']) }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)

# As GPT-2 splits words, with digits one by one so that numbers are spelled, not memorised.
_SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str], *, vocab_size: int = 8192, context: int = 512) -> Any:
    """Train a byte-level BPE tokenizer.

    Args:
        texts: documents to count pairs in.
        vocab_size: number of tokens, the special ones included.
        context: the model's context in tokens, recorded as ``model_max_length``.

    Returns:
        A ``transformers.PreTrainedTokenizerFast`` with padding on the right, the
        special tokens of ``SPECIAL_TOKENS`` at ids 0 to 5 and a chat template.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        pad_token=PAD,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT, END_OF_TURN],
        model_max_length=context,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
