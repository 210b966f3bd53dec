"""What else might have been played: targets whose distribution is known, not to be guessed from what was drawn.

A game of random legal moves shows at each ply one of about 27, drawn with equal chances. The loss of the one drawn is a
sample; its expectation over all that might have been drawn has the same mean, and less noise (Rao and Blackwell):

    E[-log p(move)] = -1/k sum over the k legal moves of log p(move)

Any other game might have been left, at any ply, for a random legal move. Where a share s of the games that reach a
position leave it so, the move played counts 1 - s there, and the k legal ones s / k each. One pass over a game learns
from all its strays, of which a file would have a game for each.

Of a move in several tokens each token has the chances of the moves that begin as this one does.
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


class _Options(NamedTuple):
    """What might stand in a place.

    Attributes:
        moves: legal ones in the position.
        tokens: how many of those that begin as the move played go on with which token.
    """

    moves: int
    tokens: Counter[int]


@dataclass(frozen=True)
class RandomMover:
    """Knows the chances of every token of a game, given how likely it is left for a random legal move.

    Attributes:
        tokenizer: of a notation that writes moves without looking at the board.
        strays: how likely a game of people or engines is left for a random legal move, at any ply.

    Raises:
        InputError: the notation is another one.
    """

    tokenizer: GameTokenizer
    strays: float

    def __post_init__(self) -> None:
        if self.tokenizer.foreign or self.tokenizer.notation.reads_board:
            raise InputError("train.strays needs a notation of moves as UCI has them, such as uci-move or uci-square")

    def chances(self, games: Sequence[tuple[int, TokenizedGame, float]]) -> Chances:
        """Of the tokens of some games' moves.

        Args:
            games: each with the row that it stands in, and how likely a move in it is a random one: 1 in a game of
                random moves. They may be cut after any move.
        """
        found = [
            (row, at, share, options, int(game.ids[at]))
            for row, game, share in games
            for at, options in self._options(game)
        ]
        most = max((len(options.tokens) for *_, options, _ in found), default=0)
        ids, shares = np.zeros((len(found), most), np.int64), np.zeros((len(found), most), np.float32)
        for n, (_, _, share, options, played) in enumerate(found):
            each = share / options.moves
            chances = {token: each * count for token, count in options.tokens.items()}
            chances[played] += 1 - share
            ids[n, : len(chances)] = list(chances)
            shares[n, : len(chances)] = list(chances.values())
        where = np.array([(row, at) for row, at, *_ in found], np.int64).reshape(-1, 2)
        arrays = where[:, 0], where[:, 1], ids, shares / shares.sum(1, keepdims=True)
        return Chances(*(torch.from_numpy(np.ascontiguousarray(each)) for each in arrays))

    def _options(self, game: TokenizedGame) -> Iterator[tuple[int, _Options]]:
        """Of each token of a move: where it stands, and what might have stood there."""
        (begins,) = np.nonzero(game.role & int(Role.MOVE_BEGINS))
        (ends,) = np.nonzero(game.role & int(Role.MOVE_ENDS))
        ids, hinted = game.ids.tolist(), (game.role & int(Role.HINT)) > 0
        boards_before = boards.replay(self.tokenizer.decode_moves(game.ids))
        for first, last, board in zip(begins.tolist(), ends.tolist(), boards_before, strict=False):
            legal = board.generate_legal_moves(
                self._hinted(ids[first - 1], board) if hinted[first - 1] else chess.BB_ALL
            )
            open_to = [self.tokenizer.spell_code(boards.move_code(move)) for move in legal]
            moves = len(open_to)
            for at in range(first, last + 1):
                yield at, _Options(moves, Counter(spelled[at - first] for spelled in open_to))
                if at < last:
                    open_to = [spelled for spelled in open_to if spelled[at - first] == ids[at]]

    def _hinted(self, hint: int, board: chess.Board) -> chess.Bitboard:
        """Where the pieces stand that a hint names."""
        return board.pieces_mask(PIECES.index(self.tokenizer.tokens[hint]) + 1, board.turn)
