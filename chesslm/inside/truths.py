"""What is true of a position: the games' moves go in, labels that a probe may be asked for come out.

python-chess is the judge. Labels are kept compact, about 80 bytes a position, so that those of a million fit in memory.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import chess
import numpy as np
from numpy.typing import NDArray

from chesslm import boards

CODES = ".PNBRQKpnbrqk"
"""What may stand on a square, by its code."""
VALUES = np.array([0, 1, 3, 3, 5, 9, 0, -1, -3, -3, -5, -9, 0], np.float32)
"""Material, in pawns, by code; White's counts."""
CHUNK_GAMES = 16

Codes = NDArray[np.int8]
Labels = NDArray[np.int8]


@dataclass(frozen=True)
class Truths:
    """What is true after each move of a game, P positions.

    Attributes:
        pieces: codes of what stands on each square (``CODES``), a1 first, (P, 64).
        white: whether White is to move, (P,).
        castling: the rights K, Q, k and q, (P, 4).
        en_passant: whether a legal move takes en passant, (P,).
        check: whether the side to move is in check, (P,).
        repeated: whether the position occurred before: the same squares, side, rights and legal en passant, (P,).
    """

    pieces: NDArray[np.int8]
    white: NDArray[np.bool_]
    castling: NDArray[np.bool_]
    en_passant: NDArray[np.bool_]
    check: NDArray[np.bool_]
    repeated: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.white)

    def __getitem__(self, some: slice | NDArray[np.int64]) -> "Truths":
        return Truths(*(getattr(self, name)[some] for name in self.__dataclass_fields__))

    @property
    def material(self) -> NDArray[np.float32]:
        """Pawns' worth that the side to move is ahead, (P,)."""
        return VALUES[self.pieces].sum(1) * np.where(self.white, 1, -1).astype(np.float32)


def put(board: chess.BaseBoard, pieces: NDArray[np.int8]) -> None:
    """Put the pieces of some codes, (64,), on an empty board."""
    for square in np.flatnonzero(pieces).tolist():
        board.set_piece_at(square, chess.Piece.from_symbol(CODES[pieces[square]]))


def letters(pieces: NDArray[np.int8]) -> str:
    """What stands on each square by its letter, a1 first, from codes (64,)."""
    return "".join(CODES[code] for code in pieces)


def joined(parts: Sequence[Truths]) -> Truths:
    """The positions of several games behind one another."""
    return Truths(*(np.concatenate([getattr(part, name) for part in parts]) for name in Truths.__dataclass_fields__))


def truths_of(codes: boards.MoveCodes) -> Truths:
    """What is true after each move of a game."""
    sets, facts = [], []
    for ply, board in enumerate(boards.replay(boards.to_moves(codes))):
        if ply:
            sets.append(_piece_sets(board))
            rights = (board.has_kingside_castling_rights, board.has_queenside_castling_rights)
            castling = [has(color) for color in (chess.WHITE, chess.BLACK) for has in rights]
            now = board.has_legal_en_passant(), board.is_check(), board.is_repetition(2)
            facts.append((board.turn, *castling, *now))
    found = np.array(facts, bool).reshape(len(facts), 8)
    return Truths(_pieces(sets), found[:, 0], found[:, 1:5], found[:, 5], found[:, 6], found[:, 7])


def truths_of_games(games: Sequence[boards.MoveCodes], pool: Executor) -> list[Truths]:
    """What is true after each move of each game."""
    return list(pool.map(truths_of, games, chunksize=CHUNK_GAMES))


def pieces_of(codes: boards.MoveCodes) -> NDArray[np.int8]:
    """What stands on each square before each move and after the last one, by code, (plies + 1, 64), a1 first."""
    return _pieces([_piece_sets(board) for board in boards.replay(boards.to_moves(codes))])


def _pieces(sets: Sequence[Sequence[int]]) -> NDArray[np.int8]:
    bits = np.unpackbits(np.array(sets, np.uint64).reshape(len(sets), 12, 1).view(np.uint8), axis=-1, bitorder="little")
    return (bits * np.arange(1, 13, dtype=np.uint8)[:, None]).sum(1).astype(np.int8)


def _piece_sets(board: chess.Board) -> list[int]:
    """The squares of each kind of piece as bits, in the order of ``CODES``."""
    kinds = (board.pawns, board.knights, board.bishops, board.rooks, board.queens, board.kings)
    return [kind & board.occupied_co[color] for color in (chess.WHITE, chess.BLACK) for kind in kinds]


def mine(pieces: NDArray[np.int8], white: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Codes with the side to move in the place of White, and back again; squares stay where they are.

    Args:
        pieces: (P, 64).
        white: whether White is to move, (P,).
    """
    swapped = np.where(pieces > 6, pieces - 6, np.where(pieces > 0, pieces + 6, 0))
    return np.where(white[:, None], pieces, swapped).astype(np.int8)


@dataclass(frozen=True)
class Question:
    """What a probe may be asked of a position.

    Attributes:
        name: of its figures.
        items: things asked for at once, such as 64 squares.
        answers: that each has.
        labels: the right ones, (P, items).
    """

    name: str
    items: int
    answers: int
    labels: Callable[[Truths], Labels]

    @property
    def columns(self) -> int:
        """Scores that a probe gives."""
        return self.items * self.answers

    def likeliest(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """The answers of the largest scores, (P, items), from (P, items * answers)."""
        return scores.reshape(len(scores), self.items, self.answers).argmax(-1)


def _rights(truths: Truths) -> Labels:
    """Castling rights of the side to move, then of the other: K and Q each."""
    return np.where(truths.white[:, None], truths.castling, truths.castling[:, [2, 3, 0, 1]]).astype(np.int8)


BOARD = Question("board", 64, len(CODES), lambda truths: mine(truths.pieces, truths.white))
"""What stands where, a piece being of the side to move or of the other: "mine" and "yours" (Nanda et al. 2023)."""
ABSOLUTE = Question("absolute", 64, len(CODES), lambda truths: truths.pieces)
"""The same, a piece being White's or Black's."""
FACTS = (
    Question("castling", 4, 2, _rights),
    Question("castling_absolute", 4, 2, lambda truths: truths.castling.astype(np.int8)),
    Question("en_passant", 1, 2, lambda truths: truths.en_passant[:, None].astype(np.int8)),
    Question("side", 1, 2, lambda truths: truths.white[:, None].astype(np.int8)),
    Question("check", 1, 2, lambda truths: truths.check[:, None].astype(np.int8)),
    Question("repetition", 1, 2, lambda truths: truths.repeated[:, None].astype(np.int8)),
)
"""What is true or not."""
