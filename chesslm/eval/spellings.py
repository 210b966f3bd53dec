"""The move distribution where a move takes several tokens: the tree of its spellings, walked as far as it matters.

A node of the tree is a move begun: the tokens so far. The root is the game itself; its next-token scores come with
the game's own forward pass. Each round, the nodes that are still needed are hung behind their games as branches and
scored in one forward pass a batch (``scorers.TokenTree``):

1. the beginnings of legal moves, for the legal mass;
2. the greedy move so far, token by token;
3. beginnings of any other move that could still be among the k likeliest (k legal moves): those at least as likely
   as the k-th likeliest whole move found up to here. A move is never likelier than its beginning, so what is left
   out cannot matter and R-precision and top-3 are exact.

A move that is over when the next token does not go on with it (``e7 e8`` without a promotion letter) ends with
probability 1 - P(letters); there special tokens end it as any other does, elsewhere they are taken out. The move after
it begins with the same scores, less the letters: that the move before is over is given.

For uci-square: three to four forward passes over the games, and behind them the nodes: a hundred a ply for a model that
knows next to nothing, the fewer the more certain a model is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import chess
import numpy as np
import torch
from numpy.typing import NDArray

from chesslm import boards
from chesslm.eval.moves import BATCH_TOKENS, EQUAL, MoveScores, Progress, empty_scores, fill_in, move_spans
from chesslm.eval.positions import Positions
from chesslm.eval.scorers import Scorer, TokenTree, batches, chain
from chesslm.tokenizer import SPECIALS, GameTokenizer, TokenizedGame

TREE_NODES = 256
"""Nodes hung behind a game at once: attention is quadratic in them."""

Begun = tuple[int, ...]
"""A move begun: token ids."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fork:
    """How the notation goes on with a move begun; arrays over all tokens, shape (V,).

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
    """The forks of a notation that needs no board."""

    tokenizer: GameTokenizer
    _known: dict[Begun, Fork] = field(default_factory=dict)
    _spelled: dict[int, Begun] = field(default_factory=dict)

    def __getitem__(self, begun: Begun) -> Fork:
        if begun not in self._known:
            self._known[begun] = self._find(begun)
        return self._known[begun]

    def _find(self, begun: Begun) -> Fork:
        notation, ids = self.tokenizer.notation, self.tokenizer.ids
        words = tuple(self.tokenizer.tokens[i] for i in begun)
        goes_on, stays_open = (np.zeros(len(self.tokenizer), np.bool_) for _ in range(2))
        for token in notation.extensions(words):
            goes_on[ids[token]] = True
            stays_open[ids[token]] = bool(notation.extensions((*words, token)))
        return Fork(self.move(begun) is not None, goes_on, stays_open)

    def move(self, spelled: Begun) -> chess.Move | None:
        """The move that is spelled, if one is."""
        words = tuple(self.tokenizer.tokens[i] for i in spelled)
        return self.tokenizer.notation.parse(words, chess.Board()) if words else None

    def spelling(self, code: int) -> Begun:
        """How a move is spelled."""
        if code not in self._spelled:
            self._spelled[code] = self.tokenizer.spell(boards.code_move(code), chess.Board())
        return self._spelled[code]


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
        moves: natural log of the probability of each move that ends with a node's child, or (last column) at the node
            itself; rows of shape (V + 1,).
        open: the same of the children that are not certainly over, until they are walked themselves; rows (V,).
        greedy: the greedy move so far.
        greedy_over: whether that is all of it.
    """

    move: PlayedMove
    legal: list[Begun]
    nodes: dict[Begun, int] = field(default_factory=dict)
    moves: list[Floats] = field(default_factory=list)
    open: list[Floats] = field(default_factory=list)
    greedy: Begun = ()
    greedy_over: bool = False

    @cached_property
    def beginnings(self) -> set[Begun]:
        """Of the legal moves, the whole ones too."""
        return {spelled[:n] for spelled in self.legal for n in range(1, len(spelled) + 1)}

    def wanted(self) -> set[Begun]:
        """The nodes to be walked next: children of nodes that are walked."""
        asked = self.beginnings if self.greedy_over else {*self.beginnings, self.greedy}
        wanted = {begun for begun in asked if self.reached(begun) > -math.inf}
        k = max(len(self.legal), 3)
        threshold = np.partition(np.concatenate(self.moves), -k)[-k] - EQUAL
        for begun, row in self.nodes.items():
            likely = (self.open[row] >= threshold) & (self.open[row] > -math.inf)
            wanted.update((*begun, i) for i in np.flatnonzero(likely).tolist())
        return wanted

    def reached(self, begun: Begun) -> float:
        """Log of the probability of a move begun that is still to be walked; -inf for any other."""
        if not begun:
            return 0.0
        row = self.nodes.get(begun[:-1])
        return -math.inf if row is None else float(self.open[row][begun[-1]])

    def column(self, spelled: Begun) -> int:
        """Where a whole move stands among the flattened ``moves``, 1 being the first; 0 if it has no probability."""
        if spelled in self.nodes:
            return (self.nodes[spelled] + 1) * len(self.moves[0])
        if spelled[:-1] not in self.nodes:
            return 0
        return self.nodes[spelled[:-1]] * len(self.moves[0]) + spelled[-1] + 1


def walk(forks: Forks, nodes: Sequence[tuple[Choice, Begun]], scores: Floats) -> None:
    """Walk nodes, given the next-token scores after each of them, (nodes, V)."""
    ends = np.array([[forks[begun].ends] for _, begun in nodes])
    goes_on = np.array([forks[begun].goes_on for _, begun in nodes])
    stays_open = np.array([forks[begun].stays_open for _, begun in nodes])
    reached = np.array([[choice.reached(begun)] for choice, begun in nodes])
    is_special = np.arange(scores.shape[1]) < len(SPECIALS)
    log_p = reached + log_softmax(np.where(is_special & ~ends, -math.inf, scores))
    # Where the move may be over, any token that does not go on with it ends it. Elsewhere such a token makes junk of
    # it, which takes its place among the likeliest moves.
    ending = ends & ~goes_on
    at_node = logsumexp(np.where(ending, log_p, -math.inf))
    moves = np.concatenate([np.where(ending | stays_open, -math.inf, log_p), at_node], axis=1)
    still_open = np.where(stays_open, log_p, -math.inf)
    likeliest = log_p.argmax(1).tolist()
    for row, (choice, begun) in enumerate(nodes):
        if begun:
            choice.open[choice.nodes[begun[:-1]]][begun[-1]] = -math.inf
        choice.nodes[begun] = len(choice.nodes)
        choice.moves.append(moves[row])
        choice.open.append(still_open[row])
        if begun == choice.greedy and not choice.greedy_over:
            choice.greedy_over = bool(ending[row, likeliest[row]])
            if not choice.greedy_over:
                choice.greedy = (*begun, likeliest[row])
                choice.greedy_over = not stays_open[row, likeliest[row]]


def logsumexp(scores: Floats) -> Floats:
    """Along the last axis, which stays; -inf where all is."""
    highest = np.maximum(scores.max(-1, keepdims=True), -1e300)
    with np.errstate(divide="ignore"):
        return highest + np.log(np.exp(scores - highest).sum(-1, keepdims=True))


def log_softmax(scores: Floats) -> Floats:
    """Along the last axis."""
    return scores - logsumexp(scores)


def score_spellings(
    scorer: Scorer,
    games: Sequence[TokenizedGame],
    positions: Positions,
    measured: NDArray[np.bool_],
    advance: Progress,
) -> MoveScores:
    """Score every ply of some games, the legal moves of the measured plies alone."""
    forks = Forks(scorer.tokenizer)
    begins, ends = move_spans(games)
    # A model is not trained to say what follows the last token of its context.
    within = ends < scorer.context
    scores = empty_scores(within, measured)
    for batch in batches([len(game) for game in games], BATCH_TOKENS):
        spans = [slice(*positions.first[game : game + 2]) for game in batch]
        # Up to the last move within the context.
        chains = [
            chain(games[game].ids[: ends[span][within[span]].max(initial=0) + 1])
            for game, span in zip(batch, spans, strict=True)
        ]
        trunks = scorer.logits(chains).double().cpu().numpy()
        choices: list[list[Choice]] = []
        for trunk, game, span in zip(trunks, batch, spans, strict=True):
            ids = games[game].ids
            moves = [
                PlayedMove(ply, int(begins[ply]), tuple(ids[begins[ply] : ends[ply] + 1].tolist()))
                for ply in (np.flatnonzero(within[span]) + span.start).tolist()
            ]
            _fill_in_played(scores, forks, moves, trunk)
            choices.append([_choice(forks, move, positions) for move in moves if measured[move.ply]])
            if choices[-1]:
                roots = trunk[[choice.move.root for choice in choices[-1]]]
                walk(forks, [(choice, ()) for choice in choices[-1]], roots)
        _walk_branches(scorer, forks, [tree.ids for tree in chains], choices)
        _fill_in_choices(scores, forks, [choice for of_game in choices for choice in of_game])
        advance(sum(span.stop - span.start for span in spans))
    return scores


def _choice(forks: Forks, move: PlayedMove, positions: Positions) -> Choice:
    return Choice(move, [forks.spelling(code) for code in positions.legal_codes(move.ply).tolist()])


def _walk_branches(
    scorer: Scorer, forks: Forks, trunks: Sequence[NDArray[np.uint16]], choices: Sequence[Sequence[Choice]]
) -> None:
    """Walk what the choices of each game want, round by round."""
    while True:
        branches = [branch for trunk, of_game in zip(trunks, choices, strict=True) for branch in _grow(trunk, of_game)]
        if not branches:
            return
        for batch in batches([len(tree) for tree, _ in branches], BATCH_TOKENS):
            logits = scorer.logits([branches[i][0] for i in batch]).double().cpu().numpy()
            asked = [(b, *node) for b, i in enumerate(batch) for node in branches[i][1]]
            rows = logits[[b for b, *_ in asked], [at for _, at, *_ in asked]]
            walk(forks, [(choice, begun) for _, _, choice, begun in asked], rows)


def _grow(
    trunk: NDArray[np.uint16], choices: Sequence[Choice]
) -> Iterator[tuple[TokenTree, list[tuple[int, Choice, Begun]]]]:
    """Trees of a game's trunk with the nodes that its choices want, and where in the tree each of them is."""
    ids, parents = trunk.tolist(), list(range(-1, len(trunk) - 1))
    asked: list[tuple[int, Choice, Begun]] = []

    def tree() -> tuple[TokenTree, list[tuple[int, Choice, Begun]]]:
        return TokenTree(np.array(ids, np.uint16), np.array(parents, np.int32)), asked

    for choice in choices:
        at: dict[Begun, int] = {(): choice.move.root}
        for begun in sorted(choice.wanted()):
            for n in range(1, len(begun) + 1):
                if begun[:n] not in at:
                    at[begun[:n]] = len(ids)
                    ids.append(begun[n - 1])
                    parents.append(at[begun[: n - 1]])
            asked.append((at[begun], choice, begun))
        if len(ids) > len(trunk) + TREE_NODES:
            yield tree()
            ids, parents, asked = ids[: len(trunk)], parents[: len(trunk)], []
    if asked:
        yield tree()


def _fill_in_choices(scores: MoveScores, forks: Forks, choices: Sequence[Choice]) -> None:
    """The figures of the legal moves at each measured ply."""
    if not choices:
        return
    sizes = [sum(map(len, choice.moves)) for choice in choices]
    moves = np.full((len(choices), 1 + max(sizes)), -math.inf)
    legal = np.full((len(choices), max(len(choice.legal) for choice in choices)), -1)
    for i, choice in enumerate(choices):
        moves[i, 1 : 1 + sizes[i]] = np.concatenate(choice.moves)
        legal[i, : len(choice.legal)] = [choice.column(spelled) for spelled in choice.legal]
        move = forks.move(choice.greedy)
        scores.greedy[choice.move.ply] = boards.move_code(move) if move else 0
        scores.greedy_legal[choice.move.ply] = choice.greedy in choice.legal
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

    Where a move might have gone on, the scores after it lose the tokens by which it would: the next move begins there.
    """
    ended: dict[int, float] = {}
    for move in moves:
        goes_on = forks[move.spelled].goes_on
        if goes_on.any():
            ended[move.ply] = logsumexp(trunk[move.last])[0] - logsumexp(trunk[move.last, ~goes_on])[0]
            trunk[move.last, goes_on] = -math.inf
    everything, of_moves = logsumexp(trunk)[:, 0], logsumexp(trunk[:, len(SPECIALS) :])[:, 0]
    for move in moves:
        nats, left = ended.get(move.ply, 0.0), 0.0
        for n, token in enumerate(move.spelled):
            at, may_end = move.root + n, forks[move.spelled[:n]].ends
            nats += (everything if may_end else of_moves)[at] - trunk[at, token]
            left += 0.0 if may_end else of_moves[at] - everything[at]
        scores.bits[move.ply] = nats / math.log(2)
        scores.end_mass[move.ply] = -math.expm1(left)
