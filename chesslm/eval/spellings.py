"""The move distribution where a move takes several tokens: the tree of its spellings, walked as far as it matters.

A node of the tree is a move begun: the tokens so far. The root is the game itself; its next-token scores come with
the game's own forward pass. Each round, the nodes that are still needed are hung behind their games as branches and
scored in one forward pass a batch (``scorers.TokenTree``):

1. the beginnings of legal moves, for the legal mass, all in the first round;
2. the greedy move so far, token by token where it leaves them;
3. from the second round on, beginnings of any other move that could still be among the k likeliest (k legal moves):
   those at least as likely as the k-th likeliest whole move found up to here. A move is never likelier than its
   beginning, so what is left out cannot matter and R-precision and top-3 are exact.

A move that is over when the next token does not go on with it (``e7 e8`` without a promotion letter) ends with
probability 1 - P(letters); there special tokens end it as any other does, elsewhere they are taken out. The move after
it begins with the same scores, less the letters: that the move before is over is given.

Where a notation has to see the board (SAN), the legal moves are written and the greedy move is read in a pool of
processes, at the measured plies alone.

For uci-square: a forward pass over the games and two or three over the nodes behind them (``trunks``): a hundred a ply
for a model that knows next to nothing, the fewer the more certain a model is.
"""

import math
from collections.abc import Sequence
from concurrent.futures import Executor

import chess
import numpy as np
import torch
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval.moves import MoveScores, Progress, batch_tokens, empty_scores, fill_in, move_spans
from chesslm.eval.positions import Positions, legal_words, read_words
from chesslm.eval.scorers import Scorer, batches
from chesslm.eval.trees import Choice, PlayedMove, walk, walk_branches
from chesslm.eval.trunks import plant
from chesslm.forks import Begun, Floats, Forks, logsumexp
from chesslm.tokenizer import TokenizedGame


def score_spellings(
    scorer: Scorer,
    games: Sequence[TokenizedGame],
    positions: Positions,
    measured: NDArray[np.bool_],
    pool: Executor,
    advance: Progress,
) -> MoveScores:
    """Score every ply of some games, the legal moves of the measured plies alone."""
    forks = Forks(scorer.tokenizer)
    legal = legal_spellings(forks, positions, np.flatnonzero(measured), pool)
    greedy: dict[int, Begun] = {}
    begins, ends = move_spans(games)
    # A model is not trained to say what follows the last token of its context.
    within = ends < scorer.context
    scores = empty_scores(within, measured)
    for batch in batches([len(game) for game in games], batch_tokens(scorer)):
        spans = [slice(*positions.first[game : game + 2]) for game in batch]
        # Up to the last move within the context.
        planted = plant(
            scorer,
            [
                games[game].ids[: ends[span][within[span]].max(initial=0) + 1]
                for game, span in zip(batch, spans, strict=True)
            ],
        )
        trunks = planted.logits.double().cpu().numpy()
        choices: list[list[Choice]] = []
        for trunk, game, span in zip(trunks, batch, spans, strict=True):
            ids = games[game].ids
            moves = [
                PlayedMove(ply, int(begins[ply]), tuple(ids[begins[ply] : ends[ply] + 1].tolist()))
                for ply in (np.flatnonzero(within[span]) + span.start).tolist()
            ]
            _fill_in_played(scores, forks, moves, trunk)
            choices.append([Choice(forks, move, legal[move.ply]) for move in moves if measured[move.ply]])
            if choices[-1]:
                roots = trunk[[choice.move.root for choice in choices[-1]]]
                walk(forks, [(choice, ()) for choice in choices[-1]], roots)
        walk_branches(planted, forks, choices)
        _fill_in_choices(scores, [choice for of_game in choices for choice in of_game])
        greedy |= {choice.move.ply: choice.greedy for of_game in choices for choice in of_game}
        advance(sum(span.stop - span.start for span in spans))
    _fill_in_greedy(scores, forks, positions, greedy, pool)
    return scores


def legal_spellings(
    forks: Forks, positions: Positions, where: NDArray[np.int64], pool: Executor
) -> dict[int, list[Begun]]:
    """How the legal moves are spelled at some plies, in the order of ``Positions.legal_codes``."""
    spell = forks.tokenizer.spell_word
    if forks.tokenizer.notation.reads_board:
        return {ply: [spell(word) for word in words] for ply, words in legal_words(positions, where, pool).items()}
    return {ply: [spell(move.uci()) for move in boards.to_moves(positions.legal_codes(ply))] for ply in where.tolist()}


def _fill_in_greedy(
    scores: MoveScores, forks: Forks, positions: Positions, greedy: dict[int, Begun], pool: Executor
) -> None:
    """The greedy moves, read on their boards."""
    where = np.array(sorted(greedy), dtype=np.int64)
    notation, tokens = forks.tokenizer.notation, [forks.tokens(greedy[ply]) for ply in where.tolist()]
    if notation.reads_board:
        # What is no whole move gets a word that means none.
        words = [notation.join(each) if notation.ends(each) else "" for each in tokens]
        scores.greedy[where] = read_words(positions, words, where, pool)
    else:
        moves = [notation.parse(each, _ANY_BOARD) for each in tokens]
        scores.greedy[where] = [boards.move_code(move) if move else 0 for move in moves]
    for ply in where.tolist():
        scores.greedy_legal[ply] = scores.greedy[ply] in positions.legal_codes(ply)


_ANY_BOARD = chess.Board()


def _fill_in_choices(scores: MoveScores, choices: Sequence[Choice]) -> None:
    """The figures of the legal moves at each measured ply."""
    if not choices:
        return
    sizes = [sum(map(len, choice.moves)) for choice in choices]
    moves = np.full((len(choices), 1 + max(sizes)), -math.inf)
    legal = np.full((len(choices), max(len(choice.legal) for choice in choices)), -1)
    for i, choice in enumerate(choices):
        moves[i, 1 : 1 + sizes[i]] = np.concatenate(choice.moves)
        legal[i, : len(choice.legal)] = [choice.column(spelled) for spelled in choice.legal]
    fill_in(
        scores,
        np.array([choice.move.ply for choice in choices]),
        torch.from_numpy(moves),
        torch.zeros(len(choices), dtype=torch.float64),
        torch.from_numpy(legal),
        torch.tensor([choice.column(choice.move.spelled) for choice in choices]),
    )


def _fill_in_played(scores: MoveScores, forks: Forks, moves: Sequence[PlayedMove], trunk: Floats) -> None:
    """Bits of the played moves of a game, from its own forward pass (T, V).

    The scores after each move are left with what may follow it, now that it is over: the next move begins there.
    """
    ended: dict[int, float] = {}
    for move in moves:
        if forks[move.spelled].goes_on.any():
            over = forks.given_over(trunk[move.last], move.spelled)
            ended[move.ply] = logsumexp(trunk[move.last])[0] - logsumexp(over)[0]
            trunk[move.last] = over
    everything, of_moves = logsumexp(trunk)[:, 0], logsumexp(trunk[:, ~forks.tokenizer.is_special])[:, 0]
    for move in moves:
        nats, left = ended.get(move.ply, 0.0), 0.0
        for n, token in enumerate(move.spelled):
            at, may_end = move.root + n, forks[move.spelled[:n]].ends
            nats += (everything if may_end else of_moves)[at] - trunk[at, token]
            left += 0.0 if may_end else of_moves[at] - everything[at]
        scores.bits[move.ply] = nats / math.log(2)
        scores.end_mass[move.ply] = -math.expm1(left)
