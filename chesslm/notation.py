"""How a game is written: a notation is data and four small functions.

A notation takes the word of each move (``words``: UCI or SAN) and cuts it into tokens. Everything else follows from
that: the legal continuations of a prefix are what the tokens of the legal moves allow next, the legal mass is the sum
over those moves, constrained decoding walks the same tree. So a new notation touches this file alone.

- ``uci-move``: one token a move, e.g. ``e2e4`` or ``e7e8q``; all 1,968 moves that some piece could make on an
  empty board.
- ``uci-square``: the squares and promotion letters of UCI, e.g. ``e7 e8 q``; the letter of the moved piece may stand
  before a move as a hint (Toshniwal et al. 2022, "Chess as a Testbed for Language Model State Tracking").
- ``san``: one token a move, e.g. ``Nf3 `` or ``Qxh7# ``; the moves that are common in the training games, and
  characters for the rest.
- ``pgn-char``: the characters of ``1.e4 e5 2.Nf3 ``; ``pgn-char-spaced``: of ``1. e4 e5 2. Nf3 ``.
- ``bpe``: pieces of the same text, learned from the training games (Sennrich et al. 2016); none crosses a move.
- ``text``: ``1. e4 e5 2. Nf3`` in the tokens of a text model (``foreign``).

A move in SAN ends with the space behind it (in ``text`` with the one before the next), and a move number is an
ornament: it stands before White's move and is never asked for. ``foreign`` makes the notation of any other tokenizer.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import chess

from chesslm import words
from chesslm.errors import InputError
from chesslm.words import PROMOTIONS

Tokens = tuple[str, ...]

PIECES = ("P", "N", "B", "R", "Q", "K")


@dataclass(frozen=True)
class Notation:
    """A way of writing moves as tokens.

    Attributes:
        name: as in ``--notation``.
        context: tokens that a model of this notation looks back at, unless its recipe says otherwise.
        vocabulary: the tokens of moves and move numbers, in the order of their ids; special ones come before them.
        words: which word of a move is cut into tokens, ``uci`` or ``san``.
        split: a word -> its tokens.
        join: tokens -> the word that they spell, or what would be one.
        extensions: tokens of a move begun -> the tokens by which the notation alone could go on with it.
            Empty: the move is over, or it is none. Where the tokens already spell a move and extensions are left
            (``e7 e8``, with or without ``q``), the move ends as soon as the next token is none of them.
        ends: whether the move may be over after these tokens.
        lead: ply -> tokens that stand before the move there, such as its number.
        hints: tokens of the piece types P, N, B, R, Q, K, if the moved piece may be named before its move.
        pattern: regular expression of a token (uci) or of a move (san) in plain text, for the text side of the
            tokenizer.
        merges: of byte-pair encoding, in order.
    """

    name: str
    context: int
    vocabulary: Tokens
    words: words.Kind
    split: Callable[[str], Tokens] = field(compare=False)
    join: Callable[[Tokens], str] = field(compare=False)
    extensions: Callable[[Tokens], frozenset[str]] = field(compare=False)
    ends: Callable[[Tokens], bool] = field(compare=False)
    pattern: str
    lead: Callable[[int], Tokens] = field(default=lambda ply: (), compare=False)
    hints: Tokens = ()
    merges: tuple[tuple[str, str], ...] = ()

    @property
    def reads_board(self) -> bool:
        """Whether it takes the board to write and read a move (UCI never does, SAN must)."""
        return self.words == "san"

    def spell(self, move: chess.Move, board: chess.Board) -> Tokens:
        """A move's tokens; the board before it is not changed."""
        write = words.san_word if self.reads_board else words.uci_word
        return self.split(write(move, board))

    def parse(self, tokens: Tokens, board: chess.Board) -> chess.Move | None:
        """The move that the tokens spell, legal or not; None if they spell none."""
        return words.read_word(self.join(tokens), board, self.words) if self.ends(tokens) else None


def legal_spellings(notation: Notation, board: chess.Board) -> dict[Tokens, chess.Move]:
    """Every legal move of a position by its tokens."""
    legal = words.legal_words(board, notation.words)
    return {notation.split(word): move for word, move in legal.items()}


def legal_continuations(notation: Notation, board: chess.Board, begun: Tokens = ()) -> frozenset[str]:
    """The tokens that can still become a legal move after the tokens of a move already begun."""
    return next_tokens(legal_spellings(notation, board), begun)


def next_tokens(spellings: Iterable[Tokens], begun: Tokens) -> frozenset[str]:
    """The tokens that go on from ``begun`` in some of the spellings."""
    n = len(begun)
    return frozenset(tokens[n] for tokens in spellings if len(tokens) > n and tokens[:n] == begun)


# UCI


def _uci_move() -> Notation:
    vocabulary = words.geometric_moves()
    first, known = frozenset(vocabulary), frozenset((token,) for token in vocabulary)
    return Notation(
        name="uci-move",
        context=512,
        vocabulary=vocabulary,
        words="uci",
        split=lambda word: (word,),
        join="".join,
        extensions=lambda begun: frozenset() if begun else first,
        ends=known.__contains__,
        # Without the look-ahead, c3a5 and b2a4 written together would be read as c3a5b and junk.
        pattern=r"[a-h][1-8][a-h][1-8](?:[qrbn](?![1-8]))?",
    )


def _uci_square() -> Notation:
    squares = frozenset(chess.SQUARE_NAMES)

    def extensions(begun: Tokens) -> frozenset[str]:
        if len(begun) > 2 or not squares.issuperset(begun):
            return frozenset()
        if len(begun) < 2:
            return squares
        promotes = words.is_promotion_step(*map(chess.parse_square, begun))
        return frozenset(PROMOTIONS) if promotes else frozenset()

    def ends(tokens: Tokens) -> bool:
        return len(tokens) in (2, 3) and words.read_word("".join(tokens), _ANY_BOARD, "uci") is not None

    return Notation(
        name="uci-square",
        context=1024,
        vocabulary=(*chess.SQUARE_NAMES, *PROMOTIONS),
        words="uci",
        split=lambda word: (word[:2], word[2:4], word[4:]) if len(word) > 4 else (word[:2], word[2:]),
        join="".join,
        extensions=extensions,
        ends=ends,
        hints=PIECES,
        pattern=r"[a-h][1-8]|[qrbn]|[PNBRQK]",
    )


_ANY_BOARD = chess.Board()

# SAN, as text in which each move ends with a space

_ALPHABET = tuple(sorted({*"".join(("BKNOQR", "abcdefgh", "12345678", "x=+#-", " "))}))
_NUMBERED_ALPHABET = tuple(sorted({*_ALPHABET, "0", "9", "."}))
NUMBERS = {"pgn-char": ".", "pgn-char-spaced": ". ", "bpe": "."}
"""What stands behind a move number, in the notations that have them."""
TRAINED = {"san": 4096, "bpe": 1024}
"""The notations whose vocabulary is learned from games, and how many tokens it has at most."""
ALPHABETS = {"san": _ALPHABET, "bpe": _NUMBERED_ALPHABET}
"""Characters that are tokens of them in any case, so that every move can be written."""


@cache
def _beginnings() -> frozenset[str]:
    """Every beginning of a SAN move with its space."""
    return beginnings(f"{san} " for san in words.geometric_sans())


def beginnings(texts: Iterable[str]) -> frozenset[str]:
    """Every beginning of some texts, the whole ones too."""
    return frozenset(text[:n] for text in texts for n in range(1, len(text) + 1))


def going_on(vocabulary: Tokens, begun: Callable[[], frozenset[str]]) -> Callable[[str], frozenset[str]]:
    """The tokens of a vocabulary that go on from a text; ``begun`` gives every text that may be reached."""
    return cache(lambda text: frozenset(token for token in vocabulary if text + token in begun()))


def _movetext(name: str, vocabulary: Tokens, merges: tuple[tuple[str, str], ...] = ()) -> Notation:
    """A text notation of that name, its tokens and merges."""
    split, go_on = _cut(vocabulary, merges), going_on(vocabulary, _beginnings)

    @cache
    def lead(move: int) -> Tokens:
        return split(f"{move}{NUMBERS[name]}")

    numbered = name in NUMBERS
    return Notation(
        name=name,
        context=1024 if name == "san" else 2048,
        vocabulary=vocabulary,
        words="san",
        split=lambda word: split(f"{word} "),
        join=lambda tokens: "".join(tokens).strip(" "),
        extensions=lambda begun: frozenset() if begun and begun[-1].endswith(" ") else go_on("".join(begun)),
        # Only the whole words end with a space.
        ends=lambda tokens: bool(tokens) and tokens[-1].endswith(" ") and "".join(tokens) in _beginnings(),
        lead=lambda ply: lead(ply // 2 + 1) if numbered and ply % 2 == 0 else (),
        pattern=r"\d+\. ?(?=[^ ])|[^ ]+ ?" if numbered else "[^ ]+ ?",
        merges=merges,
    )


def _cut(vocabulary: Tokens, merges: tuple[tuple[str, str], ...]) -> Callable[[str], Tokens]:
    """How a piece of text is cut into tokens, by the very library that plain transformers uses."""

    @cache
    def cut(text: str) -> Tokens:
        if text in whole:
            return (text,)
        return tuple(model().encode(text, add_special_tokens=False).tokens) if merges else tuple(text)

    @cache
    def model() -> Any:
        from tokenizers import Tokenizer

        return Tokenizer(text_model(vocabulary, merges))

    whole = frozenset(vocabulary)
    return cut


def text_model(vocabulary: Tokens, merges: tuple[tuple[str, str], ...]) -> Any:
    """The ``tokenizers`` model of a text notation: what is in the vocabulary whole is one token, the rest is merged
    from characters.

    Args:
        vocabulary: all tokens in the order of their ids, special ones included where they are.
        merges: pairs of tokens.
    """
    from tokenizers import models

    ids = {token: i for i, token in enumerate(vocabulary)}
    return models.BPE(vocab=ids, merges=list(merges), ignore_merges=True, unk_token="<unk>" if "<unk>" in ids else None)


def train_notation(name: str, games: Iterable[Iterable[str]], size: int = 0) -> Notation:
    """A notation whose vocabulary is learned from games.

    Args:
        name: ``san`` or ``bpe``.
        games: the SAN words of each.
        size: tokens at most; 0 takes the notation's own (``TRAINED``).
    """
    counts = Counter(word for game in games for word in game)
    size = size or TRAINED[name]
    if name == "san":
        alphabet = _ALPHABET
        # Of those equally common the first by name, so that no count of workers changes a vocabulary.
        common = sorted(counts, key=lambda word: (-counts[word], word))
        return _movetext(name, (*alphabet, *sorted(f"{word} " for word in common[: max(0, size - len(alphabet))])))
    return _movetext(name, *_learn_pieces(counts, size))


def _learn_pieces(counts: Counter[str], size: int) -> tuple[Tokens, tuple[tuple[str, str], ...]]:
    """Tokens and merges of byte-pair encoding on moves by their counts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    text = Tokenizer(models.BPE())
    text.pre_tokenizer = pre_tokenizers.Split("\n", "removed")  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=list(_NUMBERED_ALPHABET), show_progress=False)  # pyright: ignore[reportCallIssue]
    # Counts in proportion: the trainer takes texts, not counts.
    lines = (f"{word} " for word, count in sorted(counts.items()) for _ in range(count))
    text.train_from_iterator(lines, trainer)
    learned = json.loads(text.to_str())["model"]
    vocabulary = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    return tuple(vocabulary), tuple((first, second) for first, second in learned["merges"])


NAMES = ("uci-move", "uci-square", "san", "pgn-char", "pgn-char-spaced", "bpe")
TEXT = "text"
"""SAN in the tokens of a text model, whose own vocabulary it takes."""
PROSE = "prose"
"""What stands for a notation where there are no games, but text."""
PAIRS = "pairs"
"""The same where there are sources with their targets (``pairs``)."""


@cache
def get_notation(name: str, vocabulary: Tokens = (), merges: tuple[tuple[str, str], ...] = ()) -> Notation:
    """The notation of that name.

    Args:
        name: one of ``NAMES``.
        vocabulary, merges: of a notation whose vocabulary is learned.

    Raises:
        InputError: there is none.
    """
    if name == "uci-move":
        return _uci_move()
    if name == "uci-square":
        return _uci_square()
    if name in TRAINED and vocabulary:
        return _movetext(name, vocabulary, merges)
    if name in NUMBERS and name not in TRAINED:
        return _movetext(name, _NUMBERED_ALPHABET)
    check_name(name)
    if name == TEXT:
        raise InputError("text is written in the tokens of a model; name the model with --tokenizer")
    raise InputError(f"{name} has a vocabulary that is learned from games; there is none without them")


def check_name(name: str) -> None:
    """Raise InputError unless there is a notation of that name."""
    if name not in (*NAMES, TEXT):
        raise InputError(f"unknown notation {name!r}; known: {', '.join((*NAMES, TEXT))}")
