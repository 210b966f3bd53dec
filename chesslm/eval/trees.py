"""The tree of the ways to write a move, and how it is walked where a move takes several tokens (see ``spellings``).

A node is a move begun: the tokens so far. Its next-token scores say how likely each move is that ends with one more
token, and what is still open. Nodes are hung behind their games as branches and scored in one forward pass a batch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

import numpy as np

from chesslm.eval.moves import batch_tokens
from chesslm.eval.ranking import EQUAL
from chesslm.eval.scorers import TokenTree, batches
from chesslm.eval.trunks import Trunks
from chesslm.forks import Begun, Floats, Forks, log_softmax, logsumexp
from chesslm.tokenizer import TokenIds

TREE_NODES = 256
"""Nodes hung behind a game at once: attention is quadratic in them."""
JUNK = 256
"""Tokens that are in no move, kept at each node as ways to make junk of it: no position has so many legal moves."""


@dataclass(frozen=True)
class PlayedMove:
    """A move in its game.

    Attributes:
        ply: index of the position.
        first: its first token.
        spelled: its tokens.
    """

    ply: int
    first: int
    spelled: Begun

    @property
    def root(self) -> int:
        """The token after which it begins."""
        return self.first - 1

    @property
    def last(self) -> int:
        """Its last token."""
        return self.root + len(self.spelled)


@dataclass
class Choice:
    """The spellings that open at one ply, as far as they are walked.

    Attributes:
        move: that was played.
        legal: spellings of the legal moves.
        nodes: the moves begun that are walked, each with its row in the next two.
        moves: natural log of the probability of each move that ends with a node's child, of the likeliest junk, and
            (last column) of the move that ends at the node itself; rows of shape (A + junk + 1,).
        open: the same of the children that are not certainly over, until they are walked themselves; rows (A,).
        greedy: the greedy move so far.
        greedy_over: whether that is all of it.
        ranked: so many of the likeliest moves are wanted too, and as many as are legal if that is more; 0: none are.
    """

    forks: Forks
    move: PlayedMove
    legal: list[Begun]
    nodes: dict[Begun, int] = field(default_factory=dict)
    moves: list[Floats] = field(default_factory=list)
    open: list[Floats] = field(default_factory=list)
    greedy: Begun = ()
    greedy_over: bool = False
    ranked: int = 3

    @cached_property
    def beginnings(self) -> set[Begun]:
        """Of the legal moves, those that can go on."""
        begun = {spelled[:n] for spelled in self.legal for n in range(1, len(spelled) + 1)}
        return {each for each in begun if self.forks[each].goes_on.any()}

    def wanted(self) -> set[Begun]:
        """The nodes to be walked next, each a child of one that is walked or wanted."""
        wanted = self.beginnings - self.nodes.keys()
        if not self.greedy_over and self.greedy not in self.nodes:
            wanted.add(self.greedy)
        if len(self.nodes) == 1 or not self.ranked:
            return wanted
        k = max(len(self.legal), self.ranked)
        found = np.concatenate(self.moves)
        threshold = np.partition(found, -k)[-k] - EQUAL if len(found) >= k else -math.inf
        for begun, row in self.nodes.items():
            likely = (self.open[row] >= threshold) & (self.open[row] > -math.inf)
            wanted.update((*begun, i) for i in self.forks.of_moves[likely].tolist())
        return wanted

    def reached(self, begun: Begun) -> float:
        """Log of the probability of a move begun that is still to be walked; -inf for any other."""
        if not begun:
            return 0.0
        row = self.nodes.get(begun[:-1])
        column = self.forks.column[begun[-1]]
        return -math.inf if row is None or column < 0 else float(self.open[row][column])

    def column(self, spelled: Begun) -> int:
        """Where a whole move stands among the flattened ``moves``, 1 being the first; 0 if it has no probability."""
        if spelled in self.nodes:
            return (self.nodes[spelled] + 1) * len(self.moves[0])
        if spelled[:-1] not in self.nodes:
            return 0
        return self.nodes[spelled[:-1]] * len(self.moves[0]) + int(self.forks.column[spelled[-1]]) + 1

    def greedy_log_p(self) -> float:
        """Log of the probability of the greedy move; of what is no move, up to the token that spoils it."""
        if self.greedy not in self.nodes and self.forks.column[self.greedy[-1]] < 0:
            junk = self.moves[self.nodes[self.greedy[:-1]]][len(self.forks.of_moves) : -1]
            return float(junk.max())
        return float(np.concatenate([[-math.inf], *self.moves])[self.column(self.greedy)])

    def likeliest(self) -> Iterator[tuple[Begun, float]]:
        """The moves found, likeliest first, each with the log of its probability; none that is ruled out.

        What is no move is among them if it is made of the tokens of moves; that of other tokens is left out.
        """
        found, of_moves = np.concatenate(self.moves), self.forks.of_moves.tolist()
        nodes, width = list(self.nodes), len(self.moves[0])
        for at in np.argsort(-found, kind="stable").tolist():
            if found[at] == -math.inf:
                return
            begun, column = nodes[at // width], at % width
            if column < len(of_moves):
                yield (*begun, of_moves[column]), float(found[at])
            elif column == width - 1:
                yield begun, float(found[at])


def walk(forks: Forks, nodes: Sequence[tuple[Choice, Begun]], scores: Floats) -> None:
    """Walk nodes, given the next-token scores after each of them, (nodes, V)."""
    ends = np.array([[forks[begun].ends] for _, begun in nodes])
    goes_on = np.array([forks[begun].goes_on for _, begun in nodes])
    stays_open = np.array([forks[begun].stays_open for _, begun in nodes])
    reached = np.array([[choice.reached(begun)] for choice, begun in nodes])
    # What a scorer says after a beginning that it rules out means nothing.
    scores = np.where(reached > -math.inf, scores, 0)
    log_p = reached + log_softmax(np.where(forks.tokenizer.is_special & ~ends, -math.inf, scores))
    of_moves, others = log_p[:, forks.of_moves], log_p[:, forks.column < 0]
    # Junk takes its place among the likeliest moves.
    ending = ends & ~goes_on
    at_node = np.logaddexp(
        logsumexp(np.where(ending, of_moves, -math.inf)), logsumexp(np.where(ends, others, -math.inf))
    )
    junk = others if others.shape[1] <= JUNK else np.partition(others, -JUNK, axis=1)[:, -JUNK:]
    moves = np.concatenate(
        [np.where(ending | stays_open, -math.inf, of_moves), np.where(ends, -math.inf, junk), at_node], axis=1
    )
    still_open = np.where(stays_open, of_moves, -math.inf)
    likeliest = log_p.argmax(1).tolist()
    for row, (choice, begun) in enumerate(nodes):
        if begun:
            choice.open[choice.nodes[begun[:-1]]][forks.column[begun[-1]]] = -math.inf
        choice.nodes[begun] = len(choice.nodes)
        choice.moves.append(moves[row])
        choice.open.append(still_open[row])
        if begun == choice.greedy and not choice.greedy_over:
            choice.greedy, choice.greedy_over = forks.step(begun, likeliest[row])


def walk_branches(trunks: Trunks, forks: Forks, choices: Sequence[Sequence[Choice]]) -> None:
    """Walk what the choices of each game want, round by round, as far as it fits into the context."""
    while True:
        branches = [
            (game, *branch)
            for game, (ids, of_game) in enumerate(zip(trunks.ids, choices, strict=True))
            for branch in _grow(ids, of_game, trunks.scorer.context)
        ]
        if not branches:
            return
        for batch in batches([len(tree) for _, tree, _ in branches], batch_tokens(trunks.scorer)):
            chosen = [branches[i] for i in batch]
            logits = trunks.branch([game for game, _, _ in chosen], [tree for _, tree, _ in chosen])
            rows = [each.double().cpu().numpy() for each in logits]
            asked = [(b, *node) for b, (_, _, nodes) in enumerate(chosen) for node in nodes]
            # A beginning before what it is a beginning of.
            asked.sort(key=lambda node: len(node[3]))
            for _, level in groupby(asked, key=lambda node: len(node[3])):
                nodes = list(level)
                scores = np.stack([rows[b][at] for b, at, *_ in nodes])
                walk(forks, [(choice, begun) for _, _, choice, begun in nodes], scores)


def _grow(
    trunk: TokenIds, choices: Sequence[Choice], context: int
) -> Iterator[tuple[TokenTree, list[tuple[int, Choice, Begun]]]]:
    """Trees of a game's trunk with the nodes that its choices want, and which of those behind it each of them is.

    Where the last move of a long game is short, another one may be too long for the context: it has no probability.
    """
    ids, parents = trunk.tolist(), list(range(-1, len(trunk) - 1))
    asked: list[tuple[int, Choice, Begun]] = []

    def tree() -> tuple[TokenTree, list[tuple[int, Choice, Begun]]]:
        return TokenTree(np.array(ids, trunk.dtype), np.array(parents, np.int32)), asked

    for choice in choices:
        at: dict[Begun, int] = {(): choice.move.root}
        for begun in sorted(begun for begun in choice.wanted() if choice.move.root + len(begun) < context):
            for n in range(1, len(begun) + 1):
                if begun[:n] not in at:
                    at[begun[:n]] = len(ids)
                    ids.append(begun[n - 1])
                    parents.append(at[begun[: n - 1]])
            asked.append((at[begun] - len(trunk), choice, begun))
        if len(ids) > len(trunk) + max(TREE_NODES, len(trunk)):
            yield tree()
            ids, parents, asked = ids[: len(trunk)], parents[: len(trunk)], []
    if asked:
        yield tree()
