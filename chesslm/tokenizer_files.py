"""Tokenizer files: written so that plain transformers loads the same ids from them, and read again.

    tokenizer.json           the whole tokenizer: vocabulary, merges, special tokens, conditions
    tokenizer_config.json    what ``AutoTokenizer`` needs beside it

Needs no transformers.
"""

import json
from pathlib import Path

from chesslm import conditions, files
from chesslm.errors import InputError
from chesslm.notation import ALPHABETS, TEXT, TRAINED, check_name, get_notation, text_model
from chesslm.text_tokenizer import TextTokenizer, begin_with_bos
from chesslm.tokenizer import SPECIALS, UNK, GameTokenizer


def save_tokenizer(tokenizer: GameTokenizer | TextTokenizer, folder: Path) -> None:
    """Write the files from which ``AutoTokenizer`` loads the same ids in plain transformers, 4 and 5 alike.

    Text is moves in UCI with or without spaces between them, or SAN as the notation has it, each move with the space
    behind it; <bos> is put in front.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(tokenizer, TextTokenizer):
        tokenizer.save(folder)
        return
    if tokenizer.foreign:
        tokenizer.foreign.text.save(folder)
        return
    notation = tokenizer.notation
    moves = pre_tokenizers.Split(Regex(notation.pattern), behavior="isolated")
    if notation.reads_board:
        text = Tokenizer(text_model(tokenizer.tokens, notation.merges))
        text.pre_tokenizer = moves
    else:
        text = Tokenizer(models.WordLevel(dict(tokenizer.ids), unk_token=SPECIALS[UNK]))
        text.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), moves])
    config = begin_with_bos(text, notation.context)
    named = [*SPECIALS, *conditions.tokens_of_kinds(tokenizer.conditions)]
    text.add_special_tokens([AddedToken(token, normalized=False) for token in named])
    text.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def load_tokenizer(folder: Path, notation: str) -> GameTokenizer:
    """The tokenizer of a dataset or a checkpoint of ours, from its ``tokenizer.json``.

    In ``text`` that is a text model's own (``foreign``).

    Args:
        folder: that holds it.
        notation: how moves are written there.

    Raises:
        InputError: the file is missing or broken, or has not the tokens of the notation.
    """
    check_name(notation)
    if notation == TEXT:
        from chesslm.foreign import foreign_tokenizer

        return foreign_tokenizer(str(folder), notation)
    path = files.within(folder, "tokenizer.json")
    if not path.is_file():
        raise InputError(f"{folder}: no tokenizer.json, so this is no checkpoint or dataset of chesslm")
    try:
        model = files.read_json(path)["model"]
        ids, merges = model["vocab"], model.get("merges") or ()
        tokens = sorted(ids, key=ids.__getitem__)
        pairs = tuple((first, second) for first, second in merges)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a readable tokenizer ({error or type(error).__name__})") from error
    kinds = conditions.kinds_of_tokens(tokens)
    in_front = len(SPECIALS) + len(conditions.tokens_of_kinds(kinds))
    learned = tuple(tokens[in_front:]) if notation in TRAINED else ()
    tokenizer = GameTokenizer(get_notation(notation, learned, pairs if learned else ()), kinds)
    if ids != tokenizer.ids or (notation in TRAINED and not _fits(notation, learned, bool(pairs))):
        raise InputError(
            f"{path}: its {len(ids)} tokens are not those of {notation} ({len(tokenizer)} tokens); "
            "name the right notation with --notation"
        )
    return tokenizer


def _fits(notation: str, learned: tuple[str, ...], has_merges: bool) -> bool:
    """Whether a learned vocabulary is one of that notation: ``bpe`` has merges, ``san`` whole moves instead."""
    alphabet = frozenset(ALPHABETS[notation])
    whole = all(token.endswith(" ") for token in learned if token not in alphabet)
    return alphabet.issubset(learned) and (has_merges if notation == "bpe" else whole and not has_merges)
