"""What else might have been played: targets whose distribution is known, not to be guessed from what was drawn.

A game of random legal moves shows at each ply one of about 27, drawn with equal chances. The loss of the one drawn is a
sample; its expectation over all that might have been drawn has the same mean, and less noise (Rao and Blackwell):

    E[-log p(move)] = -1/k sum over the k legal moves of log p(move)

Any other game might have been left, at any ply, for a random legal move. Where a share s of the games that reach a
position leave it so, the move played counts 1 - s there, and the k legal ones s / k each. One pass over a game learns
from all its strays, of which a file would have a game for each.

Of a move in several tokens each token has the chances of the moves that begin as this one does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from chesslm import boards
from chesslm.config import TrainConfig
from chesslm.errors import InputError
from chesslm.fast import legal_moves
from chesslm.shards import Dataset
from chesslm.tokenizer import GameTokenizer, Role, TokenizedGame


class Chances(NamedTuple):
    """The distributions that some tokens were drawn from; N tokens, at most K different ones each.

    Attributes:
        row: game of each, (N,).
        at: its place in that game, (N,).
        ids: tokens that might have stood there, (N, K).
        shares: how likely each of them was, (N, K); 0 behind the last one.
        legal: which of them begin or go on with a legal move, each named once, (N, K).
    """

    row: torch.Tensor
    at: torch.Tensor
    ids: torch.Tensor
    shares: torch.Tensor
    legal: torch.Tensor


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
            raise InputError("train.strays and train.legality need a notation such as uci-move or uci-square")

    def chances(self, games: Sequence[tuple[int, TokenizedGame, float]]) -> Chances:
        """Of the tokens of some games' moves.

        Args:
            games: each with the row that it stands in, and how likely a move in it is a random one: 1 in a game of
                random moves. They may be cut after any move.
        """
        played = [self._played(game) for _, game, _ in games]
        parts = [
            self._of_game(game, share, codes, *legal)
            for (_, game, share), codes, legal in zip(games, played, legal_moves(played), strict=True)
        ]
        row = np.repeat([row for row, _, _ in games], [len(at) for at, *_ in parts])
        most = max((ids.shape[1] for _, ids, *_ in parts), default=0)
        ids, shares, may = (np.concatenate([_widened(part[n], most) for part in parts]) for n in (1, 2, 3))
        arrays = row, np.concatenate([at for at, *_ in parts]), ids, shares.astype(np.float32), may
        return Chances(*map(torch.from_numpy, arrays))

    def _played(self, game: TokenizedGame) -> boards.MoveCodes:
        """The moves of a game, looked up by their tokens: a tenth of the time of reading them one by one, or less."""
        keys, codes, radix = self._spellings
        begins, ends = (np.flatnonzero(game.role & int(role)) for role in (Role.MOVE_BEGINS, Role.MOVE_ENDS))
        place = begins[:, None] + np.arange(len(radix))
        ids = np.where(place <= ends[:, None], game.ids[np.minimum(place, len(game.ids) - 1)], 0)
        return codes[np.searchsorted(keys, ids @ radix)]

    @cached_property
    def _spellings(self) -> tuple[NDArray[np.int64], boards.MoveCodes, NDArray[np.int64]]:
        """The ids of every move as one number, in order; the moves; what an id counts at each place of a move."""
        assert self.tokenizer.by_code
        table, _ = self.tokenizer.by_code
        radix = len(self.tokenizer) ** np.arange(table.shape[1])
        keys = table @ radix
        order = np.argsort(keys)
        return keys[order], order.astype(np.uint16), radix

    def _of_game(
        self,
        game: TokenizedGame,
        share: float,
        played: boards.MoveCodes,
        legal: boards.MoveCodes,
        n_legal: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
        """Places, ids, shares and which are legal in one game, given the legal moves before each of its own
        (``fast.legal_moves``)."""
        assert self.tokenizer.by_code
        table, _ = self.tokenizer.by_code
        position = np.repeat(np.arange(len(played)), n_legal)
        column = np.arange(len(legal)) - np.repeat(np.cumsum(n_legal) - n_legal, n_legal)
        begins = np.flatnonzero(game.role & int(Role.MOVE_BEGINS))
        fits = _goes_with_hint(game.role[begins - 1], played, legal, position)
        # Each of all legal moves is as likely as any; a hint then says which of them may still be.
        chance = fits * (share / n_legal[position] + (1 - share) * (legal == played[position]))
        found = []
        for token in range(table.shape[1]):
            ids, shares = np.zeros((2, len(played), n_legal.max(initial=0)))
            may = np.zeros(ids.shape, bool)
            ids[position, column] = table[legal, token]
            shares[position, column] = chance
            some = np.flatnonzero(fits)
            if table.shape[1] > 1:  # where several moves begin alike
                some = some[np.unique(position[some] << 32 | table[legal[some], token], return_index=True)[1]]
            may[position[some], column[some]] = True
            # A move that stands here has so many tokens.
            here = table[played, token] > 0
            found.append((begins[here] + token, ids[here], shares[here], may[here]))
            same = table[legal, token] == table[played, token][position]
            chance, fits = chance * same, fits & same
        at, ids, shares, may = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        order = np.argsort(at)
        return at[order], ids[order].astype(np.int64), (shares / shares.sum(1, keepdims=True))[order], may[order]


def random_mover(dataset: Dataset, train: TrainConfig) -> RandomMover | None:
    """The one that a recipe asks for, if it does.

    Raises:
        InputError: it does, and the dataset holds no games, or in a notation for which there is none.
    """
    if not (train.strays or train.legality):
        return None
    if dataset.is_text:
        raise InputError(f"train.strays and train.legality are for games, and {dataset.folder} holds text")
    return RandomMover(dataset.tokenizer, train.strays)


def _goes_with_hint(
    before: NDArray[np.uint8], played: boards.MoveCodes, legal: boards.MoveCodes, position: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which legal moves are of the piece that is named before the move, where one is.

    Args:
        before: role of the token before each move, (P,).
        played: (P,).
        legal: of all positions, (M,).
        position: of each of those, (M,).
    """
    fits = np.ones(len(legal), bool)
    hinted = (before & int(Role.HINT)) > 0
    if hinted.any():
        for ply, types in enumerate(boards.types_before(played)):
            if hinted[ply]:
                here = position == ply
                fits[here] = np.array(types)[legal[here] & 63] == types[int(played[ply]) & 63]
    return fits


def _widened(rows: NDArray[Any], width: int) -> NDArray[Any]:
    """Rows with zeros behind them, up to a width."""
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))
