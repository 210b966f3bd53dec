"""What a random mover might have played: the distribution that its moves were drawn from is known, not to be guessed.

A game of random legal moves shows at each ply one of about 27, drawn with equal chances. The loss of the one drawn is a
sample; its expectation over all that might have been drawn has the same mean, and less noise (Rao and Blackwell):

    E[-log p(move)] = -1/k sum over the k legal moves of log p(move)

Of a move in several tokens each token has the chances of the legal moves that begin as this one does.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import chess
import numpy as np
import torch

from chesslm import boards
from chesslm.errors import InputError
from chesslm.notation import PIECES
from chesslm.tokenizer import GameTokenizer, Role, TokenizedGame


class Chances(NamedTuple):
    """The distributions that some tokens were drawn from; N tokens, at most K different ones each.

    Attributes:
        row: game of each, (N,).
        at: its place in that game, (N,).
        ids: tokens that might have stood there, (N, K).
        shares: how likely each of them was, (N, K); 0 behind the last one.
    """

    row: torch.Tensor
    at: torch.Tensor
    ids: torch.Tensor
    shares: torch.Tensor


@dataclass(frozen=True)
class RandomMover:
    """Knows the chances of every token of a game of random legal moves.

    Attributes:
        tokenizer: of a notation that writes moves without looking at the board.

    Raises:
        InputError: the notation is another one.
    """

    tokenizer: GameTokenizer

    def __post_init__(self) -> None:
        if self.tokenizer.foreign or self.tokenizer.notation.reads_board:
            raise InputError("train.expected needs a notation of moves as UCI has them, such as uci-move or uci-square")

    def chances(self, games: Sequence[tuple[int, TokenizedGame]]) -> Chances:
        """Of the tokens of some games' moves.

        Args:
            games: each with the row that it stands in; they may be cut after any move.
        """
        found = [(row, at, counts) for row, game in games for at, counts in self._counts(game)]
        most = max((len(counts) for _, _, counts in found), default=0)
        ids, shares = np.zeros((len(found), most), np.int64), np.zeros((len(found), most), np.float32)
        for n, (_, _, counts) in enumerate(found):
            ids[n, : len(counts)] = list(counts)
            shares[n, : len(counts)] = list(counts.values())
        where = np.array([(row, at) for row, at, _ in found], np.int64).reshape(-1, 2)
        arrays = where[:, 0], where[:, 1], ids, shares / shares.sum(1, keepdims=True)
        return Chances(*(torch.from_numpy(np.ascontiguousarray(each)) for each in arrays))

    def _counts(self, game: TokenizedGame) -> Iterator[tuple[int, Counter[int]]]:
        """Of each token of a move: where it stands, and how many legal moves go on with which token."""
        (begins,) = np.nonzero(game.role & Role.MOVE_BEGINS)
        (ends,) = np.nonzero(game.role & Role.MOVE_ENDS)
        ids, hinted = game.ids.tolist(), (game.role & Role.HINT) > 0
        boards_before = boards.replay(self.tokenizer.decode_moves(game.ids))
        for first, last, board in zip(begins.tolist(), ends.tolist(), boards_before, strict=False):
            legal = board.generate_legal_moves(
                self._hinted(ids[first - 1], board) if hinted[first - 1] else chess.BB_ALL
            )
            open_to = [self.tokenizer.spell_code(boards.move_code(move)) for move in legal]
            for at in range(first, last + 1):
                yield at, Counter(spelled[at - first] for spelled in open_to)
                if at < last:
                    open_to = [spelled for spelled in open_to if spelled[at - first] == ids[at]]

    def _hinted(self, hint: int, board: chess.Board) -> chess.Bitboard:
        """Where the pieces stand that a hint names."""
        return board.pieces_mask(PIECES.index(self.tokenizer.tokens[hint]) + 1, board.turn)
