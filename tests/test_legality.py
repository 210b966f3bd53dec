"""The suite legality against oracles whose figures are known in closed form, brute force, and plain forward passes."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import chess
import numpy as np
import pytest
import torch
from conftest import Cli
from oracles import NEVER, Indifferent, Oracle, Spelled, never_legal, uniform
from random_games import ALL_NOTATIONS, LIVELY, PROMOTIONS, random_game, tokenizer_of, write_pgn

from chesslm import boards, parallel
from chesslm.boards import Illegal, MoveCodes
from chesslm.card import model_card
from chesslm.config import ModelConfig
from chesslm.eval import moves as moves_module
from chesslm.eval import trees as trees_module
from chesslm.eval.asking import Question, ask
from chesslm.eval.baselines import UniformLegal
from chesslm.eval.examples import choose
from chesslm.eval.games import from_dataset, from_pgn
from chesslm.eval.legality import HeldOut, find_kinds, legality, summarize
from chesslm.eval.moves import MoveScores, score_moves, uniform_over_legal
from chesslm.eval.positions import find_positions
from chesslm.eval.results import Result
from chesslm.eval.run import evaluate
from chesslm.eval.scorers import ModelScorer, Scorer, TokenTree, chain
from chesslm.eval.trunks import ReadAgain, plant
from chesslm.game import Game
from chesslm.model import LoadedModel, new_gpt2
from chesslm.shards import open_dataset
from chesslm.tokenizer import SPECIALS, GameTokenizer, Role, get_tokenizer
from chesslm.words import geometric_moves

NOTATIONS = ("uci-move", "uci-square")
all_notations = pytest.mark.parametrize("notation", ALL_NOTATIONS)


GAMES = [PROMOTIONS, *(random_game(seed, 20 + 5 * seed) for seed in range(4))]


@pytest.fixture(scope="module")
def held(pool: parallel.Executor) -> HeldOut:
    return held_out(GAMES, pool)


@pytest.fixture(scope="module")
def few(pool: parallel.Executor) -> HeldOut:
    """For players that look at the board."""
    return held_out([PROMOTIONS, LIVELY], pool)


def held_out(codes: Sequence[MoveCodes], pool: parallel.Executor) -> HeldOut:
    return HeldOut([Game(each) for each in codes], find_positions(codes, pool))


# Oracles


def skewed(board: chess.Board) -> dict[chess.Move, float]:
    """Legal moves with unlike weights, and as much for illegal ones."""
    legal = sorted(board.legal_moves, key=str)
    weights = {move: 1.0 + i for i, move in enumerate(legal)}
    return weights | {move: 10.0 for move in map(chess.Move.from_uci, geometric_moves()[::50]) if move not in legal}


def scored(scorer: Scorer, held: HeldOut, pool: parallel.Executor, plies: int = 0) -> MoveScores:
    return score_moves(scorer, held.games, held.positions, pool, plies)


def values(result: Result) -> dict[str, float]:
    return {key: metric.value for key, metric in result.metrics.items()}


@all_notations
def test_uniform_over_the_legal_moves(notation: str, few: HeldOut, pool: parallel.Executor) -> None:
    """All that is legal and nothing else; the baseline's shortcut gives the same."""
    expected = uniform_over_legal(few.positions)
    for scorer in (Oracle(tokenizer_of(notation), uniform), *([UniformLegal()] if notation == "uci-move" else [])):
        scores = scored(scorer, few, pool)
        assert_alike(expected, scores, skip=("greedy", "end_mass"))
        result = summarize(scores, few, find_kinds(scores, few.positions, pool), seed=1)
        found = values(result)
        for key in ("legal_argmax", "legal_mass", "r_precision", "fully_legal_games"):
            assert found[key] == pytest.approx(1, abs=1e-6), key
        assert found["legality_bits"] == pytest.approx(0, abs=1e-6)
        assert found["choice_bits"] == pytest.approx(np.log2(few.positions.n_legal).mean(), abs=1e-5)
        assert "first_illegal_ply" not in found
        assert "illegal" not in result.by


def assert_alike(left: MoveScores, right: MoveScores, skip: tuple[str, ...] = (), atol: float = 1e-5) -> None:
    for name, one in vars(left).items():
        if name not in skip:
            np.testing.assert_allclose(one, getattr(right, name), atol=atol, err_msg=name)


@all_notations
def test_one_illegal_move_for_ever(notation: str, few: HeldOut, pool: parallel.Executor) -> None:
    assert boards.move_code(NEVER) not in few.positions.legal
    result = legality(Oracle(tokenizer_of(notation), never_legal), few, pool, plies=0)
    found = values(result)
    for key in ("legal_argmax", "legal_mass", "r_precision", "top1", "top3", "fully_legal_games", "first_illegal_ply"):
        assert found[key] == 0, key
    for key in ("bits_per_move", "legality_bits", "choice_bits"):
        assert key not in found, "infinite"
    assert result.metrics["fully_legal_games"].high == 1, "the rule of three for two games"
    shares = {kind: metrics["share"].value for kind, metrics in result.by["illegal"].items()}
    assert sum(shares.values()) == pytest.approx(1)


@dataclass(frozen=True)
class Babbling:
    """Somebody who knows the rules, but wherever it is to write a token it would rather write one that is no move."""

    oracle: Oracle
    babble: int

    @property
    def tokenizer(self) -> GameTokenizer:
        return self.oracle.tokenizer

    @property
    def context(self) -> int:
        return self.oracle.context

    def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
        out = self.oracle.logits(trees)
        out[..., self.babble] = math.log(1.5) + out[..., torch.from_numpy(~self.tokenizer.is_special)].logsumexp(-1)
        return out


@pytest.mark.parametrize("notation", ["pgn-char", "text"])
def test_what_is_no_move_is_the_likeliest(notation: str, few: HeldOut, pool: parallel.Executor) -> None:
    """A full stop, which stands in move numbers alone; a token of prose, which stands in neither."""
    tokenizer = tokenizer_of(notation)
    strange = [i for i, token in enumerate(tokenizer.tokens) if token not in {*tokenizer.notation.vocabulary} - {"."}]
    babble = next(i for i in strange if not tokenizer.is_special[i])
    scores = scored(Babbling(Oracle(tokenizer, uniform), babble), few, pool)
    np.testing.assert_allclose(scores.confidence, 0.6, atol=1e-6)
    assert not scores.top1.any() and not scores.greedy.any() and not scores.greedy_legal.any()
    # Of the three likeliest the first is none.
    assert (scores.top3 <= np.minimum(1, 2 / few.positions.n_legal) + 1e-9).all()
    illegal = summarize(scores, few, find_kinds(scores, few.positions, pool), seed=1).by["illegal"]
    assert illegal["not a move"]["share"].value == 1


@all_notations
def test_indifference(notation: str, pool: parallel.Executor) -> None:
    """Every token alike: a move is as likely as it is short, and the likeliest are those that are over soonest, most
    of them junk.
    """
    held = held_out([PROMOTIONS], pool)
    tokenizer, positions = tokenizer_of(notation), held.positions
    scores = scored(Indifferent(tokenizer), held, pool)
    before: Spelled = ()
    for ply, board in enumerate(replayed(PROMOTIONS[:-1])):
        even = Even(tokenizer, frozenset() if tokenizer.lead(ply) or not ply else tokenizer.notation.extensions(before))
        legal = [tokenizer.notation.spell(move, board) for move in board.legal_moves]
        played = tokenizer.notation.spell(boards.code_move(int(PROMOTIONS[ply])), board)
        assert scores.bits[ply] == pytest.approx(-math.log2(even.probability(played)))
        assert scores.legality_bits[ply] == pytest.approx(-math.log2(sum(map(even.probability, legal))))
        assert scores.r_precision[ply] == pytest.approx(even.among(legal, len(legal)) / len(legal))
        assert scores.top1[ply] == pytest.approx(even.among([played], 1))
        assert scores.top3[ply] == pytest.approx(even.among([played], 3))
        assert scores.end_mass[ply] == pytest.approx(1 - even.not_special(played))
        before = played
    if notation == "uci-move":
        np.testing.assert_allclose(scores.legality_bits, np.log2(1968 / positions.n_legal), atol=1e-5)
        np.testing.assert_allclose(scores.end_mass, 4 / 1972, atol=1e-6)


@dataclass(frozen=True)
class Even:
    """What follows where every token is as likely as any other.

    Attributes:
        tokenizer: of the notation.
        barred: tokens that would have gone on with the move before; none of them begins the next one.
    """

    tokenizer: GameTokenizer
    barred: frozenset[str]

    @cached_property
    def ours(self) -> frozenset[str]:
        """Tokens that are not special."""
        return frozenset(np.array(self.tokenizer.tokens, object)[~self.tokenizer.is_special])

    def probability(self, spelled: Spelled) -> float:
        """Of a move, tokens one by one; where it could go on, that it does not."""
        notation, every = self.tokenizer.notation, len(self.tokenizer)
        found = 1 / (len(self.ours) - len(self.barred))
        for n in range(1, len(spelled)):
            found /= every if notation.ends(spelled[:n]) else len(self.ours)
        return found * (1 - len(notation.extensions(spelled)) / every)

    def not_special(self, spelled: Spelled) -> float:
        """Probability that none of the tokens is special, those apart behind what may be a whole move."""
        every, barred = len(self.tokenizer), len(self.barred)
        inside = sum(not self.tokenizer.notation.ends(spelled[:n]) for n in range(1, len(spelled)))
        return (len(self.ours) - barred) / (every - barred) * (len(self.ours) / every) ** inside

    @cached_property
    def soonest(self) -> tuple[int, int]:
        """How many moves and junk are certainly over after one token, and after two."""
        extensions, ends = self.tokenizer.notation.extensions, self.tokenizer.notation.ends
        first = self.ours - self.barred
        further = {token: extensions((token,)) for token in extensions(()) - self.barred}
        one = len(first - further.keys()) + sum(not each for each in further.values())
        two = 0
        for token, each in further.items():
            if each:
                two += sum(not extensions((token, second)) for second in each)
                two += 0 if ends((token,)) else len(self.ours - each)
        return one, two

    def among(self, asked: Sequence[Spelled], n: int) -> float:
        """Expected number of the asked among the n likeliest."""
        over = [len(spelled) for spelled in asked if not self.tokenizer.notation.extensions(spelled)]
        one, two = self.soonest
        assert n <= one + two
        share = max(0, n - one) / two if two else 0
        return over.count(1) * min(n, one) / max(1, one) + over.count(2) * share


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_skewed_player(notation: str, pool: parallel.Executor) -> None:
    """Mass, ranks and choice where half of the probability or so is illegal; the same in both notations."""
    games = GAMES[:4]
    positions = find_positions(games, pool)
    scores = score_moves(
        Oracle(get_tokenizer(notation), skewed), [Game(each) for each in games], positions, pool, plies=0
    )
    at = 0
    for codes in games:
        for code, board in zip(codes.tolist(), boards.replay(boards.to_moves(codes)), strict=False):
            weights = skewed(board)
            legal = [weights[move] for move in board.legal_moves]
            played, total = weights[boards.code_move(code)], sum(weights.values())
            assert scores.bits[at] == pytest.approx(-math.log2(played / total), abs=1e-4)
            assert scores.legality_bits[at] == pytest.approx(-math.log2(sum(legal) / total), abs=1e-4)
            assert scores.r_precision[at] == pytest.approx(
                among(legal, list(weights.values()), len(legal)) / len(legal), abs=1e-4
            )
            for n, top in ((1, scores.top1), (3, scores.top3)):
                assert top[at] == pytest.approx(among([played], list(weights.values()), n), abs=1e-4)
            assert scores.confidence[at] == pytest.approx(max(weights.values()) / total, abs=1e-4)
            at += 1
    assert at == len(positions)


def among(asked: list[float], everything: list[float], n: int) -> float:
    """Expected number of the asked among the n greatest, equal ones in random order."""
    n = min(n, len(everything))
    threshold = sorted(everything)[-n]
    above = sum(weight > threshold for weight in everything)
    share = (n - above) / sum(weight == threshold for weight in everything)
    return sum(1.0 if weight > threshold else share if weight == threshold else 0.0 for weight in asked)


# Models


def random_model(notation: str, context: int = 256, seed: int = 3) -> ModelScorer:
    """A model of random weights, scaled up until it has strong opinions."""
    tokenizer = tokenizer_of(notation)
    model = new_gpt2(ModelConfig(layers=2, width=32, heads=2, context=context, sinusoids=False), tokenizer, seed).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights *= 12
    return ModelScorer(LoadedModel(model, tokenizer, "random", "random", {}, torch.float32))


def after(scorer: ModelScorer, prefixes: Sequence[Sequence[int]]) -> np.ndarray:
    """Probabilities of the next token after prefixes of one length, by a plain forward pass."""
    with torch.inference_mode():
        logits = scorer.loaded.model(input_ids=torch.tensor(prefixes), use_cache=False).logits
    return logits[:, -1].double().softmax(-1).numpy()


def without_specials(scorer: ModelScorer, probabilities: np.ndarray, others: Sequence[int] = ()) -> np.ndarray:
    kept = np.where(scorer.tokenizer.is_special, 0, probabilities)
    kept[list(others)] = 0
    return kept / kept.sum()


def test_branches_are_scored_as_if_each_stood_alone() -> None:
    scorer = random_model("uci-square")
    rng = np.random.default_rng(0)
    trunk = rng.integers(4, 72, 30)
    parents = [5, 30, 31, 30, 12, 29, 35, 0]
    branches = rng.integers(4, 72, len(parents))
    ids = np.concatenate([trunk, branches]).astype(np.uint16)
    tree = TokenTree(ids, np.array([*range(-1, 29), *parents], np.int32))
    shorter = chain(ids[:9])
    logits = scorer.logits([tree, shorter]).double().softmax(-1).numpy()
    for row, each in zip(logits, (tree, shorter), strict=True):
        for node in range(len(each)):
            path, at = [], node
            while at >= 0:
                path.append(int(each.ids[at]))
                at = int(each.parent[at])
            np.testing.assert_allclose(row[node], after(scorer, [path[::-1]])[0], atol=1e-6)


def test_branches_behind_games_that_are_kept() -> None:
    """Of any game, in any order, more than once: as if all had been read again."""
    scorer = random_model("uci-square")
    rng = np.random.default_rng(0)
    games = [rng.integers(4, 72, n).astype(np.uint16) for n in (30, 9, 17)]

    def tree(game: int, parents: Sequence[int]) -> TokenTree:
        chained = range(-1, len(games[game]) - 1)
        ids = np.concatenate([games[game], rng.integers(4, 72, len(parents)).astype(np.uint16)])
        return TokenTree(ids, np.array([*chained, *parents], np.int32))

    asked, trees = [2, 0, 2, 1], [tree(2, [3, 17, 0]), tree(0, [29, 5, 31, 31, 12]), tree(2, [16]), tree(1, [0, 9, 9])]
    kept, again = plant(scorer, games), ReadAgain(scorer, games)
    assert not isinstance(kept, ReadAgain)
    for row, other, ids in zip(kept.logits, again.logits, games, strict=True):
        np.testing.assert_allclose(row[: len(ids)], other[: len(ids)], atol=1e-5)
    for _ in range(2):
        for chosen in ([0, 1, 2, 3], [3], [2, 0]):
            found, expected = (
                each.branch([asked[i] for i in chosen], [trees[i] for i in chosen]) for each in (kept, again)
            )
            assert [len(each) for each in found] == [len(trees[i]) - len(games[asked[i]]) for i in chosen]
            for row, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(row, other, atol=1e-5)


def test_whole_moves_prefix_by_prefix(pool: parallel.Executor) -> None:
    """Every figure of every ply against the usual loop."""
    codes = [game[:24] for game in GAMES[:3]]
    positions = find_positions(codes, pool)
    scorer = random_model("uci-move")
    scores = score_moves(scorer, [Game(each) for each in codes], positions, pool)
    tokenizer, at = scorer.tokenizer, 0
    for each in codes:
        ids = tokenizer.encode(each).ids.tolist()
        for ply, board in enumerate(boards.replay(boards.to_moves(each))):
            if ply == len(each):
                break
            raw = after(scorer, [ids[: ply + 1]])[0]
            probabilities = without_specials(scorer, raw)
            legal = [tokenizer.ids[move.uci()] for move in board.legal_moves]
            likeliest = np.argsort(-probabilities)
            played = ids[ply + 1]
            assert scores.bits[at] == pytest.approx(-math.log2(probabilities[played]), abs=1e-4)
            assert scores.legality_bits[at] == pytest.approx(-math.log2(probabilities[legal].sum()), abs=1e-4)
            assert scores.r_precision[at] == pytest.approx(len({*legal} & {*likeliest[: len(legal)]}) / len(legal))
            assert scores.top1[at] == (likeliest[0] == played)
            assert scores.top3[at] == (played in likeliest[:3])
            assert boards.code_move(int(scores.greedy[at])).uci() == tokenizer.tokens[likeliest[0]]
            assert scores.greedy_legal[at] == (likeliest[0] in legal)
            assert scores.confidence[at] == pytest.approx(probabilities[likeliest[0]], abs=1e-5)
            assert scores.end_mass[at] == pytest.approx(raw[: len(SPECIALS)].sum(), abs=1e-5)
            at += 1
    assert at == len(positions)


Outcomes = dict[tuple[str, ...], float]


def outcomes(scorer: ModelScorer, prefix: list[int], ruled_out: Sequence[int]) -> Outcomes:
    """Probability of everything that a model could write as its next move in squares, by plain forward passes."""
    tokens = scorer.tokenizer.tokens
    ours = np.flatnonzero(~scorer.tokenizer.is_special).tolist()
    squares = [i for i in ours if len(tokens[i]) == 2]
    letters = [i for i in ours if i not in squares]
    steps = [(i, j) for i in squares for j in squares if scorer.tokenizer.notation.extensions((tokens[i], tokens[j]))]
    first = without_specials(scorer, after(scorer, [prefix])[0], ruled_out)
    second = dict(zip(squares, after(scorer, [[*prefix, i] for i in squares]), strict=True))
    third = dict(zip(steps, after(scorer, [[*prefix, *step] for step in steps]), strict=True))
    found: Outcomes = {(tokens[i],): first[i] for i in letters}
    for i in squares:
        of_i = without_specials(scorer, second[i])
        found |= {(tokens[i], tokens[j]): first[i] * of_i[j] for j in ours}
    for step, probabilities in third.items():
        begun = tokens[step[0]], tokens[step[1]]
        found |= {(*begun, tokens[letter]): found[begun] * probabilities[letter] for letter in letters}
        found[begun] *= 1 - probabilities[letters].sum()
    return found


def test_squares_against_everything_that_could_be_written(pool: parallel.Executor) -> None:
    """What is left out of the tree changes nothing: every figure against the whole of it."""
    codes = [PROMOTIONS]
    positions = find_positions(codes, pool)
    scorer = random_model("uci-square", seed=9)
    scores = score_moves(scorer, [Game(each) for each in codes], positions, pool, plies=0)
    tokenized = scorer.tokenizer.encode(PROMOTIONS)
    starts = np.flatnonzero(tokenized.role & Role.MOVE_BEGINS)
    legal_found = 0
    tokenizer = scorer.tokenizer
    for ply in (3, 5, 8, 11, 15, 17, 19, 21, 23):
        board = list(replayed(PROMOTIONS))[ply]
        prefix = tokenized.ids[: starts[ply]].tolist()
        # The move before is over: at ply 19 it is a rook's step to the last rank.
        before = tuple(tokenizer.tokens[i] for i in prefix[starts[ply - 1] :])
        ruled_out = [tokenizer.ids[token] for token in tokenizer.notation.extensions(before)]
        assert bool(ruled_out) == (ply == 19)
        found = outcomes(scorer, prefix, ruled_out)
        assert sum(found.values()) == pytest.approx(1)
        legal = [tokenizer.notation.spell(move, board) for move in board.legal_moves]
        played = tokenizer.notation.spell(boards.code_move(int(PROMOTIONS[ply])), board)
        ranked = sorted(found, key=lambda spelled: -found[spelled])
        mass = sum(found[spelled] for spelled in legal)
        assert scores.bits[ply] == pytest.approx(-math.log2(found[played]), abs=1e-4)
        assert scores.legality_bits[ply] == pytest.approx(-math.log2(mass), abs=1e-4)
        among_likeliest = {*ranked[: len(legal)]} & {*legal}
        assert scores.r_precision[ply] == pytest.approx(len(among_likeliest) / len(legal))
        assert scores.top1[ply] == (played == ranked[0])
        assert scores.top3[ply] == (played in ranked[:3])
        assert scores.confidence[ply] == pytest.approx(found[ranked[0]], abs=1e-5)
        greedy = greedily(scorer, prefix, ruled_out)
        move = scorer.tokenizer.notation.parse(greedy, board)
        assert scores.greedy[ply] == (boards.move_code(move) if move else 0)
        assert scores.greedy_legal[ply] == (greedy in legal)
        (answer,) = ask(scorer, [PROMOTIONS], [Question(0, ply, np.zeros(0, np.uint16), ideas=40)])
        expected = [greedy, *(spelled for spelled in ranked if spelled != greedy)]
        for idea, spelled in zip(answer.ideas, expected, strict=False):
            assert (idea.text, idea.legal) == ("".join(spelled), spelled in legal)
            assert idea.probability == pytest.approx(found[spelled], abs=1e-5)
        assert len(answer.ideas) == 41
        legal_found += len(among_likeliest)
    assert legal_found


def greedily(scorer: ModelScorer, prefix: list[int], ruled_out: Sequence[int]) -> tuple[str, ...]:
    """The likeliest token again and again, until the move is over."""
    notation = scorer.tokenizer.notation
    begun: tuple[str, ...] = ()
    while True:
        probabilities = after(scorer, [prefix])[0]
        over = bool(begun) and notation.parse(begun, chess.Board()) is not None
        likeliest = int((probabilities if over else without_specials(scorer, probabilities, ruled_out)).argmax())
        token, goes_on = scorer.tokenizer.tokens[likeliest], notation.extensions(begun)
        if over and token not in goes_on:
            return begun
        begun, prefix, ruled_out = (*begun, token), [*prefix, likeliest], ()
        if token not in goes_on or not notation.extensions(begun):
            return begun


@all_notations
def test_examples_are_of_what_was_scored(notation: str, pool: parallel.Executor) -> None:
    """Also where conditions stand in front: the greedy move is the same one, and what it thought next falls."""
    plain = tokenizer_of(notation)
    tokenizer = plain if plain.foreign else replace(plain, conditions=("elo",))
    model = new_gpt2(ModelConfig(layers=1, width=32, heads=2, context=512), tokenizer, seed=5).eval()
    scorer = ModelScorer(LoadedModel(model, tokenizer, "random", "random", {}, torch.float32))
    codes = [random_game(seed, 12) for seed in range(4)]
    held = HeldOut([Game(each, white_elo=1500, black_elo=2100) for each in codes], find_positions(codes, pool))
    scores = score_moves(scorer, held.games, held.positions, pool)
    result = legality(scorer, held, pool)
    assert 4 <= len(result.examples) <= 8
    assert len({example.game for example in result.examples}) == 4
    for example in result.examples:
        moves = example.moves.split()
        board = chess.Board()
        for move in moves:
            board.push_uci(move)
        at = held.positions.first[example.game] + len(moves)
        greedy = boards.code_move(int(scores.greedy[at])) if scores.greedy[at] else None
        assert example.wanted.move == (greedy.uci() if greedy else None)
        assert example.kind == boards.illegal_kind(board, greedy)
        assert example.played == boards.code_move(int(codes[example.game][len(moves)])).uci()
        thought = [idea.probability for idea in example.next]
        assert len(thought) == 5 and sorted(thought, reverse=True) == thought
        if tokenizer.is_one_token:
            assert example.wanted.probability == pytest.approx(scores.confidence[at], abs=1e-5)
            assert example.wanted.probability >= thought[0]
        for idea in (example.wanted, *example.next):
            assert idea.legal == (idea.move in [str(move) for move in board.legal_moves])
    json.dumps(result.as_dict(), allow_nan=False)


def test_examples_take_turns() -> None:
    """By kind as long as there are, and from another game where one is left."""
    kinds = dict.fromkeys(range(90), Illegal.CHECK) | {90: Illegal.BLOCKED, 91: Illegal.BLOCKED, 92: Illegal.NO_PIECE}
    game = np.arange(93) // 18
    chosen = choose(kinds, game, seed=1)
    assert [kinds[where] for where in chosen] == [Illegal.NO_PIECE, *[Illegal.BLOCKED] * 2, *[Illegal.CHECK] * 5]
    assert len({game[where] for where in chosen}) == 6
    assert chosen != choose(kinds, game, seed=2)


def replayed(codes: MoveCodes) -> Iterator[chess.Board]:
    """The boards before each move."""
    return (board.copy() for board in boards.replay(boards.to_moves(codes)))


@all_notations
def test_batches_and_padding_change_nothing(
    notation: str, held: HeldOut, pool: parallel.Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = random_model(notation, context=1024)
    together = scored(scorer, held, pool, plies=40)
    monkeypatch.setattr(moves_module, "BATCH_TOKENS", 1)
    monkeypatch.setattr(trees_module, "TREE_NODES", 1)
    assert_alike(together, scored(scorer, held, pool, plies=40), atol=1e-4)


@all_notations
def test_bits_are_split_exactly(notation: str, held: HeldOut, pool: parallel.Executor) -> None:
    """Also where the legal mass is known on a sample alone; and in every group."""
    result = legality(random_model(notation, context=1024), held, pool, plies=30)
    groups = [result.metrics, *(group for by in ("phase", "piece", "check") for group in result.by[by].values())]
    for metrics in groups:
        if "legality_bits" in metrics:
            parts = metrics["legality_bits"].value + metrics["choice_bits"].value
            assert metrics["bits_per_move"].value == pytest.approx(parts, abs=1e-12)
    n = len(held.positions)
    assert result.metrics["bits_per_move"].n == n
    assert result.metrics["legality_bits"].n == (n if notation == "uci-move" else 30)
    assert ("fully_legal_games" in result.metrics) == (notation == "uci-move")


@pytest.mark.parametrize("notation", ["uci-move", "uci-square", "san"])
def test_groups_add_up(notation: str, held: HeldOut, pool: parallel.Executor) -> None:
    half = [len(game.codes) // 2 for game in held.games]
    sourced = [replace(game, source="ab"[number % 2]) for number, game in enumerate(held.games)]
    games = replace(held, games=sourced, first_novel=np.array(half))
    result = legality(random_model(notation), games, pool, plies=0)
    for by in ("phase", "ply", "piece", "check", "legal_moves", "source", "novel"):
        groups = result.by[by].values()
        for key in ("legal_argmax", "legal_mass", "bits_per_move"):
            whole = result.metrics[key]
            assert sum(group[key].n for group in groups) == whole.n
            assert sum(group[key].n * group[key].value for group in groups) == pytest.approx(whole.n * whole.value)
    assert result.by["novel"]["known"]["top1"].n == sum(half)
    assert sum(kind["share"].value for kind in result.by["illegal"].values()) == pytest.approx(1)
    bins = {name: group for name, group in result.by["calibration"].items() if name != "all"}
    assert sum(group["confidence"].n for group in bins.values()) == len(held.positions)
    gaps = sum(abs(group["confidence"].value - group["top1"].value) * group["top1"].n for group in bins.values())
    assert result.by["calibration"]["all"]["error"].value == pytest.approx(gaps / len(held.positions))
    for group in (result.metrics, *bins.values()):
        for key, metric in group.items():
            assert metric.low is None or metric.high is None or metric.low <= metric.value <= metric.high, key


@all_notations
def test_past_the_context_everything_is_missed(notation: str, few: HeldOut, pool: parallel.Executor) -> None:
    """A player who knows the rules but sees 20 tokens: what it sees is right, the rest is not.

    Of the moves in the last position, those that would end behind the 20th token are not seen.
    """
    result = legality(Oracle(tokenizer_of(notation), uniform, context=20), few, pool, plies=0)
    tokenizer = tokenizer_of(notation)
    ends, seen = [], []
    for game in few.games:
        role = tokenizer.encode(game.codes).role
        begins, its_ends = (np.flatnonzero(role & bit).tolist() for bit in (Role.MOVE_BEGINS, Role.MOVE_ENDS))
        ends.append(np.array(its_ends))
        for begin, end, board in zip(begins, its_ends, replayed(game.codes), strict=False):
            if end < 20:
                lengths = [len(tokenizer.spell(move, board)) for move in list(board.legal_moves)]
                seen.append(np.mean([begin + length <= 21 for length in lengths]))
    within = len(seen)
    found, n = result.metrics, len(few.positions)
    assert 0 < within < n
    assert found["plies_beyond_context"].value == n - within
    for key in ("legal_mass", "r_precision"):
        assert found[key].n == n
        assert found[key].value == pytest.approx(sum(seen) / n, abs=1e-6)
    assert sum(share == 1 for share in seen) <= found["legal_argmax"].value * n + 1e-6 <= within + 2e-6
    assert found["bits_per_move"].n == found["legality_bits"].n == within
    assert found["fully_legal_games"].value <= np.mean([(each < 20).all() for each in ends])


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_model_is_asked_nothing_beyond_its_context(notation: str, pool: parallel.Executor) -> None:
    codes = [random_game(5, 90), random_game(6, 30)]
    whole, cut = (held_out(each, pool) for each in (codes, [codes[0][:40], codes[1]]))
    scorer = random_model(notation, context=len(tokenizer_of(notation).encode(codes[0][:40])))
    beyond, inside = scored(scorer, whole, pool), scored(scorer, cut, pool)
    seen = np.r_[:40, 90:120]
    assert (np.flatnonzero(beyond.within) == seen).all()
    for name, values in vars(inside).items():
        np.testing.assert_allclose(getattr(beyond, name)[seen], values, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("notation", ["san", "pgn-char"])
def test_longer_moves_than_the_one_played_may_not_fit(notation: str, pool: parallel.Executor) -> None:
    """The context ends behind a short move, where others are longer."""
    codes = random_game(5, 40)
    tokens = tokenizer_of(notation).encode(codes)
    ends = np.flatnonzero(tokens.role & Role.MOVE_ENDS)
    lengths = ends - np.flatnonzero(tokens.role & Role.MOVE_BEGINS)
    ply = 20 + int(lengths[20:].argmin())
    scores = scored(random_model(notation, context=int(ends[ply]) + 1), held_out([codes], pool), pool)
    assert scores.within.sum() == ply + 1
    assert np.isfinite(scores.legality_bits[: ply + 1]).all()


def test_where_the_first_illegal_move_comes(pool: parallel.Executor) -> None:
    """Legal until White's king or Black's has moved a given number of plies into the game."""

    def weights(board: chess.Board) -> dict[chess.Move, float]:
        return uniform(board) if board.ply() < 17 else {chess.Move.from_uci("a1h8"): 1.0}

    codes = [random_game(1, 10), random_game(2, 40), random_game(3, 17), random_game(4, 18)]
    result = legality(Oracle(get_tokenizer("uci-move"), weights), held_out(codes, pool), pool)
    assert result.metrics["first_illegal_ply"].value == 17
    assert result.metrics["first_illegal_ply"].n == 2
    assert result.metrics["fully_legal_games"].value == 0.5
    legal = result.by["ply"]["0-19"]["legal_argmax"]
    assert (legal.value, legal.n) == (pytest.approx((10 + 17 * 3) / (10 + 20 + 17 + 18)), 65)
    assert result.by["ply"]["20-39"]["legal_argmax"].value == 0


# The command


def test_the_command_writes_the_contract(cli: Cli, tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    ended = cli(
        "evaluate", tiny_model, "--games", tiny_dataset, "--random", 3, "--quiet", "--workers", 1,
        "--json", out, "--html", tmp_path / "report.html",
    )  # fmt: skip
    assert (ended.code, ended.err) == (0, "")
    objects = json.loads(out.read_text())
    assert [each["model"]["path"] for each in objects] == [str(tiny_model), "baseline:ngram", "baseline:uniform-legal"]
    held = json.loads((tiny_dataset / "meta.json").read_text())["splits"]["test"]["games"]
    for each in objects:
        assert (each["schema"], each["data"]["games"], each["data"]["random"]["games"]) == (1, held, 3)
        assert set(each["suites"]) == {"legality", "legality-random"}
        for suite in each["suites"].values():
            assert {"legal_argmax", "legal_mass", "r_precision", "top1", "top3", "bits_per_move", "end_mass"} <= set(
                suite["metrics"]
            )
            assert {"phase", "ply", "piece", "check", "special", "legal_moves", "novel"} <= set(suite["by"])
            assert all(set(metric) == {"value", "low", "high", "n"} for metric in suite["metrics"].values())
    assert ["examples" in each["suites"]["legality"] for each in objects] == [True, False, False]
    trained, ngram, rules = (each["suites"]["legality"]["metrics"] for each in objects)
    assert rules["legal_argmax"]["value"] == 1 > trained["legal_argmax"]["value"] > 0
    assert rules["bits_per_move"]["value"] < ngram["bits_per_move"]["value"]
    assert "Legal moves" in ended.out and "move n-gram" in ended.out
    assert "<html" in (tmp_path / "report.html").read_text()


def test_figures_are_kept_beside_the_model_and_shown_in_its_card(
    cli: Cli, tiny_model: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    out = tmp_path / "results.json"
    asked = ("--games", tiny_dataset, "--random", 3, "--quiet", "--workers", 1)
    assert cli("evaluate", model, *asked, "--card", "--json", out).code == 0
    found = json.loads(out.read_text())[0]
    text = (model / "figures.json").read_text()
    kept = json.loads(text)
    assert {name: suite["metrics"] for name, suite in found["suites"].items()} == {
        name: suite["metrics"] for name, suite in kept["suites"].items()
    }
    assert kept["model"]["sha256"] == found["model"]["sha256"] and kept["data"]["sha256"] == found["data"]["sha256"]
    assert str(tmp_path) not in text and str(tiny_dataset.parent) not in text and "examples" not in text
    card = (model / "README.md").read_text()
    assert card == model_card(json.loads((model / "chesslm.json").read_text()), kept)
    legal = kept["suites"]["legality-random"]["metrics"]["legal_argmax"]
    assert f"| Legal moves | {100 * legal['value']:.1f}\u00a0% |" in card
    # Another suite on the same games is added; other games take the place of all.
    assert cli("evaluate", model, *asked, "--suite", "sinks", "--card").code == 0
    more = json.loads((model / "figures.json").read_text())["suites"]
    assert "sinks" in more and {name: more[name] for name in kept["suites"]} == kept["suites"]
    assert cli("evaluate", model, *asked, "--suite", "sinks", "--card", "--seed", 2).code == 0
    assert not json.loads((model / "figures.json").read_text())["suites"].keys() & kept["suites"].keys()
    # Elsewhere there is nothing to make a card from.
    (model / "chesslm.json").unlink()
    ended = cli("evaluate", model, *asked, "--notation", "uci-move", "--card", "--json", tmp_path / "none.json")
    assert (ended.code, ended.out, (tmp_path / "none.json").exists()) == (2, "", False)
    assert "--card is for checkpoints of chesslm train" in ended.err


def test_results_do_not_depend_on_the_number_of_processes(
    cli: Cli, tiny_model: Path, tiny_pgn: Path, tmp_path: Path
) -> None:
    found = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}.json"
        arguments = ("--limit", 20, "--random", 2, "--workers", workers, "--json", out, "--quiet")
        assert cli("evaluate", tiny_model, "--games", tiny_pgn, *arguments).code == 0
        found.append([(each["data"], each["suites"]) for each in json.loads(out.read_text())])
    assert found[0] == found[1]


def test_other_games_with_another_seed(tiny_pgn: Path, tiny_games: list[MoveCodes], pool: parallel.Executor) -> None:
    """A sample keeps the file's order, follows the seed, and is everything where there is no more."""
    whole, first, again, other = (
        from_pgn(str(tiny_pgn), n, seed, pool).codes for n, seed in ((500, 1), (30, 1), (30, 1), (30, 2))
    )
    same = [codes.tolist() for codes in tiny_games]
    assert [codes.tolist() for codes in whole] == same
    where = [same.index(codes.tolist()) for codes in first]
    assert where == sorted(where) and len(set(where)) == 30
    assert [same.index(codes.tolist()) for codes in again] == where != [same.index(codes.tolist()) for codes in other]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "no games to measure on"),
        (("--games", "missing.pgn"), "missing.pgn: no such file"),
        (("--games", "PGN", "--suite", "legality,squeeze"), "unknown suite 'squeeze'"),
        (("--games", "PGN", "--json", "no/such/folder/r.json"), "no such file or folder"),
        (("--games", "PGN", "--html", "."), "is a folder"),
        (("--games", "PGN", "--limit", "0"), "--limit"),
        (("--games", "PGN", "--notation", "uci-square"), "leave --notation out"),
        (("--games", "PGN", "--data", "nowhere"), "nowhere: no such folder"),
        (("--games", "PNG"), "picture.pgn"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: tuple[str, ...], why: str, cli: Cli, tiny_model: Path, tiny_pgn: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.pgn"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(1, 256)) * 20)
    named = {"PGN": str(tiny_pgn), "PNG": str(picture)}
    ended = cli("evaluate", tiny_model, *(named.get(each, each) for each in arguments))
    assert ended.code == 2 and why in ended.err, ended.err
    assert len(ended.err.splitlines()) == 1 and not ended.out


@pytest.mark.parametrize("seconds", [0.6, 1.8])
def test_ctrl_c_leaves_nothing(seconds: float, tiny_model: Path, tiny_pgn: Path, tmp_path: Path) -> None:
    """While the games are read, and while torch is loaded or the model measured."""
    command = [
        sys.executable,
        "-m",
        "chesslm",
        "evaluate",
        str(tiny_model),
        "--games",
        str(tiny_pgn),
        "--random",
        "2000",
    ]
    process = subprocess.Popen([*command, "--json", str(tmp_path / "r.json")], stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "chesslm: stopped\n")
    assert not list(tmp_path.iterdir())


def test_games_are_read_once_for_all_suites(
    tiny_pgn: Path, tiny_games: list[MoveCodes], tiny_dataset: Path, tiny_model: Path, cli: Cli, tmp_path: Path
) -> None:
    """The smaller sample is a part of the larger one, and standard input, which cannot be read again, will do."""
    with parallel.pool(1) as pool:
        for read in (
            lambda n: from_pgn(str(tiny_pgn), n, 7, pool),
            lambda n: from_dataset(open_dataset(tiny_dataset), n, 7),
        ):
            alone, part = read(9), read(200).first(9)
            assert len(part.games) == 9 and part.drawn == alone.drawn
            assert [game.codes.tolist() for game in part.games] == [game.codes.tolist() for game in alone.games]
    before = os.dup(0)
    with subprocess.Popen(["cat", write_pgn(tmp_path / "few.pgn", tiny_games[:40])], stdout=subprocess.PIPE) as cat:
        assert cat.stdout
        os.dup2(cat.stdout.fileno(), 0)
        suites = ("--suite", "legality,mate-in-one", "--workers", 1)
        ended = cli("evaluate", tiny_model, "--games", "-", "--limit", 5, *suites)
        os.dup2(before, 0)
    os.close(before)
    assert (ended.code, ended.err) == (0, "") and "Mate in one" in ended.out


def test_models_are_compared_game_by_game(tiny_models: Mapping[str, Path], tiny_pgn: Path, tmp_path: Path) -> None:
    """With itself a model has no difference, for certain; with another, that of the two figures."""
    first, other = str(tiny_models["uci-move"]), str(tiny_models["uci-square"])
    objects = evaluate(
        [first, first, other], games=str(tiny_pgn), limit=8, plies=0, workers=1, precision="fp32", quiet=True
    )
    assert "difference_to_first" not in objects[0]
    same, apart = (each["difference_to_first"]["legality"] for each in objects[1:3])
    assert {"legal_argmax", "bits_per_move", "fully_legal_games"} <= same.keys() & apart.keys()
    assert all(metric["value"] == metric["low"] == metric["high"] == 0 for metric in same.values())
    left, right = (each["suites"]["legality"]["metrics"]["bits_per_move"]["value"] for each in (objects[2], objects[0]))
    assert apart["bits_per_move"]["value"] == pytest.approx(left - right)
    assert apart["bits_per_move"]["low"] < left - right < apart["bits_per_move"]["high"]
