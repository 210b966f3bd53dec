"""Questions to a scorer: how likely are these moves, in this position of this game, and which move would it write?

    games, questions (game, ply, moves)  ->  answers (log-probabilities of the moves, the greedy move)

The moves may be legal or not, as long as the notation can write them: SAN names the piece that moves, so that of a
square where none of the side to move stands it knows no move, and its log-probability is not a number. Special
tokens are taken out and the move before is over, as for every
legality figure (docs/metrics.md). One forward pass over each game and, where a move takes several tokens, one more a
token of the longest move asked about: all questions about a game share them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import chess
import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval.moves import Progress, batch_tokens
from chesslm.eval.scorers import Scorer, batches, chain
from chesslm.eval.trees import Begun, Choice, Floats, Forks, PlayedMove, walk, walk_branches
from chesslm.tokenizer import Role, TokenIds


@dataclass(frozen=True)
class Question:
    """What is asked in one position.

    Attributes:
        game: index of the game.
        ply: the position before this move of it; the number of its plies for the position after the last one.
        moves: codes of the moves whose probability is wanted, legal or not, shape (moves,).
    """

    game: int
    ply: int
    moves: boards.MoveCodes


@dataclass(frozen=True)
class Answer:
    """What a scorer says to a question.

    Attributes:
        within: whether the position lies within the scorer's context; if not, nothing is known.
        log_p: natural logarithm of each move's probability, -inf for one ruled out, not a number for one that the
            notation cannot write, shape (moves,).
        greedy: code of the greedy move, token by token; 0 if it is no move.
    """

    within: bool
    log_p: NDArray[np.float64]
    greedy: int


def ask(
    scorer: Scorer,
    games: Sequence[boards.MoveCodes],
    questions: Sequence[Question],
    advance: Progress = lambda _: None,
) -> list[Answer]:
    """Ask a scorer about positions of games.

    Args:
        scorer: of any notation.
        games: their moves, legal from the standard start.
        questions: in any order, several a game or none.
        advance: told of questions done.

    Returns:
        The answers in the order of the questions.
    """
    forks, tokenizer = Forks(scorer.tokenizer), scorer.tokenizer
    of_game: dict[int, list[int]] = {}
    for number, question in enumerate(questions):
        of_game.setdefault(question.game, []).append(number)
    asked = list(of_game)
    answers = [Answer(False, np.full(len(question.moves), -math.inf), 0) for question in questions]
    trunks: list[TokenIds] = []
    roots: dict[int, int] = {}
    before: dict[int, Begun] = {}
    for game in asked:
        deepest = max(questions[number].ply for number in of_game[game])
        tokens = tokenizer.encode(games[game][:deepest])
        in_front = len(tokenizer.encode(games[game][:0]))
        ends = [in_front, *(np.flatnonzero(tokens.role & Role.MOVE_ENDS) + 1).tolist()]
        lead = tokenizer.lead(deepest)
        ids = np.concatenate([tokens.ids, np.array(lead, tokens.ids.dtype)])
        trunks.append(ids[: scorer.context - 1])
        for number in of_game[game]:
            ply = questions[number].ply
            lead = tokenizer.lead(ply)
            roots[number] = ends[ply] + len(lead) - 1
            begun = np.flatnonzero(tokens.role & Role.MOVE_BEGINS)[ply - 1] if ply and not lead else ends[ply]
            before[number] = tuple(tokens.ids[begun : ends[ply]].tolist())
    for batch in batches([len(trunk) for trunk in trunks], batch_tokens(scorer)):
        logits = scorer.logits([chain(trunks[i]) for i in batch]).double().cpu().numpy()
        choices: list[list[Choice]] = []
        for row, i in enumerate(batch):
            choices.append([])
            for number, spelled in _spelled(forks, games[asked[i]], questions, of_game[asked[i]]):
                root = roots[number]
                if root + max(map(len, spelled), default=1) < scorer.context:
                    choice = Choice(forks, PlayedMove(number, root + 1, ()), spelled, ranked=False)
                    choices[-1].append(choice)
                    walk(forks, [(choice, ())], given_over(forks, before[number], logits[row, root])[None])
        walk_branches(scorer, forks, [trunks[i] for i in batch], choices)
        found = {choice.move.ply: choice for of_trunk in choices for choice in of_trunk}
        for i in batch:
            for number, board in _boards(games[asked[i]], questions, of_game[asked[i]]):
                if number in found:
                    answers[number] = _answer(forks, found[number], board)
        advance(sum(len(of_game[asked[i]]) for i in batch))
    return answers


def given_over(forks: Forks, played: Begun, scores: Floats) -> Floats:
    """Next-token scores after a move that is over: less the tokens by which it would go on, (V,).

    Args:
        forks: of the notation.
        played: tokens of the move; none where the game begins, or where something stands between.
        scores: (V,).
    """
    if not played:
        return scores
    left = scores.copy()
    left[forks.of_moves[forks[played].goes_on]] = -math.inf
    return left


def _boards(
    game: boards.MoveCodes, questions: Sequence[Question], numbers: Sequence[int]
) -> Iterator[tuple[int, chess.Board]]:
    """The board of each question about a game; one board that moves on."""
    at: dict[int, list[int]] = {}
    for number in numbers:
        at.setdefault(questions[number].ply, []).append(number)
    for ply, board in enumerate(boards.replay(boards.to_moves(game[: max(at)]))):
        for number in at.get(ply, ()):
            yield number, board


def _spelled(
    forks: Forks, game: boards.MoveCodes, questions: Sequence[Question], numbers: Sequence[int]
) -> Iterator[tuple[int, list[Begun]]]:
    """How the moves of each question about a game are spelled; an empty spelling for one that cannot be written."""
    reads_board = forks.tokenizer.notation.reads_board
    for number, board in _boards(game, questions, numbers):
        moves = boards.to_moves(questions[number].moves)
        writable = [not reads_board or board.color_at(move.from_square) == board.turn for move in moves]
        yield number, [forks.tokenizer.spell(m, board) if can else () for m, can in zip(moves, writable, strict=True)]


def _answer(forks: Forks, choice: Choice, board: chess.Board) -> Answer:
    every = np.concatenate([np.array([-math.inf]), *choice.moves])
    log_p = [every[choice.column(spelled)] if spelled else math.nan for spelled in choice.legal]
    move = forks.tokenizer.notation.parse(forks.tokens(choice.greedy), board)
    return Answer(True, np.array(log_p), boards.move_code(move) if move else 0)
