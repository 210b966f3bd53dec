"""Scorers whose figures are known in closed form: they know the board, or nothing at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import chess
import numpy as np
import torch

from chesslm.eval.scorers import NO_LIMIT, TokenTree
from chesslm.tokenizer import EOS, GameTokenizer

Weights = Callable[[chess.Board], dict[chess.Move, float]]


Spelled = tuple[str, ...]


@dataclass(frozen=True)
class State:
    """A position, its moves with their weights, and the tokens of a move begun there.

    ``lead`` is what still stands before the move, such as its number.
    """

    board: chess.Board
    weights: dict[Spelled, float]
    begun: Spelled = ()
    lead: Spelled = ()


@dataclass(frozen=True)
class Oracle:
    """A player that picks moves with weights that depend on the board, in any notation.

    ``said`` is the word of its only move, in SAN.
    """

    tokenizer: GameTokenizer
    weights: Weights
    context: int = NO_LIMIT
    said: str = ""

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        out = np.zeros((len(trees), max(map(len, trees)), len(self.tokenizer)), np.float32)
        for row, tree in zip(out, trees, strict=True):
            states: list[State] = []
            for i, parent in zip(tree.ids.tolist(), tree.parent.tolist(), strict=True):
                states.append(
                    self.after(states[parent], self.tokenizer.tokens[i]) if parent >= 0 else self.at(chess.Board())
                )
            for node, state in enumerate(states):
                for token, weight in self.next(state).items():
                    row[node, token] = weight
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(out))

    def at(self, board: chess.Board) -> State:
        notation = self.tokenizer.notation
        if self.said and notation.reads_board:
            spelled = {notation.split(self.said): 1.0}
        else:
            spelled = {notation.spell(move, board): weight for move, weight in self.weights(board).items()}
        return State(board, spelled, lead=notation.lead(board.ply()))

    def after(self, state: State, token: str) -> State:
        """The move begun goes on with a token, or it was over and another one begins."""
        if state.lead:
            return replace(state, lead=state.lead[1:])
        if state.begun and token not in self.tokenizer.notation.extensions(state.begun):
            state = self.ended(state)
        state = State(state.board, state.weights, (*state.begun, token))
        return state if self.tokenizer.notation.extensions(state.begun) else self.ended(state)

    def ended(self, state: State) -> State:
        board = state.board.copy(stack=False)
        move = self.tokenizer.notation.parse(state.begun, board)
        # A move that nobody may make leaves the board as it is: nothing after it is asked for.
        if move and board.is_legal(move):
            board.push(move)
        return self.at(board)

    def next(self, state: State) -> dict[int, float]:
        """Probability of each next token."""
        if state.lead:
            return {self.tokenizer.ids[state.lead[0]]: 1.0}
        n = len(state.begun)
        found: dict[int, float] = {}
        for spelled, weight in state.weights.items():
            if spelled[:n] == state.begun and len(spelled) > n:
                token = self.tokenizer.ids[spelled[n]]
                found[token] = found.get(token, 0) + weight
        over = state.weights.get(state.begun, 0)
        if over:
            # The move ends as the next one begins; <eos> is as likely as that.
            following = self.next(self.ended(state))
            found |= {token: over / 2 * probability for token, probability in following.items()}
            found[EOS] = over / 2
        total = sum(found.values())
        # Behind what nobody writes there is nothing to say: something that is no move.
        junk = int(np.flatnonzero(~self.tokenizer.is_special)[0])
        return {token: weight / total for token, weight in found.items()} if found else {EOS: 0.5, junk: 0.5}


def uniform(board: chess.Board) -> dict[chess.Move, float]:
    return dict.fromkeys(board.legal_moves, 1.0)


def always(uci: str) -> Weights:
    return lambda board: {chess.Move.from_uci(uci): 1.0}


@dataclass(frozen=True)
class Indifferent:
    """Every token of the vocabulary alike, special ones too."""

    tokenizer: GameTokenizer
    context: int = NO_LIMIT

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        return torch.zeros(len(trees), max(map(len, trees)), len(self.tokenizer))
