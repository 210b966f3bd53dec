"""Suite ``sinks``: where the loss is, in tokens that the board determines or in those that are free (docs/metrics.md).

A scorer and games in; shares of tokens and of loss, bits and accuracy by class of token out, over all tokens and by
what a token says of its move. The classes are found in ``tokens``; here are only ratios of sums, and their bootstrap.

Cost: one forward pass over the games, and in notations that write SAN 0.3 ms a ply for the words of the legal moves.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chesslm.eval.intervals import Bootstrap, Floats
from chesslm.eval.moves import Progress, encode_games
from chesslm.eval.positions import Positions
from chesslm.eval.results import Metric, Metrics, Result
from chesslm.eval.scorers import Scorer
from chesslm.eval.spellings import legal_spellings
from chesslm.eval.tokens import CLASSES, FREE, ROLES, MoveTokens, TokenScores, find_tokens, score_tokens
from chesslm.forks import Forks
from chesslm.game import Game
from chesslm.tokenizer import TokenizedGame

FORCED = "forced"
"""The tokens of moves that were the only legal ones; each is also of one of the classes."""


def sinks(
    scorer: Scorer,
    games: Sequence[Game],
    positions: Positions,
    pool: Executor,
    seed: int = 1,
    told: bool = True,
    advance: Progress = lambda _: None,
) -> Result:
    """Measure a scorer.

    Args:
        scorer: of any notation.
        games: to measure on.
        positions: theirs.
        pool: processes, for notations that have to see the board.
        seed: of the bootstrap.
        told: whether a model that takes conditions is told what is known of each game, or nothing.
        advance: told of games done.

    Returns:
        Metrics over all tokens of moves, and by what they say of their move.
    """
    encoded = encode_games(scorer, games, told)
    tokens = tokens_of(Forks(scorer.tokenizer), encoded, positions, pool)
    scores = score_tokens(scorer, encoded, tokens, advance)
    bootstrap = Bootstrap(len(games), seed)

    def metrics(given: dict[str, Ratio]) -> Metrics:
        found = {key: _metric(ratio, tokens.game, bootstrap) for key, ratio in given.items()}
        return {key: metric for key, metric in found.items() if metric}

    within, by = scores.within, {}
    for role in ROLES:
        rows = within & (tokens.role == role)
        if not rows.any():
            continue
        shares = {
            "role_tokens": Ratio(within, rows, rate=True),
            "role_loss": Ratio(within, np.where(rows, scores.bits, 0), np.where(within, scores.bits, 0)),
        }
        by[role] = metrics(shares | ratios(tokens, scores, rows))
    beyond = float((tokens.begins & ~within).sum())
    return Result(
        metrics(overall(tokens, scores)) | {"plies_beyond_context": Metric(beyond, beyond, beyond, len(positions))},
        {"role": by} if by else {},
    )


@dataclass(frozen=True)
class Ratio:
    """A figure: a sum over tokens, over another one.

    Attributes:
        rows: the tokens that it is measured on, (R,).
        above: what is summed up, (R,).
        below: what that is divided by, (R,); None: the number of rows.
        rate: whether it is a rate of the rows.
    """

    rows: NDArray[np.bool_]
    above: NDArray[Any]
    below: Floats | None = None
    rate: bool = False

    @property
    def value(self) -> float | None:
        """The figure; None where it is no finite number."""
        below = (self.rows if self.below is None else self.below).sum()
        value = float(self.above.sum() / below) if below else np.nan
        return value if np.isfinite(value) else None


def overall(tokens: MoveTokens, scores: TokenScores) -> dict[str, Ratio]:
    """The figures of all tokens within the context."""
    within = scores.within
    of_moves = Ratio(within & tokens.begins, np.where(within, scores.bits, 0))
    return {"bits_per_move": of_moves} | ratios(tokens, scores, within)


def ratios(tokens: MoveTokens, scores: TokenScores, rows: NDArray[np.bool_]) -> dict[str, Ratio]:
    """The figures of some tokens within the context, (R,), of all of them and by class."""

    def of(chosen: NDArray[np.bool_], values: Floats) -> Floats:
        return np.where(chosen, values, 0)

    bits = of(rows, scores.bits)
    found = {"token_bits": Ratio(rows, bits)}
    for name, members in classes(tokens).items():
        of_class = rows & members
        if of_class.any():
            found |= {
                f"{name}_tokens": Ratio(rows, of_class, rate=True),
                f"{name}_loss": Ratio(rows, of(of_class, bits), bits),
                f"{name}_bits": Ratio(of_class, of(of_class, bits)),
                f"{name}_top1": Ratio(of_class, of(of_class, scores.top1), rate=True),
            }
    free = rows & (tokens.kind == FREE)
    return found | {"free_legality_bits": Ratio(free, of(free, scores.legality_bits))}


def _metric(ratio: Ratio, game: NDArray[np.int64], bootstrap: Bootstrap) -> Metric | None:
    """A figure with its interval; None where it has no rows or is infinite.

    Args:
        ratio: the figure.
        game: of each token, (R,).
        bootstrap: over the games.
    """
    if ratio.value is None:
        return None
    below = ratio.rows if ratio.below is None else ratio.below
    n, games = int(ratio.rows.sum()), len(np.unique(game[ratio.rows]))
    return bootstrap.ratio(game, ratio.above, below, n=n, games=games, rate=ratio.rate)


def classes(tokens: MoveTokens) -> dict[str, NDArray[np.bool_]]:
    """Which tokens are of each class, and which belong to forced moves, (R,)."""
    return {**{name: tokens.kind == kind for kind, name in enumerate(CLASSES)}, FORCED: tokens.forced}


def tokens_of(forks: Forks, games: Sequence[TokenizedGame], positions: Positions, pool: Executor) -> MoveTokens:
    """The tokens of the moves of games, with their classes.

    Args:
        forks: of their notation.
        games: as tokens, without hints.
        positions: theirs.
        pool: processes, for notations that have to see the board.
    """
    return find_tokens(forks, games, legal_spellings(forks, positions, np.arange(len(positions)), pool).values())
