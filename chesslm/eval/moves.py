"""What a scorer makes of each ply: the played move's bits, the legal mass, the greedy move, the rank of the legal ones.

A scorer and tokenised games with their positions in, one ``MoveScores`` out: flat arrays over all plies (P, as in
``positions``). Special tokens are taken out before anything else, and the rest renormalised; ``end_mass`` says how
much was taken. Where a notation writes a move as one token, a forward pass of the whole game gives the exact
distribution over moves at every ply; where it takes several, ``spellings`` walks the tree of them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import chess
import numpy as np
import torch
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval.positions import Positions
from chesslm.eval.ranking import rank
from chesslm.eval.scorers import Scorer, batches, chain
from chesslm.game import Game
from chesslm.tokenizer import Role, TokenizedGame

BATCH_TOKENS = 2048
"""16 MB of logits with the 1,972 tokens of uci-move. Larger batches hold more padding and are no faster."""
BATCH_LOGITS = 1 << 23
"""Logits of a batch at most, unless one game alone has more: 64 MB as float64."""

Progress = Callable[[int], None]
"""Told of plies done."""


@dataclass(frozen=True)
class MoveScores:
    """Scores of each ply, arrays of shape (P,).

    Attributes:
        within: whether the move lies within the scorer's context; beyond it the figures are 0 or not a number.
        measured: whether the legal moves were looked at (for several tokens a move, a sample of the plies).
        bits: -log2 of the played move's probability.
        legality_bits: -log2 of the probability of all legal moves together.
        r_precision: share of the legal moves among the k likeliest moves, where k is their number.
        top1, top3: whether the played move is (among) the likeliest.
        greedy: code of the greedy move, token by token; 0 if it is no move.
        greedy_legal: whether it is legal.
        confidence: probability of the likeliest move.
        end_mass: probability of the special tokens that was taken out along the played move.
    """

    within: NDArray[np.bool_]
    measured: NDArray[np.bool_]
    bits: NDArray[np.float64]
    legality_bits: NDArray[np.float64]
    r_precision: NDArray[np.float64]
    top1: NDArray[np.float64]
    top3: NDArray[np.float64]
    greedy: boards.MoveCodes
    greedy_legal: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    end_mass: NDArray[np.float64]


def empty_scores(within: NDArray[np.bool_], measured: NDArray[np.bool_]) -> MoveScores:
    """Scores to be filled in: nothing known, every ply missed."""

    def filled(value: float) -> NDArray[np.float64]:
        return np.full(within.shape, value, np.float64)

    return MoveScores(
        within=within,
        measured=measured,
        bits=filled(np.nan),
        legality_bits=filled(np.nan),
        r_precision=filled(0.0),
        top1=filled(0.0),
        top3=filled(0.0),
        greedy=np.zeros(within.shape, np.uint16),
        greedy_legal=np.zeros(within.shape, np.bool_),
        confidence=filled(np.nan),
        end_mass=filled(np.nan),
    )


def uniform_over_legal(positions: Positions) -> MoveScores:
    """The scores of a player who knows the rules and nothing else: every legal move alike."""
    everywhere = np.ones(len(positions), np.bool_)
    share = 1 / positions.n_legal
    scores = empty_scores(everywhere, everywhere)
    return replace(
        scores,
        bits=-np.log2(share),
        legality_bits=np.zeros(len(positions)),
        r_precision=np.ones(len(positions)),
        top1=share,
        top3=np.minimum(1, 3 * share),
        greedy=positions.legal[positions.first_legal[:-1]],
        greedy_legal=everywhere,
        confidence=share,
        end_mass=np.zeros(len(positions)),
    )


def score_moves(
    scorer: Scorer,
    games: Sequence[Game],
    positions: Positions,
    pool: Executor,
    plies: int = 5000,
    seed: int = 1,
    told: bool = True,
    advance: Progress = lambda _: None,
) -> MoveScores:
    """Score every ply of some games.

    Args:
        scorer: of any notation.
        games: the games.
        positions: theirs.
        pool: processes, for notations that have to see the board.
        plies: for several tokens a move, legal moves are looked at on so many plies; 0: on all.
        seed: of that sample.
        told: whether a model that takes conditions is told what is known of each game, or nothing.
        advance: told of plies done.
    """
    tokens = encode_games(scorer, games, told)
    if scorer.tokenizer.is_one_token:
        return _score_tokens(scorer, tokens, positions, advance)
    from chesslm.eval.spellings import score_spellings

    measured = np.ones(len(positions), np.bool_)
    if 0 < plies < len(positions):
        measured[np.random.default_rng(seed).permutation(len(positions))[plies:]] = False
    return score_spellings(scorer, tokens, positions, measured, pool, advance)


def encode_games(scorer: Scorer, games: Sequence[Game], told: bool) -> list[TokenizedGame]:
    """Games in a scorer's notation; one that takes conditions is told what is known of them, or nothing."""
    return [scorer.tokenizer.encode(game.codes, headers=game.headers if told else None) for game in games]


def batch_tokens(scorer: Scorer) -> int:
    """Tokens of a batch at most."""
    return max(1, min(BATCH_TOKENS, BATCH_LOGITS // len(scorer.tokenizer)))


def move_spans(games: Iterable[TokenizedGame]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last token of each move of some games, two arrays of shape (P,)."""
    spans = [[np.flatnonzero(game.role & role) for role in (Role.MOVE_BEGINS, Role.MOVE_ENDS)] for game in games]
    begins, ends = zip(*spans, strict=True)
    return np.concatenate(begins), np.concatenate(ends)


def _score_tokens(
    scorer: Scorer, games: Sequence[TokenizedGame], positions: Positions, advance: Progress
) -> MoveScores:
    tokenizer = scorer.tokenizer
    ids_of_codes = np.zeros(1 << 16, dtype=np.int64)
    codes_of_ids = np.zeros(len(tokenizer), dtype=np.uint16)
    # The special tokens come first.
    n_special = int(tokenizer.is_special.sum())
    for i, token in enumerate(tokenizer.tokens[n_special:], n_special):
        move = tokenizer.notation.parse((token,), chess.Board())
        assert move
        codes_of_ids[i] = boards.move_code(move)
        ids_of_codes[codes_of_ids[i]] = i
    # A model is not trained to say what follows the last token of its context.
    begins, _ = move_spans(games)
    within = begins < scorer.context
    scores = empty_scores(within, np.ones_like(within))
    for batch in batches([len(game) for game in games], BATCH_TOKENS):
        plies = [int(within[slice(*positions.first[game : game + 2])].sum()) for game in batch]
        where = np.concatenate([np.arange(n) + positions.first[game] for game, n in zip(batch, plies, strict=True)])
        trunks = [games[game].ids[: min(len(games[game]), scorer.context) - 1] for game in batch]
        logits_BTV = scorer.logits([chain(trunk) for trunk in trunks]).cpu()
        rows = np.repeat(np.arange(len(batch)), plies) * logits_BTV.shape[1] + begins[where] - 1
        logits_NV = logits_BTV.flatten(0, 1)[torch.from_numpy(rows)]
        specials, moves_NV = logits_NV[:, :n_special], logits_NV[:, n_special:]
        total = moves_NV.logsumexp(1)
        legal = _padded_legal(positions, where, ids_of_codes) - n_special
        played = torch.from_numpy(ids_of_codes[positions.played[where]] - n_special)
        best = fill_in(scores, where, moves_NV, total, legal, played)
        scores.bits[where] = (total - moves_NV.gather(1, played[:, None])[:, 0]).double() / math.log(2)
        scores.end_mass[where] = torch.sigmoid(specials.logsumexp(1) - total)
        greedy = best + n_special
        scores.greedy[where] = codes_of_ids[greedy]
        scores.greedy_legal[where] = (legal.numpy() == best[:, None]).any(1)
        advance(sum(positions.lengths[game] for game in batch))
    return scores


def _padded_legal(positions: Positions, where: NDArray[np.int64], ids_of_codes: NDArray[np.int64]) -> torch.Tensor:
    """Token ids of the legal moves of some positions, (N, most), filled up with 0: no move."""
    n_legal = positions.n_legal[where]
    column = np.arange(n_legal.max())
    real = column < n_legal[:, None]
    at = np.where(real, positions.first_legal[where][:, None] + column, 0)
    return torch.from_numpy(np.where(real, ids_of_codes[positions.legal[at]], 0))


def fill_in(
    scores: MoveScores,
    where: NDArray[np.int64],
    moves: torch.Tensor,
    total: torch.Tensor,
    legal: torch.Tensor,
    played: torch.Tensor,
) -> NDArray[np.int64]:
    """Fill in what follows from the scores of whole moves, all but the bits.

    Args:
        scores: to be filled in.
        where: the plies at hand, (N,).
        moves: natural log of the probability of each move, up to a constant a ply, (N, F); may leave out moves that
            are less likely than the k-th likeliest and the third, where k is the number of legal moves.
        total: log of the sum over all moves, (N,).
        legal: columns of the legal moves, (N, most); below 0 is none.
        played: column of the played move, (N,).

    Returns:
        Column of the likeliest move, (N,).
    """
    real = legal >= 0
    k = real.sum(1)
    of_legal = moves.gather(1, legal.clamp(min=0)).masked_fill(~real, -math.inf)
    of_played = moves.gather(1, played[:, None])
    ranking = rank(moves, max(3, legal.shape[1]))
    three = torch.full_like(k, 3).clamp(max=moves.shape[1])
    for name, values in (
        ("legality_bits", (total - of_legal.logsumexp(1)).clamp(min=0) / math.log(2)),
        ("r_precision", ranking.expected(of_legal, k) / k),
        ("top1", ranking.expected(of_played, torch.ones_like(k))),
        ("top3", ranking.expected(of_played, three)),
        ("confidence", (ranking.highest[:, 0] - total).exp()),
    ):
        getattr(scores, name)[where] = values.double().numpy()
    return moves.argmax(1).numpy()
