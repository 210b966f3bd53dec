"""The notation of a tokenizer that chesslm did not make: a text model's own, or that of someone else's chess model.

A move's word is encoded alone, in the place that the layout gives it, so no token crosses a move:

    text                1. e4 e5 2. Nf3       each move with the space before it
    pgn-char            1.e4 e5 2.Nf3         each move with the space behind it; so pgn-char-spaced, bpe
    san, uci-move       Nf3, g1f3             each move alone
    uci-square          g1 f3                 each square alone

What the tokens spell is the text that they stand for, whatever the tokenizer does to spaces. A move that no space
ends, such as `` Qh5``, may go on (``+``): it ends as soon as the next token does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from chesslm import words
from chesslm.errors import InputError
from chesslm.notation import ALPHABETS, NUMBERS, TEXT, Notation, Tokens, beginnings, check_name, going_on
from chesslm.text_tokenizer import TextTokenizer, read_text_tokenizer
from chesslm.tokenizer import Foreign, GameTokenizer

CONTEXT = 2048


@dataclass(frozen=True)
class Layout:
    """Where a move and its number stand in the text.

    Attributes:
        before, after: a move's word.
        number: the move number in front of White's move, with ``{}`` for it; None: there is none.
    """

    before: str = ""
    after: str = ""
    number: str | None = None


LAYOUTS = {
    TEXT: Layout(before=" ", number=" {}."),
    **{name: Layout(after=" ", number="{}" + behind) for name, behind in NUMBERS.items()},
    "san": Layout(),
    "uci-move": Layout(),
    "uci-square": Layout(),
}
_SPACES = str.maketrans({"Ġ": " ", "▁": " "})
"""How byte-level and SentencePiece tokenizers write a space."""


def foreign_tokenizer(source: str | TextTokenizer, notation: str) -> GameTokenizer:
    """A tokenizer, or that of a folder or hub id, for games in a notation.

    Raises:
        InputError: there is none, it cannot write moves, or it has no token to begin a game with.
    """
    check_name(notation)
    text_tokenizer = read_text_tokenizer(source) if isinstance(source, str) else source
    specials, ids = text_tokenizer.specials, text_tokenizer.plain.get_vocab(with_added_tokens=True)
    alphabet = frozenset("".join(words.geometric_moves()) if _kind(notation) == "uci" else ALPHABETS["bpe"])
    tokens: list[str] = []
    taken: set[str] = set()
    by_id = {i: token for token, i in ids.items()}
    for i in range(len(text_tokenizer)):
        text = by_id.get(i, "").translate(_SPACES)
        usable = i not in specials and text and text not in taken and alphabet.issuperset(text)
        tokens.append(text if usable else f"<{i}>")
        taken.add(tokens[-1])
    vocabulary = tuple(text for i, text in enumerate(tokens) if text != f"<{i}>")
    made = _notation(
        text_tokenizer.source, notation, vocabulary, lambda text: _encode(text_tokenizer.plain, tokens, text)
    )
    return GameTokenizer(made, foreign=Foreign(tuple(tokens), text_tokenizer))


def _encode(plain: Any, tokens: list[str], text: str) -> Tokens:
    return tuple(tokens[i] for i in plain.encode(text, add_special_tokens=False).ids)


def _kind(notation: str) -> words.Kind:
    return "uci" if notation.startswith("uci") else "san"


def _notation(source: str, name: str, vocabulary: Tokens, encode: Callable[[str], Tokens]) -> Notation:
    layout, kind = LAYOUTS[name], _kind(name)
    every = words.geometric_sans() if kind == "san" else words.geometric_moves()

    @cache
    def split(word: str) -> Tokens:
        if name == "uci-square":
            return (*encode(word[:2]), *encode(word[2:4]), *(encode(word[4:]) if len(word) > 4 else ()))
        return encode(f"{layout.before}{word}{layout.after}")

    # What the tokenizer keeps of the spaces around a move.
    sample = "e2e4" if kind == "uci" else "e4"
    before, found, after = "".join(split(sample)).partition(sample)
    if not found or not frozenset(vocabulary).issuperset(split(sample)):
        raise InputError(f"{source}: its tokenizer cannot write {sample} as {name} has it; name another --notation")
    spelled = frozenset(f"{before}{word}{after}" for word in every)
    reachable = beginnings(spelled)
    go_on = going_on(vocabulary, lambda: reachable)

    @cache
    def lead(move: int) -> Tokens:
        # Nothing stands before the first number, not even a space.
        text = (layout.number or "").format(move)
        return encode(text.lstrip(" ") if move == 1 else text)

    return Notation(
        name=name,
        context=CONTEXT,
        vocabulary=vocabulary,
        words=kind,
        split=split,
        join=lambda tokens: "".join(tokens).removeprefix(before).removesuffix(after),
        extensions=lambda begun: go_on("".join(begun)),
        ends=lambda tokens: "".join(tokens) in spelled,
        pattern="",
        lead=lambda ply: lead(ply // 2 + 1) if ply % 2 == 0 else (),
    )
