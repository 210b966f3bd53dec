"""Suite ``squares``: given the square a piece starts from, where does it go? (docs/metrics.md, Square prompts)

A scorer and prompts (``prompts``) in, metrics with intervals out. After Toshniwal, Wiseman, Livescu and Gimpel 2022,
"Chess as a Testbed for Language Model State Tracking", AAAI: the prompt is a prefix of a game and a start square, or
the type of a piece where the vocabulary has piece types; the next token's likeliest values are its answer.

    uci-square  <bos> e2 e4 e7 e5 | g1            ->  next token, special ones taken out
    uci-move    <bos> e2e4 e7e5                   ->  moves from g1, promotions to one square summed

With whole moves the squares that no piece could reach are not in the vocabulary: an easier question, whose chance
level stands beside it. One forward pass a prompt: the start squares and piece types asked about branch off behind it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import chess
import numpy as np
import torch
from numpy.typing import NDArray

from chesslm.errors import InputError
from chesslm.eval.intervals import Bootstrap, Floats
from chesslm.eval.moves import Progress, batch_tokens
from chesslm.eval.prompts import LENGTHS, TASKS, Prompt, Question
from chesslm.eval.ranking import rank
from chesslm.eval.results import Metrics, Result
from chesslm.eval.scorers import Scorer, TokenTree, batches, chain
from chesslm.tokenizer import GameTokenizer

NOTATIONS = ("uci-move", "uci-square")
SQUARES = len(chess.SQUARES)
N_ENDS = 2
"""The first tasks ask for end squares, the others for start squares."""


@dataclass(frozen=True)
class Asked:
    """All questions of some prompts, one after the other; arrays of shape (Q,) but for ``legal``.

    Attributes:
        prompt: index of its prompt.
        task: index into ``TASKS``.
        given: start square, or type of piece.
        legal: the squares that are legal answers, (Q, 64).
        played: the answer of the game, -1 for none.
    """

    prompt: NDArray[np.int64]
    task: NDArray[np.int64]
    given: NDArray[np.int64]
    legal: NDArray[np.bool_]
    played: NDArray[np.int64]


def squares(
    scorer: Scorer,
    prompts: Sequence[Prompt],
    seed: int = 1,
    hints: bool = False,
    advance: Progress = lambda _: None,
) -> Result:
    """Measure a scorer.

    Args:
        scorer: of ``uci-move`` or ``uci-square``; a prompt that reaches past its context counts as missed.
        prompts: made from games or read from a file.
        seed: of the bootstrap over the prompts' games.
        hints: whether the scorer was shown the types of pieces in training: then it is asked for start squares too.
        advance: told of prompts done.

    Returns:
        Metrics over all prompts, and by length of the prefix.

    Raises:
        InputError: the notation is another one.
    """
    notation = scorer.tokenizer.notation
    if notation.name not in NOTATIONS:
        raise InputError(f"the suite squares is defined for {' and '.join(NOTATIONS)}, not for {notation.name}")
    asked = _ask(prompts, TASKS if hints and notation.hints else TASKS[:N_ENDS])
    answers = _answers(scorer.tokenizer)
    figures = _score(scorer, prompts, asked, answers, advance) | _chance(asked, answers, len(scorer.tokenizer))
    _, game = np.unique([prompt.game for prompt in prompts], return_inverse=True)
    bootstrap = Bootstrap(int(game.max(initial=-1)) + 1, seed)
    plies = np.array([len(prompt.prefix) for prompt in prompts], np.int64)

    def metrics(chosen: NDArray[np.bool_]) -> Metrics:
        return _metrics(asked, figures, chosen[asked.prompt], game[asked.prompt], bootstrap)

    by = {name: metrics(np.isin(plies, lengths)) for name, lengths in LENGTHS.items()}
    by = {name: found for name, found in by.items() if found}
    return Result(metrics(np.ones(len(prompts), np.bool_)), {"prefix": by} if by else {})


def _ask(prompts: Sequence[Prompt], tasks: Sequence[str]) -> Asked:
    rows: list[tuple[int, int, Question]] = [
        (i, TASKS.index(task), prompt.questions[task])
        for i, prompt in enumerate(prompts)
        for task in tasks
        if task in prompt.questions
    ]
    legal = np.zeros((len(rows), SQUARES), np.bool_)
    for row, (*_, question) in zip(legal, rows, strict=True):
        row[list(question.legal)] = True
    return Asked(
        prompt=np.array([prompt for prompt, *_ in rows], np.int64),
        task=np.array([task for _, task, _ in rows], np.int64),
        given=np.array([question.given for *_, question in rows], np.int64),
        legal=legal,
        played=np.array([-1 if question.played is None else question.played for *_, question in rows], np.int64),
    )


def _answers(tokenizer: GameTokenizer) -> NDArray[np.int64]:
    """The tokens by which a notation gives each answer, by what is given: ids, (64, C, n), filled up with V: none.

    The first 64 of the C answers are the squares. With square tokens any other token but special ones is an answer,
    a wrong one, and what is given makes no difference.
    """
    ids, none = tokenizer.ids, len(tokenizer)
    if tokenizer.notation.name == "uci-square":
        rest = set(np.flatnonzero(~tokenizer.is_special).tolist()) - {ids[name] for name in chess.SQUARE_NAMES}
        columns = np.array([*(ids[name] for name in chess.SQUARE_NAMES), *sorted(rest)])
        return np.broadcast_to(columns[:, None], (SQUARES, len(columns), 1))
    answers = np.full((SQUARES, SQUARES, chess.QUEEN), none)
    for token in tokenizer.notation.vocabulary:
        if move := tokenizer.notation.parse((token,), chess.Board()):
            answers[move.from_square, move.to_square, max(0, (move.promotion or 0) - 1)] = ids[token]
    return answers


@dataclass(frozen=True)
class Branched:
    """The tokens of a prompt.

    Attributes:
        tree: its prefix, and behind it what is given in each question, where that is a token.
        read: how many tokens are read before an answer.
        rows: its questions, as rows of ``Asked``, shape (questions,).
        nodes: the node of the tree after which each one has its answer, likewise.
    """

    tree: TokenTree
    read: int
    rows: NDArray[np.int64]
    nodes: NDArray[np.int64]


def _branched(tokenizer: GameTokenizer, prompt: Prompt, asked: Asked, rows: NDArray[np.int64]) -> Branched:
    ids = tokenizer.encode(np.array(prompt.prefix, np.uint16)).ids
    n = len(ids)
    if tokenizer.notation.name == "uci-move":
        return Branched(chain(ids), n, rows, np.full(len(rows), n - 1))
    asks_end = asked.task[rows] < N_ENDS
    hints = tokenizer.notation.hints
    tokens = [
        chess.SQUARE_NAMES[given] if end else hints[given - 1]
        for end, given in zip(asks_end.tolist(), asked.given[rows].tolist(), strict=True)
    ]
    given = np.array([tokenizer.ids[token] for token in tokens], np.uint16)
    parent = np.concatenate([np.arange(-1, n - 1), np.full(len(rows), n - 1)]).astype(np.int32)
    return Branched(TokenTree(np.concatenate([ids, given]), parent), n + 1, rows, n + np.arange(len(rows)))


def _score(
    scorer: Scorer, prompts: Sequence[Prompt], asked: Asked, answers: NDArray[np.int64], advance: Progress
) -> dict[str, Floats]:
    """What a scorer answers: figures of each question, (Q,) each, 0 past its context."""
    figures = {name: np.zeros(len(asked.task)) for name in ("legal", "r_precision", "exact")}
    ends = np.searchsorted(asked.prompt, np.arange(len(prompts) + 1))
    every = [
        _branched(scorer.tokenizer, prompt, asked, np.arange(*ends[i : i + 2])) for i, prompt in enumerate(prompts)
    ]
    # A model is not trained to say what follows the last token of its context.
    within = [each for each in every if len(each.rows) and each.read < scorer.context]
    advance(len(every) - len(within))
    for batch in batches([len(each.tree) for each in within], batch_tokens(scorer)):
        chosen = [within[i] for i in batch]
        logits_BTV = scorer.logits([each.tree for each in chosen]).cpu()
        place = np.repeat(np.arange(len(chosen)), [len(each.rows) for each in chosen])
        node = np.concatenate([each.nodes for each in chosen])
        logits_NV = logits_BTV[torch.from_numpy(place), torch.from_numpy(node)].double().numpy()
        rows = np.concatenate([each.rows for each in chosen])
        scores_NC = torch.from_numpy(_of_answers(logits_NV, answers[asked.given[rows]]))
        k = torch.from_numpy(asked.legal[rows].sum(1))
        ranking, one = rank(scores_NC, int(k.max())), torch.ones_like(k)
        of_legal = scores_NC[:, :SQUARES].masked_fill(~torch.from_numpy(asked.legal[rows]), -math.inf)
        played = torch.from_numpy(asked.played[rows])[:, None]
        of_played = scores_NC.gather(1, played.clamp(min=0)).masked_fill(played < 0, -math.inf)
        figures["legal"][rows] = ranking.expected(of_legal, one)
        figures["r_precision"][rows] = ranking.expected(of_legal, k) / k
        figures["exact"][rows] = ranking.expected(of_played, one)
        advance(len(batch))
    return figures


def _of_answers(logits: Floats, ids: NDArray[np.int64]) -> Floats:
    """Log of the probability of each answer, up to a constant a row, (N, C): summed over its tokens.

    Args:
        logits: of all tokens, (N, V).
        ids: the tokens of each answer, (N, C, n); V is none.
    """
    padded = np.concatenate([logits, np.full((len(logits), 1), -np.inf)], axis=1)
    return np.logaddexp.reduce(padded[np.arange(len(ids))[:, None, None], ids], axis=2)


def _chance(asked: Asked, answers: NDArray[np.int64], none: int) -> dict[str, Floats]:
    """The same figures in expectation if each square that the notation can give were as likely, (Q,) each."""
    squares = (answers[asked.given, :SQUARES] != none).any(2).sum(1)
    share = asked.legal.sum(1) / squares
    return {"chance_legal": share, "chance_r_precision": share, "chance_exact": 1 / squares}


def _metrics(
    asked: Asked, figures: dict[str, Floats], chosen: NDArray[np.bool_], game: NDArray[np.int64], bootstrap: Bootstrap
) -> Metrics:
    """Mean of each figure over the chosen questions of each task; without questions there is none.

    Args:
        asked: all questions.
        figures: of each, (Q,).
        chosen: which ones count, (Q,).
        game: the game of each, (Q,).
        bootstrap: over the games.
    """
    found: Metrics = {}
    for task, name in enumerate(TASKS):
        rows = np.flatnonzero(chosen & (asked.task == task))
        if not len(rows):
            continue
        for figure, values in figures.items():
            if figure.endswith("exact") and asked.played[rows[0]] < 0:
                continue
            is_rate = not figure.startswith("chance")
            found[f"{name}_{figure}"] = bootstrap.mean(game[rows], values[rows], rate=is_rate)
    return found
