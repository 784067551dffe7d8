"""Base models with a head: embedded, from a folder, or from the Hub; one code path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from course_lib import files
from course_lib.errors import ModelError, OfflineError, UnknownNameError, UsageError

EMBEDDED = "embedded"
HEADS = {
    "classification": "AutoModelForSequenceClassification",
    "question-answering-span": "AutoModelForQuestionAnswering",
    "token-classification": "AutoModelForTokenClassification",
    "language-modeling": "AutoModelForCausalLM",
    "question-answering": "AutoModelForCausalLM",
    "completion": "AutoModelForCausalLM",
}


def base_path(base: str) -> str:
    """Give what ``from_pretrained`` takes for ``base``: a folder's path or a Hub id.

    Raises:
        UnknownNameError: for a name that is neither a folder nor shaped like a Hub id.
        ModelError: for a folder without a model.
    """
    folder = files.assets_dir() / "base" if base == EMBEDDED else Path(base).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(
                "no model in this folder",
                where=str(folder),
                expected="a config.json",
                next_step="give the folder that save_pretrained wrote",
            )
        return str(folder)
    looks_like_path = base.startswith((".", "/", "~")) or base.count("/") > 1
    if base == EMBEDDED or looks_like_path:
        raise ModelError("no such model folder", where=str(folder))
    if "/" not in base and base.lower().startswith("embed"):
        raise UnknownNameError("base model", base, [EMBEDDED, "distilgpt2", "gpt2"])
    return base


def base_name(base: str) -> str:
    """Give a base's name without the path it has on this machine; of ``RUN/model`` RUN's."""
    if base == EMBEDDED or not Path(base_path(base)).is_dir():
        return base
    path = Path(base_path(base)).resolve()
    of_run = path.name == "model" and (path.parent / "run.json").is_file()
    return path.parent.name if of_run else path.name


def base_sha256(path: str) -> str:
    """Give the SHA-256 of a local base's weights, or the commit of a cached Hub base."""
    if Path(path).is_dir():
        return files.sha256_tree(Path(path), suffixes=(".safetensors",))
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = path.partition("@")
    found = try_to_load_from_cache(name, "config.json", revision=revision or None)
    return Path(found).parent.name if isinstance(found, str) else ""


def load_base(
    base: str = EMBEDDED,
    *,
    task: str,
    labels: Sequence[str] = (),
    seed: int = 0,
    from_scratch: bool = False,
    dtype: torch.dtype = torch.float32,
) -> tuple[Any, Any]:
    """Load a base with the head of ``task``, and its tokenizer.

    Args:
        base: ``embedded``, a folder, or a Hub id such as ``distilgpt2``; ``ID@REVISION``
            pins a commit, tag or branch of it.
        task: a task of ``records.TASKS``, or ``question-answering-span``.
        labels: class names or tags, for the heads that need them.
        seed: of the new head's weights (and of all weights with ``from_scratch``).
        from_scratch: same architecture, random weights.
        dtype: of the weights.

    Returns:
        The model, in training mode off, and the tokenizer; the padding token is set in both.

    Raises:
        ModelError: when the folder holds no usable causal model.
        OfflineError: when a Hub id is not in the cache and the Hub cannot be reached.
    """
    import transformers

    path = base_path(base)
    pinned: dict[str, Any] = {}
    if not Path(path).is_dir() and "@" in path:
        path, _, pinned["revision"] = path.partition("@")
    builder = getattr(transformers, HEADS[task])
    extra: dict[str, Any] = {}
    if labels and HEADS[task].endswith(("SequenceClassification", "TokenClassification")):
        extra = {
            "id2label": dict(enumerate(labels)),
            "label2id": {n: i for i, n in enumerate(labels)},
            "num_labels": len(labels),
            "ignore_mismatched_sizes": True,  # a base that classified otherwise: a new head
        }
    torch.manual_seed(seed)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **pinned)
        if from_scratch:
            config = transformers.AutoConfig.from_pretrained(path, **pinned, **extra)
            model = builder.from_config(config).to(dtype)
        else:
            with quiet():
                model = _pretrained(builder, path, {"dtype": dtype, **pinned}, extra)
    except (OSError, ValueError, KeyError) as error:
        raise _load_error(base, path, error) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    tokenizer.padding_side = "right"
    return model.eval(), tokenizer


def _pretrained(builder: Any, path: str, options: dict[str, Any], extra: dict[str, Any]) -> Any:
    """Load a model, with its body even where its class names it otherwise than the file does.

    A Llama's span head calls its body ``transformer``, its other heads ``model``; transformers
    then leaves the body random and says no more than that keys are missing.
    """
    import transformers

    options = {**options, "output_loading_info": True}
    model, info = builder.from_pretrained(path, **options, **extra)
    missing = sorted(info["missing_keys"])
    if not any(name.startswith(f"{model.base_model_prefix}.") for name in missing):
        return model
    for other in (transformers.AutoModel, transformers.AutoModelForQuestionAnswering):
        found, info = other.from_pretrained(path, **options)
        if all(name.startswith("qa_outputs") for name in info["missing_keys"]):
            model.base_model.load_state_dict(found.base_model.state_dict())
            return model
    raise ValueError(f"the weights of the body are missing: {missing[0]}")


class quiet:
    """Silence progress bars, and the notice that a new head's weights are new (they should be)."""

    def __enter__(self) -> None:
        """Go quiet."""
        from transformers.utils import logging

        self.level = logging.get_verbosity()
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def __exit__(self, *exc: object) -> None:
        """Speak again."""
        from transformers.utils import logging

        logging.set_verbosity(self.level)
        logging.enable_progress_bar()


def _load_error(base: str, path: str, error: Exception) -> Exception:
    if Path(path).is_dir():
        return ModelError(
            f"the base model could not be loaded ({str(error).splitlines()[0]})",
            where=path,
            next_step="give a folder with a causal language model and its tokenizer",
        )
    offline = os.environ.get("HF_HUB_OFFLINE") == "1"
    return OfflineError(
        f"the base model {base!r} is not on this machine and could not be fetched from the Hub",
        got="HF_HUB_OFFLINE=1" if offline else str(error).splitlines()[0],
        next_step="check the id and the network, or use --base embedded, which needs neither",
    )


def close_texts(tokenizer: Any, closing: str) -> None:
    """Make a tokenizer put ``closing`` after every text, also once it is saved and reloaded.

    A causal model classifies from the last token, the only one that has read everything; a
    closing such as "This is about" makes it one where the model expects the topic.
    """
    from tokenizers.processors import TemplateProcessing

    ids = tokenizer(closing, add_special_tokens=False)["input_ids"]
    if not ids or not getattr(tokenizer, "is_fast", False):
        return
    token = {"id": "closing", "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)}
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A closing", pair="$A $B closing", special_tokens=[token]
    )


@torch.no_grad()
def head_from_words(model: Any, tokenizer: Any) -> None:
    """Start each class of a classification head from the embeddings of its name's words.

    After a closing such as "This is about" the last hidden state already points at the
    words that would follow, so a class scores by how likely its name is there: the label
    words of a prompt (Gao et al. 2021) as the first weights of an ordinary head. The mean
    over the classes is taken off. Nothing is done for a base that does not tie its
    embeddings, whose input vectors are not what the output layer compares with.
    """
    if not getattr(model.config, "tie_word_embeddings", False) or not hasattr(model, "score"):
        return
    table = model.get_input_embeddings().weight
    names = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
    rows = []
    for name in names:
        words = " " + " ".join(name.replace("_", " ").replace("-", " ").split())
        ids = tokenizer(words, add_special_tokens=False)["input_ids"]
        rows.append(table[ids].mean(0))
    found = torch.stack(rows)
    model.score.weight.copy_(found - found.mean(0))


def context_of(model: Any) -> int:
    """Give the longest input in tokens the model was built for."""
    return int(getattr(model.config, "max_position_embeddings", 512))


def layers_of(model: Any) -> Any:
    """Give the list of decoder layers of a model of a known family.

    Raises:
        ModelError: when the architecture keeps them somewhere unknown.
    """
    for name in ("layers", "h", "blocks"):
        for module in model.modules():
            found = getattr(module, name, None)
            if isinstance(found, torch.nn.ModuleList):
                return found
    raise ModelError(
        "the decoder layers of this architecture were not found",
        got=type(model).__name__,
        next_step="use --set freeze=none or freeze=base",
    )


def freeze(model: Any, what: str) -> None:
    """Freeze weights: ``none``, ``base`` (all but the head) or a number of lower layers.

    A number freezes the embeddings, of tokens and of places where there are any, and that many
    decoder layers from below.

    Raises:
        UsageError: for anything else, or more layers than there are.
    """
    if what == "none":
        return
    body = model.base_model
    if what == "base":
        if body is model or not any(
            p.requires_grad
            for n, p in model.named_parameters()
            if not n.startswith(model.base_model_prefix)
        ):
            raise UsageError(
                "freeze=base leaves nothing to train",
                got=type(model).__name__,
                next_step="freeze a number of layers for a task without a head",
            )
        body.requires_grad_(False)
        return
    layers = layers_of(model)
    if not what.isdigit() or not 0 <= int(what) <= len(layers):
        raise UsageError(
            f"cannot freeze {what!r}", expected=f"none, base or a number up to {len(layers)}"
        )
    for module in body.modules():
        if isinstance(module, torch.nn.Embedding):
            module.requires_grad_(False)
    for layer in list(layers)[: int(what)]:
        layer.requires_grad_(False)


def count_parameters(model: Any) -> tuple[int, int]:
    """Give how many numbers the model has, and how many of them are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)
