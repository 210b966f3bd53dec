"""A model that starts from the weights of another one: anyone's text model, or a chess model of ours.

    source model + tokenizer of the dataset -> a model of that vocabulary on the source's body

The body is all but the token embeddings (and the head, where it is not tied to them): it is copied tensor by tensor and
checked to be equal. Embeddings are kept if the vocabularies are the same; otherwise a rule makes them, token by token:

    random    as a model from scratch draws them
    mean      the mean of the source's embeddings
    pieces    the mean of the embeddings of those pieces in which the source's tokenizer writes the token's text,
              "e2e4" alone, without a space in front; <bos> and <eos> take the source's own

Later layers can be cut off, and learned positions beyond the context. ``shuffle`` is the control: every tensor keeps
its values in random order, so that its statistics stay and its structure goes.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from chesslm import files
from chesslm.checkpoint import fetched, verified
from chesslm.config import InitConfig, ModelConfig
from chesslm.errors import InputError
from chesslm.gguf import SUFFIX, load_gguf, text_tokenizer_of
from chesslm.model import load_weights
from chesslm.provenance import trained_before
from chesslm.text_tokenizer import TextTokenizer
from chesslm.tokenizer import BOS, EOS, SPECIALS, GameTokenizer

POSITIONS = ("wpe", "embed_positions", "position_embeddings")
"""Names of learned positions, which end where the context does; rotary ones have no weights."""
INITIAL_STD = 0.02
"""Of GPT-2's fresh embeddings (Radford et al. 2019)."""


@dataclass(frozen=True)
class Started:
    """A model ready to be trained, and what it kept of the one it started from.

    Attributes:
        model: with the vocabulary of the dataset.
        shape: of it, for the recipe.
        kept: what to say of it in ``chesslm.json``.
    """

    model: PreTrainedModel
    shape: ModelConfig
    kept: dict[str, Any]


def start_from(init: InitConfig, shape: ModelConfig, tokenizer: GameTokenizer | TextTokenizer, seed: int) -> Started:
    """Start from another model's weights.

    Args:
        init: which model, and what to take of it.
        shape: only its context and dropout count; the rest is the source's.
        tokenizer: of the dataset.
        seed: of what is drawn.

    Raises:
        InputError: no such model, it has too few layers or positions, or does more to its logits than a head does.
    """
    source, source_tokenizer = load_source(init.model)
    _check_head(source, init.model)
    config = copy.deepcopy(source.config)
    layers, positions = int(config.num_hidden_layers), getattr(config, "max_position_embeddings", None)
    if positions is None:
        raise InputError(f"{init.model}: {config.model_type} has no positions that a context could be cut to")
    if init.keep_layers > layers:
        raise InputError(f"--keep-layers {init.keep_layers}, but {init.model} has {layers}")
    context = shape.context or tokenizer.context
    if context > positions:
        raise InputError(
            f"{init.model} has {positions} positions, and this dataset takes {context}; "
            f"say --set model.context={positions} to cut the longer games"
        )
    config.num_hidden_layers = init.keep_layers or layers
    config.max_position_embeddings = context
    for dropout in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
        if hasattr(config, dropout):
            setattr(config, dropout, shape.dropout)
    same = vocabulary_of(tokenizer) == source_tokenizer.plain.get_vocab(with_added_tokens=True)
    config.vocab_size = config.vocab_size if same else len(tokenizer)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = tokenizer.bos, tokenizer.eos, tokenizer.pad
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = cast(PreTrainedModel, AutoModelForCausalLM.from_config(config, attn_implementation="sdpa"))
        _copy_body(source, model, context)
        if same:
            _copy_embeddings(source, model)
        else:
            _make_embeddings(source, source_tokenizer, model, tokenizer, init.embeddings)
        if init.shuffle:
            _shuffle(model)
    _freeze(model, init.freeze)
    before = trained_before(init)
    kept = {
        "model": Path(init.model).name if Path(init.model).exists() else init.model,
        "sha256": sha256_of(init.model),
        "layers": f"{config.num_hidden_layers} of {layers}",
        "positions": f"{context} of {positions}",
        "embeddings": "kept" if same else init.embeddings,
        "shuffled": init.shuffle,
        "frozen": init.freeze,
        **({"trained": before} if before else {}),
    }
    layers, width, heads = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    tied = len(embeddings_of(model)) == 1
    taken = ModelConfig(layers, width, heads, context, shape.dropout, sinusoids=False, tied=tied)
    return Started(model, taken, kept)


def load_source(path: str) -> tuple[PreTrainedModel, TextTokenizer]:
    """A model to start from, in fp32, and its tokenizer: a folder, a hub id, or a GGUF file.

    Raises:
        InputError: not there, not readable, or changed since it was saved.
    """
    tokenizer = text_tokenizer_of(path)
    if path.endswith(SUFFIX):
        return load_gguf(path), tokenizer
    folder = fetched(path)
    verified(folder)
    return load_weights(folder, path), tokenizer


def vocabulary_of(tokenizer: GameTokenizer | TextTokenizer) -> dict[str, int]:
    """Ids by token, as they stand in tokenizer.json."""
    if isinstance(tokenizer, GameTokenizer) and not tokenizer.foreign:
        return tokenizer.ids
    text = tokenizer if isinstance(tokenizer, TextTokenizer) else tokenizer.foreign.text  # pyright: ignore[reportOptionalMemberAccess]
    return text.plain.get_vocab(with_added_tokens=True)


def embeddings_of(model: PreTrainedModel) -> list[nn.Module]:
    """The token embeddings, and the head where it has weights of its own."""
    tokens, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is None or head.weight is tokens.weight
    return [tokens] if tied else [tokens, cast(nn.Module, head)]


def body_of(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """All parameters but those of the embeddings, by name."""
    outside = {id(parameter) for module in embeddings_of(model) for parameter in module.parameters()}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) not in outside}


@torch.no_grad()
def _check_head(source: PreTrainedModel, name: str) -> None:
    ids = torch.zeros((1, 1), dtype=torch.long)
    head: Any = source.get_output_embeddings()
    own = head(source.eval().base_model(input_ids=ids, use_cache=False)[0])
    if not torch.allclose(source(input_ids=ids, use_cache=False).logits, own, rtol=1e-3, atol=1e-3):
        raise InputError(f"{name}: its logits are not those of its head alone (scaled or capped), and would be learned")


@torch.no_grad()
def _copy_body(source: PreTrainedModel, model: PreTrainedModel, context: int) -> None:
    theirs = dict(source.named_parameters())
    for name, parameter in body_of(model).items():
        weights = theirs[name]
        if any(part in name for part in POSITIONS):
            weights = weights[: len(parameter)]
        parameter.copy_(weights)
        assert torch.equal(parameter, weights), name


@torch.no_grad()
def _copy_embeddings(source: PreTrainedModel, model: PreTrainedModel) -> None:
    for theirs, ours in zip(embeddings_of(source), embeddings_of(model), strict=True):
        cast(Tensor, ours.weight).copy_(cast(Tensor, theirs.weight))


@torch.no_grad()
def _make_embeddings(
    source: PreTrainedModel,
    source_tokenizer: TextTokenizer,
    model: PreTrainedModel,
    tokenizer: GameTokenizer | TextTokenizer,
    rule: str,
) -> None:
    pieces = _pieces(source_tokenizer, tokenizer) if rule == "pieces" else []
    for theirs, ours in zip(embeddings_of(source), embeddings_of(model), strict=True):
        old_VD, new_VD = cast(Tensor, theirs.weight), cast(Tensor, ours.weight)
        if rule == "random":
            new_VD.normal_(std=INITIAL_STD)
            continue
        new_VD.copy_(old_VD.mean(0).expand_as(new_VD))
        for i, ids in enumerate(pieces):
            if ids:
                new_VD[i] = old_VD[ids].mean(0)


def _pieces(source: TextTokenizer, tokenizer: GameTokenizer | TextTokenizer) -> list[list[int]]:
    """By our token: the source's ids that spell it; none for what has no text."""
    own = {SPECIALS[BOS]: source.bos, SPECIALS[EOS]: source.eos}
    spelled: list[list[int]] = [[] for _ in range(len(tokenizer))]
    for token, i in vocabulary_of(tokenizer).items():
        if token in SPECIALS:
            spelled[i] = [own[token]] if own.get(token) is not None else []
        else:
            ids = source.encode(token)[0].tolist()
            spelled[i] = [piece for piece in ids if piece not in source.specials]
    return spelled


@torch.no_grad()
def _shuffle(model: PreTrainedModel) -> None:
    for parameter in model.parameters():
        parameter.copy_(parameter.flatten()[torch.randperm(parameter.numel())].view_as(parameter))


def _freeze(model: PreTrainedModel, part: str) -> None:
    if part == "body":
        for parameter in body_of(model).values():
            parameter.requires_grad_(False)
    elif part == "embeddings":
        for module in embeddings_of(model):
            module.requires_grad_(False)


def sha256_of(path: str) -> str | None:
    """The hash of a model's weights, where they lie in one file here."""
    file = Path(path) / "model.safetensors" if Path(path).is_dir() else Path(path)
    return files.sha256(file) if file.is_file() else None
