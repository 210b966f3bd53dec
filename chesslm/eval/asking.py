"""Questions to a scorer: how likely are these moves, in this position of this game, and which move would it write?

    games, questions (game, ply, moves)  ->  answers (log-probabilities of the moves, the greedy move, what else)

The moves may be legal or not, as long as the notation can write them: SAN names the piece that moves, so that of a
square where none of the side to move stands it knows no move, and its log-probability is not a number. Special
tokens are taken out and the move before is over, as for every legality figure (docs/metrics.md). All questions about a
game share its forward pass and, where a move takes several tokens, those of the branches behind it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import chess
import numpy as np
from numpy.typing import NDArray

from chesslm import boards
from chesslm.conditions import Headers
from chesslm.eval.moves import Progress, batch_tokens
from chesslm.eval.results import Idea
from chesslm.eval.scorers import Scorer, batches
from chesslm.eval.trees import Choice, PlayedMove, walk, walk_branches
from chesslm.eval.trunks import plant
from chesslm.forks import Begun, Forks
from chesslm.tokenizer import GameTokenizer, Role, TokenIds


@dataclass(frozen=True)
class Question:
    """What is asked in one position.

    Attributes:
        game: index of the game.
        ply: the position before this move of it; the number of its plies for the position after the last one.
        moves: codes of the moves whose probability is wanted, legal or not, shape (moves,).
        ideas: how many of the likeliest moves are wanted.
    """

    game: int
    ply: int
    moves: boards.MoveCodes
    ideas: int = 0


@dataclass(frozen=True)
class Answer:
    """What a scorer says to a question.

    Attributes:
        within: whether the position lies within the scorer's context; if not, nothing is known.
        log_p: natural logarithm of each move's probability, -inf for one ruled out, not a number for one that the
            notation cannot write, shape (moves,).
        greedy: code of the greedy move, token by token; 0 if it is no move.
        ideas: if any were wanted, the greedy move and then the likeliest others, falling.
    """

    within: bool
    log_p: NDArray[np.float64]
    greedy: int
    ideas: tuple[Idea, ...] = ()


def ask(
    scorer: Scorer,
    games: Sequence[boards.MoveCodes],
    questions: Sequence[Question],
    advance: Progress = lambda _: None,
    headers: Sequence[Headers] | None = None,
) -> list[Answer]:
    """Ask a scorer about positions of games.

    Args:
        scorer: of any notation.
        games: their moves, legal from the standard start.
        questions: in any order, several a game or none.
        advance: told of questions done.
        headers: what a model that takes conditions is told of each game; None: nothing.

    Returns:
        The answers in the order of the questions.
    """
    forks = Forks(scorer.tokenizer)
    of_game: dict[int, list[int]] = {}
    for number, question in enumerate(questions):
        of_game.setdefault(question.game, []).append(number)
    answers = [Answer(False, np.full(len(question.moves), -math.inf), 0) for question in questions]
    asked = [
        _asked(forks, games[game], headers[game] if headers else None, questions, numbers)
        for game, numbers in of_game.items()
    ]
    trunks = [ids[: scorer.context - 1] for ids, _ in asked]
    for batch in batches([len(trunk) for trunk in trunks], batch_tokens(scorer)):
        planted = plant(scorer, [trunks[i] for i in batch])
        logits = planted.logits.double().cpu().numpy()
        choices: list[list[Choice]] = []
        for row, i in enumerate(batch):
            choices.append([])
            for place in asked[i][1]:
                if place.root + max(map(len, place.spelled), default=1) < scorer.context:
                    move = PlayedMove(place.number, place.root + 1, ())
                    ideas = questions[place.number].ideas
                    # One more: the greedy move is not among the others.
                    choices[-1].append(Choice(forks, move, place.spelled, ranked=ideas and ideas + 1))
                    scores = forks.given_over(logits[row, place.root], place.before)
                    walk(forks, [(choices[-1][-1], ())], scores[None])
        walk_branches(planted, forks, choices)
        found = {choice.move.ply: choice for of_trunk in choices for choice in of_trunk}
        for place in (place for i in batch for place in asked[i][1]):
            if place.number in found:
                ideas = questions[place.number].ideas
                answers[place.number] = _answer(forks, found[place.number], place.board, ideas)
        advance(sum(len(asked[i][1]) for i in batch))
    return answers


@dataclass(frozen=True)
class Place:
    """Where a question stands in the tokens of its game.

    Attributes:
        number: of the question.
        board: the position.
        spelled: how its moves are spelled; nothing for one that cannot be written.
        root: the token after which its move begins.
        before: the move before, as ``Forks.moves_before`` has it.
    """

    number: int
    board: chess.Board
    spelled: list[Begun]
    root: int
    before: Begun


def _asked(
    forks: Forks,
    game: boards.MoveCodes,
    headers: Headers | None,
    questions: Sequence[Question],
    numbers: Sequence[int],
) -> tuple[TokenIds, list[Place]]:
    """The tokens of a game as far as it is asked about, and where each question stands in them."""
    tokenizer = forks.tokenizer
    at: dict[int, list[int]] = {}
    for number in numbers:
        at.setdefault(questions[number].ply, []).append(number)
    deepest = max(at)
    tokens = tokenizer.encode(game[:deepest], headers=headers)
    before = forks.moves_before(tokens)
    # What stands in front of the first move is no move, but ends like one.
    ends = [len(tokenizer.encode(game[:0])) - 1, *np.flatnonzero(tokens.role & Role.MOVE_ENDS).tolist()]
    places: list[Place] = []
    for ply, board in enumerate(boards.replay(boards.to_moves(game[:deepest]))):
        for number in at.get(ply, ()):
            root = ends[ply] + len(tokenizer.lead(ply))
            moves = [_spelled(tokenizer, move, board) for move in boards.to_moves(questions[number].moves)]
            places.append(Place(number, board.copy(stack=False), moves, root, before[ply]))
    return np.concatenate([tokens.ids, np.array(tokenizer.lead(deepest), tokens.ids.dtype)]), places


def _spelled(tokenizer: GameTokenizer, move: chess.Move, board: chess.Board) -> Begun:
    """A move's tokens; none if it cannot be written."""
    writable = not tokenizer.notation.reads_board or board.color_at(move.from_square) == board.turn
    return tokenizer.spell(move, board) if writable else ()


def _answer(forks: Forks, choice: Choice, board: chess.Board, ideas: int) -> Answer:
    every = np.concatenate([np.array([-math.inf]), *choice.moves])
    log_p = [every[choice.column(spelled)] if spelled else math.nan for spelled in choice.legal]
    move = forks.tokenizer.notation.parse(forks.tokens(choice.greedy), board)
    found = _ideas(forks, choice, board, ideas) if ideas else ()
    return Answer(True, np.array(log_p), boards.move_code(move) if move else 0, tuple(found))


def _ideas(forks: Forks, choice: Choice, board: chess.Board, n: int) -> Iterator[Idea]:
    """The greedy move and the n likeliest others."""
    others = ((spelled, log_p) for spelled, log_p in choice.likeliest() if spelled != choice.greedy)
    notation = forks.tokenizer.notation
    for spelled, log_p in ((choice.greedy, choice.greedy_log_p()), *islice(others, n)):
        tokens = forks.tokens(spelled)
        move = notation.parse(tokens, board)
        legal = move is not None and boards.illegal_kind(board, move) is None
        yield Idea(notation.join(tokens), move.uci() if move else None, math.exp(log_p), legal)
