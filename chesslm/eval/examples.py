"""Some illegal moves looked at closely: what a scorer wanted, and what it thought next (docs/metrics.md, Examples).

Kinds of illegal move by ply in, a few ``Example``s out, of different kinds and games as far as there are. Each is one
more question (``asking``), so the cost is a forward pass over a few games and, where a move takes several tokens, those
of the branches behind them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval.asking import Question, ask
from chesslm.eval.positions import Positions
from chesslm.eval.results import Example
from chesslm.eval.scorers import Scorer
from chesslm.game import Game

EXAMPLES = 8
"""As many as there are kinds."""
IDEAS = 5
"""What it thought next."""


def find_examples(
    scorer: Scorer,
    games: Sequence[Game],
    positions: Positions,
    kinds: Mapping[int, boards.Illegal],
    seed: int,
    told: bool,
) -> tuple[Example, ...]:
    """Examples of illegal greedy moves.

    Args:
        scorer: of any notation.
        games: the games.
        positions: theirs.
        kinds: why the greedy move is illegal, by position.
        seed: of the choice.
        told: whether a model that takes conditions is told what is known of each game, or nothing.
    """
    chosen = choose(kinds, positions.game, seed)
    games_plies = [(int(positions.game[where]), int(positions.ply[where])) for where in chosen]
    no_moves = np.zeros(0, np.uint16)
    answers = ask(
        scorer,
        [game.codes for game in games],
        [Question(game, ply, no_moves, IDEAS) for game, ply in games_plies],
        headers=[game.headers for game in games] if told else None,
    )
    found = []
    for where, (game, ply), answer in zip(chosen, games_plies, answers, strict=True):
        *before, played = (move.uci() for move in boards.to_moves(games[game].codes[: ply + 1]))
        wanted, *others = answer.ideas
        found.append(Example(game, " ".join(before), played, kinds[where].value, wanted, tuple(others)))
    return tuple(found)


def choose(kinds: Mapping[int, boards.Illegal], game: NDArray[np.int64], seed: int, most: int = EXAMPLES) -> list[int]:
    """Positions of different kinds: the kinds take turns, and each gives one at random, from a new game if it can.

    Args:
        kinds: by position.
        game: of each position, (P,).
        seed: of what is random.
        most: how many there may be.

    Returns:
        At most so many positions, sorted by kind.
    """
    order = np.random.default_rng(seed).permutation(sorted(kinds)).tolist()
    waiting = {kind: [where for where in order if kinds[where] is kind] for kind in boards.Illegal}
    chosen: list[int] = []
    while len(chosen) < most and any(waiting.values()):
        for plies in waiting.values():
            if plies and len(chosen) < most:
                seen = {int(game[where]) for where in chosen}
                new = next((where for where in plies if game[where] not in seen), plies[0])
                plies.remove(new)
                chosen.append(new)
    rank = list(boards.Illegal)
    return sorted(chosen, key=lambda where: (rank.index(kinds[where]), where))
