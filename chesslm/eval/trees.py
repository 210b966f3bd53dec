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
from numpy.typing import NDArray

from chesslm.eval.moves import EQUAL, batch_tokens
from chesslm.eval.scorers import Scorer, TokenTree, batches
from chesslm.tokenizer import GameTokenizer, TokenIds

TREE_NODES = 256
"""Nodes hung behind a game at once: attention is quadratic in them."""
JUNK = 256
"""Tokens that are in no move, kept at each node as ways to make junk of it: no position has so many legal moves."""

Begun = tuple[int, ...]
"""A move begun: token ids."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fork:
    """How the notation goes on with a move begun; arrays over the tokens that moves are made of, shape (A,).

    Attributes:
        ends: whether the move may also be over.
        goes_on: tokens by which it can go on.
        stays_open: those after which it is not certainly over.
    """

    ends: bool
    goes_on: NDArray[np.bool_]
    stays_open: NDArray[np.bool_]


@dataclass(frozen=True)
class Forks:
    """The forks of a notation: they are the same on every board.

    Attributes:
        tokenizer: of the notation.
    """

    tokenizer: GameTokenizer
    _known: dict[Begun, Fork] = field(default_factory=dict)

    @cached_property
    def of_moves(self) -> NDArray[np.int64]:
        """Ids of the tokens that moves are made of, rising, (A,)."""
        return np.array(sorted(self.tokenizer.ids[token] for token in self.tokenizer.notation.vocabulary))

    @cached_property
    def column(self) -> NDArray[np.int64]:
        """Where each token stands among them, (V,); -1 for one that does not."""
        columns = np.full(len(self.tokenizer), -1)
        columns[self.of_moves] = np.arange(len(self.of_moves))
        return columns

    def __getitem__(self, begun: Begun) -> Fork:
        if begun not in self._known:
            self._known[begun] = self._find(begun)
        return self._known[begun]

    def _find(self, begun: Begun) -> Fork:
        notation, ids = self.tokenizer.notation, self.tokenizer.ids
        tokens = self.tokens(begun)
        goes_on, stays_open = (np.zeros(len(self.of_moves), np.bool_) for _ in range(2))
        for token in notation.extensions(tokens):
            at = self.column[ids[token]]
            goes_on[at] = True
            stays_open[at] = bool(notation.extensions((*tokens, token)))
        return Fork(bool(tokens) and notation.ends(tokens), goes_on, stays_open)

    def tokens(self, begun: Begun) -> tuple[str, ...]:
        """Ids as tokens."""
        return tuple(self.tokenizer.tokens[i] for i in begun)


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
    # Where the move may be over, any token that does not go on with it ends it. Elsewhere such a token makes junk of
    # it, which takes its place among the likeliest moves.
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
            column = forks.column[likeliest[row]]
            further = column >= 0 and goes_on[row, column]
            choice.greedy_over = bool(ends[row, 0] and not further)
            if not choice.greedy_over:
                choice.greedy = (*begun, likeliest[row])
                choice.greedy_over = not (column >= 0 and stays_open[row, column])


def logsumexp(scores: Floats) -> Floats:
    """Along the last axis, which stays; -inf where all is."""
    highest = np.maximum(scores.max(-1, keepdims=True), -1e300)
    with np.errstate(divide="ignore"):
        return highest + np.log(np.exp(scores - highest).sum(-1, keepdims=True))


def log_softmax(scores: Floats) -> Floats:
    """Along the last axis."""
    return scores - logsumexp(scores)


def walk_branches(
    scorer: Scorer, forks: Forks, trunks: Sequence[TokenIds], choices: Sequence[Sequence[Choice]]
) -> None:
    """Walk what the choices of each game want, round by round, as far as it fits into the context."""
    while True:
        branches = [
            branch
            for trunk, of_game in zip(trunks, choices, strict=True)
            for branch in _grow(trunk, of_game, scorer.context)
        ]
        if not branches:
            return
        for batch in batches([len(tree) for tree, _ in branches], batch_tokens(scorer)):
            logits = scorer.logits([branches[i][0] for i in batch]).double().cpu().numpy()
            asked = [(b, *node) for b, i in enumerate(batch) for node in branches[i][1]]
            # A beginning before what it is a beginning of.
            asked.sort(key=lambda node: len(node[3]))
            for _, level in groupby(asked, key=lambda node: len(node[3])):
                nodes = list(level)
                rows = logits[[b for b, *_ in nodes], [at for _, at, *_ in nodes]]
                walk(forks, [(choice, begun) for _, _, choice, begun in nodes], rows)


def _grow(
    trunk: TokenIds, choices: Sequence[Choice], context: int
) -> Iterator[tuple[TokenTree, list[tuple[int, Choice, Begun]]]]:
    """Trees of a game's trunk with the nodes that its choices want, and where in the tree each of them is.

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
            asked.append((at[begun], choice, begun))
        if len(ids) > len(trunk) + max(TREE_NODES, len(trunk)):
            yield tree()
            ids, parents, asked = ids[: len(trunk)], parents[: len(trunk)], []
    if asked:
        yield tree()
