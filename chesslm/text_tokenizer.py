"""The tokens of prose: byte-level BPE that we learn, or the tokenizer of any text model.

Text in, ids and the bytes that they stand for out. Files are those that plain transformers loads.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chesslm import files
from chesslm.errors import InputError, first_line
from chesslm.tokenizer import BOS, EOS, PAD, SPECIALS, UNK, TokenIds, ids_dtype


@dataclass(frozen=True)
class TextTokenizer:
    """A tokenizer of text.

    Attributes:
        plain: ``tokenizers.Tokenizer``.
        config: content of its tokenizer_config.json.
        bos: what a row begins with; a model without one begins with its <eos>.
        eos: what ends a document, if anything does.
        pad: for rows of unequal length, if there is one.
        specials: ids that stand for no text.
        source: what to call it in an error.
    """

    plain: Any
    config: dict[str, Any]
    bos: int
    eos: int | None
    pad: int | None
    specials: frozenset[int]
    source: str

    def __len__(self) -> int:
        return max(self.plain.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def context(self) -> int:
        """Tokens of a model made for it, unless its recipe says otherwise."""
        return int(min(self.config.get("model_max_length", CONTEXT), CONTEXT))

    @cached_property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """Of token ids."""
        return ids_dtype(len(self))

    def encode(self, text: str) -> tuple[TokenIds, NDArray[np.int64]]:
        """Token ids (tokens,), without special ones, and where in the text each ends, in characters (tokens,)."""
        found = self.plain.encode(text, add_special_tokens=False)
        ends = np.array([end for _, end in found.offsets], np.int64)
        return np.array(found.ids, self.dtype), ends

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, so that transformers 4 and 5 load them."""
        folder.mkdir(parents=True, exist_ok=True)
        self.plain.save(str(folder / "tokenizer.json"))
        config = dict(self.config)
        # transformers 5 names a class here that version 4 does not know.
        if config.get("tokenizer_class") == "TokenizersBackend":
            config["tokenizer_class"] = "PreTrainedTokenizerFast"
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


SPARSE = 10_000
"""Ids that a tokenizer may leave out: lists are made of all up to the last one."""
CONTEXT = 512
"""Tokens of a row of text: the context of whole-move tokens, so that a chess model can begin where this one ended."""


def learn_text_tokenizer(texts: Iterable[str], vocabulary: int) -> TextTokenizer:
    """Byte-level BPE of at most so many tokens, the special ones of all our vocabularies first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    plain.train_from_iterator(texts, trainer)
    return named(plain, begin_with_bos(plain, CONTEXT), "the tokenizer learned")


def begin_with_bos(plain: Any, context: int) -> dict[str, Any]:
    """Let a tokenizer of ours put <bos> in front of a text.

    Returns:
        Its tokenizer_config.json, which transformers 4 and 5 read: version 5 would name a class there that version 4
        does not know, and without the field AutoTokenizer silently builds GPT-2's own tokenizer.
    """
    from tokenizers import processors

    bos = SPECIALS[BOS]
    plain.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, BOS)]
    )
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "pad_token": SPECIALS[PAD],
        "bos_token": bos,
        "eos_token": SPECIALS[EOS],
        "unk_token": SPECIALS[UNK],
    }


def read_text_tokenizer(source: str) -> TextTokenizer:
    """The tokenizer of a folder or hub id.

    Raises:
        InputError: there is none, or it has no token to begin a text with.
    """
    from tokenizers import Tokenizer

    try:
        path = tokenizer_file(source, "tokenizer.json")
        _check_maps(files.read_json(path, files.TOKENIZER_BYTES).get("normalizer"))
        plain = Tokenizer.from_file(str(path))
        # What would cut a game short, or make it as long as it says.
        plain.no_truncation()
        plain.no_padding()
        config = files.read_json(tokenizer_file(source, "tokenizer_config.json"))
        plain.encode("1. e4 e2e4")
    except BaseException as error:
        # The library's panics, which are no Exceptions.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise InputError(f"{source}: no tokenizer that can be loaded ({first_line(error)})") from error
    return named(plain, config, source)


def _check_maps(normalizer: Any) -> None:
    """See that a table of characters is as long as it says: the library makes room for that before it looks.

    Raises:
        ValueError: it is not.
    """
    if isinstance(normalizer, list):
        for part in normalizer:
            _check_maps(part)
    elif isinstance(normalizer, dict):
        _check_maps(normalizer.get("normalizers"))
        if "precompiled_charsmap" in normalizer:
            table = base64.b64decode(normalizer["precompiled_charsmap"])
            if int.from_bytes(table[:4], "little") > len(table):
                raise ValueError("precompiled_charsmap is cut short")


def named(plain: Any, config: dict[str, Any], source: str) -> TextTokenizer:
    """A tokenizer with the ids of its special tokens.

    Args:
        plain: ``tokenizers.Tokenizer``.
        config: content of tokenizer_config.json.
        source: what to call it in an error.

    Raises:
        InputError: it has no token to begin a text with, or far fewer tokens than ids.
    """
    ids: dict[str, int] = plain.get_vocab(with_added_tokens=True)
    if ids and max(ids.values()) > 2 * len(ids) + SPARSE:
        raise InputError(f"{source}: its tokenizer has an id of {max(ids.values()):,} for {len(ids):,} tokens")
    named = {name: ids.get(_content(config.get(f"{name}_token"))) for name in ("bos", "eos", "pad", "unk")}
    bos = next((i for i in (named["bos"], named["eos"], named["pad"]) if i is not None), None)
    if bos is None:
        raise InputError(f"{source}: its tokenizer has no bos, eos or pad token to begin a game with")
    added = json.loads(plain.to_str())["added_tokens"]
    specials = frozenset(
        i for i in (*(each["id"] for each in added if each["special"]), *named.values()) if i is not None
    )
    return TextTokenizer(plain, config, bos, named["eos"], named["pad"], specials, source)


def tokenizer_file(source: str, name: str) -> Path:
    """A file of a folder, or of a hub id.

    Raises:
        InputError: what is there is a file.
    """
    if Path(source).is_dir():
        return files.within(Path(source), name)
    if Path(source).exists():
        raise InputError("a model is a folder, and this is a file")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging

    # A line for each of six attempts to reach the hub would stand above ours.
    logging.set_verbosity_error()
    return Path(hf_hub_download(source, name))


def _content(token: Any) -> str:
    """A special token as tokenizer_config.json has it: its text, or an object that holds it."""
    return str(token.get("content") if isinstance(token, dict) else token)
