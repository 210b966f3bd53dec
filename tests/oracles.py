"""Scorers whose figures are known in closed form: they know the board, or nothing at all; in any notation."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import chess
import numpy as np
import torch

from chesslm.eval.scorers import NO_LIMIT, TokenTree
from chesslm.tokenizer import GameTokenizer
from chesslm.words import san_word

Weights = Callable[[chess.Board], dict[chess.Move, float]]
Spelled = tuple[str, ...]

NEVER, NEVER_IN_SAN = chess.Move.from_uci("a1h8"), "Qa1xh8#"
"""A move that nobody can make in the positions of the tests; SAN has a word of its own for it, whoever is to move."""


def uniform(board: chess.Board) -> dict[chess.Move, float]:
    return dict.fromkeys(board.legal_moves, 1.0)


def never_legal(board: chess.Board) -> dict[chess.Move, float]:
    return {NEVER: 1.0}


_words: dict[Hashable, dict[chess.Move, str]] = {}
"""Of SAN by position: all notations that write it share them."""


def in_san(moves: Iterable[chess.Move], board: chess.Board) -> Iterator[str]:
    known = _words.setdefault(board._transposition_key(), {NEVER: NEVER_IN_SAN})
    for move in moves:
        if move not in known:
            known[move] = san_word(move, board)
        yield known[move]


@dataclass(frozen=True)
class Place:
    """A position with the moves that led to it, and what an oracle thinks of it once it is asked."""

    oracle: "Oracle"
    board: chess.Board

    @cached_property
    def weights(self) -> dict[Spelled, float]:
        """Of its moves, by their tokens."""
        notation, weights = self.oracle.tokenizer.notation, self.oracle.weights(self.board)
        words = in_san(weights, self.board) if notation.reads_board else map(chess.Move.uci, weights)
        return dict(zip(map(notation.split, words), weights.values(), strict=True))


@dataclass(frozen=True)
class State:
    """Where an oracle stands after a row of tokens.

    Attributes:
        place: the position.
        begun: tokens of a move begun there.
        lead: what still stands before the move, such as its number.
    """

    place: Place
    begun: Spelled = ()
    lead: Spelled = ()

    @cached_property
    def children(self) -> dict[int, "State"]:
        """The states after further tokens that were seen, by their ids."""
        return {}

    def after(self, i: int) -> "State":
        """A move begun goes on with a token, or it was over and another one begins."""
        if i not in self.children:
            tokenizer = self.place.oracle.tokenizer
            token, extensions = tokenizer.tokens[i], tokenizer.notation.extensions
            over = self.begun and token not in extensions(self.begun)
            self.children[i] = (self.ended if over else self)._with(token)
        return self.children[i]

    def _with(self, token: str) -> "State":
        if self.lead:
            return State(self.place, lead=self.lead[1:])
        state = State(self.place, (*self.begun, token))
        return state if self.place.oracle.tokenizer.notation.extensions(state.begun) else state.ended

    @cached_property
    def ended(self) -> "State":
        """Where the move is over."""
        notation, board = self.place.oracle.tokenizer.notation, self.place.board.copy(stack=False)
        move = notation.parse(self.begun, board)
        # A move that nobody may make leaves the board as it is: nothing after it is asked for.
        if move and board.is_legal(move):
            board.push(move)
            # To copy the positions before as well would take most of the time.
            board.move_stack = [*self.place.board.move_stack, move]
        return State(Place(self.place.oracle, board), lead=notation.lead(board.ply()))

    @cached_property
    def said(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the tokens that may follow, and their probabilities."""
        return np.array(list(self.shares)), np.array(list(self.shares.values()), np.float32)

    @cached_property
    def shares(self) -> dict[int, float]:
        """Probability of each token that may follow."""
        tokenizer, n = self.place.oracle.tokenizer, len(self.begun)
        ids, eos, found = tokenizer.ids, tokenizer.eos, dict[int, float]()
        assert eos is not None
        if self.lead:
            return {ids[self.lead[0]]: 0.5, eos: 0.5} if any(self.place.board.legal_moves) else {eos: 1.0}
        for spelled, weight in self.place.weights.items():
            if len(spelled) > n and spelled[:n] == self.begun:
                found[ids[spelled[n]]] = found.get(ids[spelled[n]], 0) + weight
        over = self.place.weights.get(self.begun, 0)
        if over:
            # The move ends as the next one begins; <eos> is as likely as that.
            found |= {token: over / 2 * share for token, share in self.ended.shares.items()}
            found[eos] = found.get(eos, 0) + over / 2
        elif found and not tokenizer.notation.ends(self.begun):
            found[eos] = sum(found.values())
        if not found:
            # The game is over; or nobody writes this, and there is nothing to say: something that is no move.
            junk = int(np.flatnonzero(~tokenizer.is_special)[0])
            found = {eos: 1.0, junk: 1.0} if self.begun else {eos: 1.0}
        total = sum(found.values())
        return {token: weight / total for token, weight in found.items()}


@dataclass(frozen=True)
class Oracle:
    """A player that picks moves with weights that depend on the board. It remembers every prefix that it has seen.

    Wherever a move is not over, it would as soon end the game: half of the probability is that of <eos>. Where the game
    is over, all of it is.
    """

    tokenizer: GameTokenizer
    weights: Weights
    context: int = NO_LIMIT

    @cached_property
    def start(self) -> State:
        """After <bos>."""
        return State(Place(self, chess.Board()), lead=self.tokenizer.notation.lead(0))

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        out = np.zeros((len(trees), max(map(len, trees)), len(self.tokenizer)), np.float32)
        for row, tree in zip(out, trees, strict=True):
            states: list[State] = []
            for i, parent in zip(tree.ids.tolist(), tree.parent.tolist(), strict=True):
                states.append(states[parent].after(i) if parent >= 0 else self.start)
            for node, state in zip(row, states, strict=False):
                ids, shares = state.said
                node[ids] = shares
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(out, out=out))


@dataclass(frozen=True)
class Indifferent:
    """Every token of the vocabulary alike, special ones too."""

    tokenizer: GameTokenizer
    context: int = NO_LIMIT

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        return torch.zeros(len(trees), max(map(len, trees)), len(self.tokenizer))
