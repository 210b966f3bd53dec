"""Square prompts: where may the piece that starts from a square go, and where may a piece of some type start from?

Games as move codes, or a file of prompts, in; prompts with their legal answers out, python-chess being the judge.
The rules are those of Toshniwal, Wiseman, Livescu and Gimpel 2022, "Chess as a Testbed for Language Model State
Tracking", AAAI, as in their code (github.com/shtoshni/learning-chess-blindfolded, generate_cloze_eval_tasks.py).
500 games take about a second. Needs no torch.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import chess
import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.errors import InputError
from chesslm.notation import get_notation

TASKS = ("end_actual", "end_other", "start_actual", "start_other")
"""What may be asked after a prefix: the end square of the piece that was moved or of another one, given the square it
starts from; the start square of a piece of the type that was moved or of another type, given that type."""
LENGTHS = {"long (51-100)": range(51, 101), "short (5-50)": range(5, 51)}
"""Plies of a prefix."""


@dataclass(frozen=True)
class Question:
    """A square that is asked for.

    Attributes:
        given: the square that the piece starts from, 0 to 63; where that is what is asked for, its type, 1 to 6.
        legal: the legal answers.
        played: the answer of the game; None where another piece is asked about than the one that was moved.
    """

    given: int
    legal: frozenset[int]
    played: int | None = None


@dataclass(frozen=True)
class Prompt:
    """What is asked after the first moves of a game.

    Attributes:
        prefix: codes of those moves.
        questions: by task, of ``TASKS``; not every prompt has all of them.
        game: number of the game; prompts of one game are not independent.
    """

    prefix: tuple[int, ...]
    questions: Mapping[str, Question]
    game: int


@dataclass(frozen=True)
class _Legal:
    """The legal moves of a position by their squares; castling is one of the king's moves."""

    board: chess.Board

    @cached_property
    def ends(self) -> dict[int, frozenset[int]]:
        """End squares by start square."""
        found: dict[int, set[int]] = {}
        for move in self.board.generate_legal_moves():
            found.setdefault(move.from_square, set()).add(move.to_square)
        return {origin: frozenset(targets) for origin, targets in found.items()}

    def piece(self, origin: int) -> int:
        """Type of the piece on a square, 0 if there is none."""
        return self.board.piece_type_at(origin) or 0

    def starts(self, piece: int) -> frozenset[int]:
        """Squares from which a piece of a type can move."""
        return frozenset(origin for origin in self.ends if self.piece(origin) == piece)

    def end(self, origin: int, played: int | None = None) -> Question:
        """Where may the piece go that starts from a square?"""
        return Question(origin, self.ends[origin], played)

    def start(self, piece: int, played: int | None = None) -> Question:
        """Where may a piece of a type start from?"""
        return Question(piece, self.starts(piece), played)


# Made from games


def make_prompts(
    codes: Sequence[boards.MoveCodes], seed: int, first_novel: NDArray[np.int64] | None = None
) -> list[Prompt]:
    """Prompts from games: of each game one for either length of prefix, if it has one that will do.

    A prefix will do if the move after it is neither a pawn's nor castling, if pieces other than pawns could start
    from more than one square and be of more than one type, and if no other prompt has it. Of those that will do each
    is as likely. The other square and the other type are drawn apart from each other; neither is a pawn's.

    Args:
        codes: the games, legal from the standard start.
        seed: of all draws.
        first_novel: first ply of each game at which the position occurs in no training game, (games,); prefixes that
            do not reach so far are left out, so that all are unseen in training. None: not known, none is left out.
    """
    rng = np.random.default_rng(seed)
    prompts: dict[tuple[int, ...], Prompt] = {}
    for game, each in enumerate(codes):
        played, candidates = each.tolist(), _before_piece_moves(each)
        novel = 0 if first_novel is None else int(first_novel[game])
        for plies in LENGTHS.values():
            able = [ply for ply in plies if ply in candidates and ply >= novel]
            for ply in rng.permutation(able).tolist():
                prefix = tuple(played[:ply])
                if prefix not in prompts and (questions := _questions(*candidates[ply], rng)):
                    prompts[prefix] = Prompt(prefix, questions, game)
                    break
    return list(prompts.values())


def _before_piece_moves(codes: boards.MoveCodes) -> dict[int, tuple[chess.Board, chess.Move]]:
    """By ply, the position and the move of a game that is neither a pawn's nor castling."""
    found: dict[int, tuple[chess.Board, chess.Move]] = {}
    moves = boards.to_moves(codes[: max(map(max, LENGTHS.values())) + 1])
    for ply, (move, board) in enumerate(zip(moves, boards.replay(moves), strict=False)):
        if board.piece_type_at(move.from_square) != chess.PAWN and not board.is_castling(move):
            found[ply] = board.copy(stack=False), move
    return found


def _questions(board: chess.Board, move: chess.Move, rng: np.random.Generator) -> dict[str, Question] | None:
    """The questions of a position; None if there is no other piece or no other type to ask about."""
    legal = _Legal(board)
    pieces = {origin: legal.piece(origin) for origin in sorted(legal.ends) if legal.piece(origin) != chess.PAWN}
    others = [origin for origin in pieces if origin != move.from_square]
    types = sorted(set(pieces.values()) - {pieces[move.from_square]})
    if not types:
        return None
    return {
        "end_actual": legal.end(move.from_square, move.to_square),
        "end_other": legal.end(others[rng.integers(len(others))]),
        "start_actual": legal.start(pieces[move.from_square], move.from_square),
        "start_other": legal.start(types[rng.integers(len(types))]),
    }


# Read from a file


def read_prompts(path: Path | str) -> list[Prompt]:
    """Prompts from a file of JSON lines with the fields of the paper's data, each line a game of its own.

    ``prefix`` (UCI, whole moves or squares), ``starting_square`` and ``ending_square`` have to be there, and any
    of the rest may be missing: ``legal_ending_square``, ``piece_type``, ``other_starting_square``,
    ``other_ending_square``, ``other_piece_type``. A line with ``legal_starting_square`` and no ``ending_square`` asks
    for start squares alone; ``other_starting_square`` are then all those of ``other_piece_type``. Lists may also be
    strings with spaces. Legal squares are found anew; a list may leave castling out, as the paper's do, but castling
    is legal all the same. Other fields are passed over.

    Raises:
        InputError: there is no such file, or nothing in it, or a line is no JSON or contradicts the rules of chess;
            the message names the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not readable ({error})") from error
    prompts: list[Prompt] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            prompts.append(_read_row(_Row(_read_json(line)), len(prompts)))
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
    if not prompts:
        raise InputError(f"{path}: no prompts in it")
    return prompts


def _read_json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise InputError(f"not JSON ({reason})") from error


@dataclass(frozen=True)
class _Row:
    """The fields of a line; one that is missing or null is None."""

    fields: Any

    def __post_init__(self) -> None:
        if not isinstance(self.fields, dict):
            raise InputError("not a JSON object")

    def words(self, key: str) -> list[str] | None:
        """A string at its spaces, or a list of strings."""
        value = self.fields.get(key)
        if value is None:
            return None
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{key} is neither a string nor a list of strings")
        return [word for text in texts for word in text.split()]

    def squares(self, key: str) -> frozenset[int] | None:
        """Squares in any order."""
        words = self.words(key)
        for word in words or ():
            if word not in chess.SQUARE_NAMES:
                raise InputError(f"{word!r} in {key} is no square")
        return None if words is None else frozenset(map(chess.parse_square, words))

    def square(self, key: str) -> int:
        """One square, which has to be there."""
        squares = self.squares(key)
        if squares is None or len(squares) != 1:
            raise InputError(f"{key} is missing" if squares is None else f"{key} is not one square")
        return min(squares)

    def piece(self, key: str) -> int | None:
        """A type of piece by its letter."""
        words = self.words(key)
        if words is None:
            return None
        symbols = [word.lower() for word in words]
        if len(symbols) != 1 or symbols[0] not in chess.PIECE_SYMBOLS[1:]:
            raise InputError(f"{' '.join(words)!r} in {key} is no type of piece; types are P, N, B, R, Q and K")
        return chess.PIECE_SYMBOLS.index(symbols[0])


def _read_row(row: _Row, game: int) -> Prompt:
    words = row.words("prefix")
    if words is None:
        raise InputError("prefix is missing")
    board = _replay("".join(words))
    legal = _Legal(board)
    origin = _origin(row, "starting_square", "piece_type", legal)
    piece = legal.piece(origin)
    _check_squares(row, "legal_starting_square", legal.starts(piece))
    questions = {"start_actual": legal.start(piece, origin)}
    other_piece = row.piece("other_piece_type")
    if "ending_square" in row.fields or "legal_starting_square" not in row.fields:
        target = row.square("ending_square")
        if target not in legal.ends[origin]:
            move = chess.SQUARE_NAMES[origin] + chess.SQUARE_NAMES[target]
            raise InputError(f"{move} is not legal (from starting_square to ending_square)")
        questions["end_actual"] = legal.end(origin, target)
        _check_ends(row, "legal_ending_square", legal, origin)
        if row.words("other_starting_square") is not None:
            other = _origin(row, "other_starting_square", "other_piece_type", legal)
            if other == origin:
                raise InputError("other_starting_square is starting_square")
            _check_ends(row, "other_ending_square", legal, other)
            questions["end_other"] = legal.end(other)
            other_piece = legal.piece(other)
        elif row.words("other_ending_square") is not None:
            raise InputError("other_starting_square is missing, and other_ending_square is not")
    elif other_piece:
        _check_squares(row, "other_starting_square", legal.starts(other_piece))
    # The other piece of a question for an end square may be of the same type.
    if other_piece and other_piece != piece:
        questions["start_other"] = legal.start(other_piece)
        if not questions["start_other"].legal:
            raise InputError(f"no {chess.PIECE_NAMES[other_piece]} (other_piece_type) has a legal move")
    return Prompt(tuple(boards.to_codes(board.move_stack).tolist()), questions, game)


def _replay(text: str) -> chess.Board:
    """The board after moves from the standard start, written in UCI without spaces."""
    notation, board, at = get_notation("uci-move"), chess.Board(), 0
    pattern = re.compile(notation.pattern)
    while at < len(text):
        word = pattern.match(text, at)
        if not word:
            raise InputError(f"{text[at : at + 5]!r} in prefix, at ply {board.ply()}, is no move in UCI")
        move = notation.parse((word[0],), board)
        if kind := boards.illegal_kind(board, move):
            raise InputError(f"{word[0]} in prefix, at ply {board.ply()}, is not legal: {kind}")
        assert move
        board.push(move)
        at = word.end()
    return board


def _origin(row: _Row, key: str, piece_key: str, legal: _Legal) -> int:
    """A square with a piece on it that can move, and is what the line says."""
    origin, piece = row.square(key), row.piece(piece_key)
    if origin not in legal.ends:
        raise InputError(f"no legal move starts from {chess.SQUARE_NAMES[origin]} ({key})")
    if piece not in (None, legal.piece(origin)):
        on_it = chess.PIECE_NAMES[legal.piece(origin)]
        raise InputError(f"on {chess.SQUARE_NAMES[origin]} stands a {on_it}, and {piece_key} says otherwise")
    return origin


def _check_ends(row: _Row, key: str, legal: _Legal, origin: int) -> None:
    castling = {move.to_square for move in legal.board.generate_castling_moves() if move.from_square == origin}
    _check_squares(row, key, legal.ends[origin], legal.ends[origin] - castling)


def _check_squares(row: _Row, key: str, *allowed: frozenset[int]) -> None:
    """A list of squares that may be missing has to be one of those."""
    given = row.squares(key)
    if given is not None and given not in allowed:
        raise InputError(f"{key} says {_names(given)}; by the rules of chess it is {_names(allowed[0])}")


def _names(squares: Iterable[int]) -> str:
    return " ".join(chess.SQUARE_NAMES[square] for square in sorted(squares)) or "none"
