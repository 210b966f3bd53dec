"""What is true of each position of a game, by python-chess: legal moves, phase, check, special moves.

Games as move codes in, flat arrays over the plies of all games out (P in all, in the order of the games), so that a
metric by group is a sum over a mask. The work is spread over a pool of processes, which import no torch.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import IntFlag
from functools import cached_property
from typing import Any

import chess
import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.fast import legal_moves
from chesslm.words import read_word, san_word

PHASES = ("opening", "middlegame", "endgame")
CHUNK_GAMES = 16
"""Games a worker gets at once: about 50 ms of work."""


class Special(IntFlag):
    """What is special about the move that was played, or about the position it was played in."""

    CASTLING = 1
    EN_PASSANT = 2
    PROMOTION = 4
    PINNED_PIECE = 8
    """A piece of the side to move is pinned to its king."""
    DOUBLE_CHECK = 16
    CHECK = 32


@dataclass(frozen=True)
class Positions:
    """The positions before each move of some games.

    Attributes:
        lengths: plies of each game, int64 (games,).
        played: code of the move that was played, uint16 (P,).
        legal: codes of the legal moves, one position after the other, rising in each, uint16 (sum of n_legal,).
        n_legal: how many each position has, int64 (P,).
        phase: index into ``PHASES``, uint8 (P,).
        piece: type of the piece that was moved, 1 (pawn) to 6 (king), uint8 (P,).
        special: ``Special`` bits, uint8 (P,).
    """

    lengths: NDArray[np.int64]
    played: boards.MoveCodes
    legal: boards.MoveCodes
    n_legal: NDArray[np.int64]
    phase: NDArray[np.uint8]
    piece: NDArray[np.uint8]
    special: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.played)

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """Where each game begins, and the end, shape (games + 1,)."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    @cached_property
    def game(self) -> NDArray[np.int64]:
        """The game of each position, shape (P,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def ply(self) -> NDArray[np.int64]:
        """The ply of each position, from 0, shape (P,)."""
        return np.arange(len(self)) - self.first[self.game]

    @cached_property
    def first_legal(self) -> NDArray[np.int64]:
        """Where the legal moves of each position begin in ``legal``, and the end, shape (P + 1,)."""
        return np.concatenate([[0], np.cumsum(self.n_legal)])

    def legal_codes(self, position: int) -> boards.MoveCodes:
        """The legal moves of one position."""
        return self.legal[self.first_legal[position] : self.first_legal[position + 1]]


def find_positions(games: Sequence[boards.MoveCodes], pool: Executor) -> Positions:
    """The positions of games of legal moves from the standard start."""
    parts = pool.map(_facts, _chunks(games))
    legal, n_legal, phase, piece, special = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    lengths = np.array([len(game) for game in games], dtype=np.int64)
    return Positions(lengths, np.concatenate(games), legal, n_legal, phase, piece, special)


def illegal_kinds(
    positions: Positions, chosen: boards.MoveCodes, where: NDArray[np.int64], pool: Executor
) -> list[boards.Illegal]:
    """Why moves are illegal.

    Args:
        positions: of some games.
        chosen: the illegal move of each position asked about, 0 for no move at all, uint16 (n,).
        where: those positions, rising, shape (n,).
        pool: processes.

    Returns:
        The kind of each of them.
    """
    games, asked, spans = _by_game(positions, where)
    answers = pool.map(_kinds, _chunks(games), _chunks(asked), _chunks([chosen[span] for span in spans]))
    return [kind for chunk in answers for kind in chunk]


def legal_words(positions: Positions, where: NDArray[np.int64], pool: Executor) -> dict[int, list[str]]:
    """The legal moves of some positions in SAN, in the order of ``Positions.legal_codes``, by position.

    Args:
        positions: of some games.
        where: those positions, rising, shape (n,).
        pool: processes.
    """
    games, asked, _ = _by_game(positions, where)
    answers = pool.map(_legal_words, _chunks(games), _chunks(asked))
    return dict(zip(where.tolist(), (words for chunk in answers for words in chunk), strict=True))


def read_words(
    positions: Positions, words: Sequence[str], where: NDArray[np.int64], pool: Executor
) -> boards.MoveCodes:
    """The moves that words of SAN mean in some positions, legal or not; 0 for none, shape (n,).

    Args:
        positions: of some games.
        words: one for each position.
        where: those positions, rising, shape (n,).
        pool: processes.
    """
    games, asked, spans = _by_game(positions, where)
    answers = pool.map(_read, _chunks(games), _chunks(asked), _chunks([words[span] for span in spans]))
    return np.array([code for chunk in answers for code in chunk], dtype=np.uint16)


def _by_game(
    positions: Positions, where: NDArray[np.int64]
) -> tuple[list[boards.MoveCodes], list[NDArray[np.int64]], list[slice]]:
    """Positions by game: the games, the plies asked about in each, and where these stand in ``where``."""
    games, asked, spans = [], [], []
    for game in np.unique(positions.game[where]).tolist():
        start, stop = positions.first[game : game + 2]
        span = slice(*np.searchsorted(where, (start, stop)))
        games.append(positions.played[start:stop])
        asked.append(where[span] - start)
        spans.append(span)
    return games, asked, spans


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), CHUNK_GAMES):
        yield items[start : start + CHUNK_GAMES]


# In a worker


def _facts(games: Sequence[boards.MoveCodes]) -> tuple[NDArray[Any], ...]:
    legal, n_legal = zip(*legal_moves(games), strict=True)
    phases: list[int] = []
    pieces: list[int] = []
    specials: list[int] = []
    for game in games:
        phase = 0
        moves = boards.to_moves(game)
        for move, board in zip(moves, boards.replay(moves), strict=False):
            if phase < len(PHASES) - 1:
                phase = max(phase, game_phase(board))
            phases.append(phase)
            pieces.append(board.piece_type_at(move.from_square) or 0)
            specials.append(special(board, move))
    return (
        np.concatenate(legal),
        np.concatenate(n_legal),
        *(np.array(values, dtype=np.uint8) for values in (phases, pieces, specials)),
    )


def _kinds(
    games: Sequence[boards.MoveCodes], asked: Sequence[NDArray[np.int64]], moves: Sequence[boards.MoveCodes]
) -> list[boards.Illegal]:
    kinds: list[boards.Illegal] = []
    for game, plies, codes in zip(games, asked, moves, strict=True):
        for board, code in zip(_boards_at(game, plies), codes.tolist(), strict=True):
            kind = boards.illegal_kind(board, boards.code_move(code) if code else None)
            assert kind, f"{boards.code_move(code)} is legal in {board.fen()}"
            kinds.append(kind)
    return kinds


def _legal_words(games: Sequence[boards.MoveCodes], asked: Sequence[NDArray[np.int64]]) -> list[list[str]]:
    boards_asked = (board for game, plies in zip(games, asked, strict=True) for board in _boards_at(game, plies))
    return [
        [san_word(move, board) for move in boards.to_moves(sorted(boards.legal_codes(board)))] for board in boards_asked
    ]


def _read(
    games: Sequence[boards.MoveCodes], asked: Sequence[NDArray[np.int64]], words: Sequence[Sequence[str]]
) -> list[int]:
    codes: list[int] = []
    for game, plies, said in zip(games, asked, words, strict=True):
        for board, word in zip(_boards_at(game, plies), said, strict=True):
            move = read_word(word, board, "san")
            codes.append(boards.move_code(move) if move else 0)
    return codes


def _boards_at(game: boards.MoveCodes, plies: NDArray[np.int64]) -> Iterator[chess.Board]:
    """The boards of a game at some plies, rising; one board that moves on."""
    wanted = frozenset(plies.tolist())
    for ply, board in enumerate(boards.replay(boards.to_moves(game[: int(plies[-1])]))):
        if ply in wanted:
            yield board


def game_phase(board: chess.Board) -> int:
    """Index into ``PHASES``: endgame with at most 6 pieces other than pawns and kings on the board, middlegame with
    at most 10 or when a side has fewer than 4 of its men left on its first rank, else opening.

    After lichess's Divider (scalachess, Divider.scala), without its measure of mixed-up sides. A game never goes
    back to an earlier phase; that is the caller's to see to.
    """
    pieces = (board.occupied & ~board.pawns & ~board.kings).bit_count()
    if pieces <= 6:
        return 2
    home = min(
        (board.occupied_co[chess.WHITE] & chess.BB_RANK_1).bit_count(),
        (board.occupied_co[chess.BLACK] & chess.BB_RANK_8).bit_count(),
    )
    return 1 if pieces <= 10 or home < 4 else 0


def special(board: chess.Board, move: chess.Move) -> Special:
    """What is special about a move and the position before it."""
    found = 0
    checkers = board.checkers_mask().bit_count()
    if checkers:
        found |= Special.CHECK
    if checkers > 1:
        found |= Special.DOUBLE_CHECK
    if pinned(board):
        found |= Special.PINNED_PIECE
    if move.promotion:
        found |= Special.PROMOTION
    if move.from_square == board.king(board.turn):
        if board.is_castling(move):
            found |= Special.CASTLING
    elif board.is_en_passant(move):
        found |= Special.EN_PASSANT
    return Special(found)


def pinned(board: chess.Board) -> int:
    """The pieces of the side to move that are pinned to its king, as a bitboard."""
    king = board.king(board.turn)
    assert king is not None
    straight = (chess.BB_RANK_ATTACKS[king][0] | chess.BB_FILE_ATTACKS[king][0]) & (board.rooks | board.queens)
    diagonal = chess.BB_DIAG_ATTACKS[king][0] & (board.bishops | board.queens)
    found = 0
    for sniper in chess.scan_forward((straight | diagonal) & board.occupied_co[not board.turn]):
        between = chess.between(king, sniper) & board.occupied
        if between.bit_count() == 1:
            found |= between & board.occupied_co[board.turn]
    return found
