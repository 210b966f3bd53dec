"""The suite selfplay against oracles, slow loops that read every prefix anew, and survival worked out by hand."""

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import chess
import numpy as np
import pytest
import random_games
import torch
from oracles import NEVER, NEVER_IN_SAN, Oracle, Weights, never_legal, uniform
from random_games import ALL_NOTATIONS, random_game, san_game, tokenizer_of
from scipy import stats

from chesslm import boards, generate
from chesslm.boards import Illegal
from chesslm.config import ModelConfig
from chesslm.eval import selfplay as suite
from chesslm.eval import writing
from chesslm.eval.baselines import UniformLegal
from chesslm.eval.games import RANDOM_NUMBERS
from chesslm.eval.intervals import difference
from chesslm.eval.results import Metric, Result
from chesslm.eval.scorers import NO_LIMIT, ModelScorer, TokenTree, chain
from chesslm.eval.selfplay import HEADLINE, SETTINGS, Setting, kaplan_meier, random_openings, selfplay, summarize
from chesslm.eval.steppers import ModelStepper, ScorerStepper, Stepper
from chesslm.eval.writing import Ending, Moves, WrittenGame, write_games
from chesslm.model import LoadedModel, load_model, new_gpt2
from chesslm.notation import get_notation, legal_spellings
from chesslm.tokenizer import EOS, GameTokenizer, get_tokenizer
from chesslm.words import read_word

pytestmark = pytest.mark.usefixtures("one_thread")
NOTATIONS = ("uci-move", "uci-square")
all_notations = pytest.mark.parametrize("notation", ALL_NOTATIONS)


def line(moves: str) -> Moves:
    """Moves from SAN."""
    return tuple(boards.to_moves(san_game(moves)))


PROMOTIONS, LIVELY = (tuple(boards.to_moves(codes)) for codes in (random_games.PROMOTIONS, random_games.LIVELY))
STEP = 18
"""Ply of a rook's step to the last rank, where a pawn would promote."""
OPENINGS = [(), PROMOTIONS[:3], PROMOTIONS[:STEP], PROMOTIONS[: STEP + 1], PROMOTIONS]
OPENINGS += [tuple(boards.to_moves(random_game(seed, plies))) for seed, plies in ((1, 10), (2, 10), (3, 20))]

# Oracles


def script(*games: Moves) -> Weights:
    """The move that follows in one of the games; after their ends, one that nobody can make.

    A piece's step to the last rank could also be followed by a letter, which is what comes second.
    """
    known = {game[:ply]: move for game in games for ply, move in enumerate(game)}

    def weights(board: chess.Board) -> dict[chess.Move, float]:
        move = known.get(tuple(board.move_stack), NEVER)
        promotes = get_notation("uci-square").extensions((move.uci()[:2], move.uci()[2:4])) and not move.promotion
        return {move: 1.0} | ({chess.Move(move.from_square, move.to_square, chess.QUEEN): 0.4} if promotes else {})

    return weights


@dataclass
class Guided:
    """A model that also knows the rules: scores of two steppers, added."""

    model: Stepper
    rules: Stepper

    def __post_init__(self) -> None:
        self.tokenizer, self.context = self.model.tokenizer, self.model.context

    def begin(self) -> None:
        self.model.begin()
        self.rules.begin()

    def read(self, ids_RN: np.ndarray) -> np.ndarray:
        return self.model.read(ids_RN) + self.rules.read(ids_RN)

    def keep(self, rows: Sequence[int]) -> None:
        self.model.keep(rows)
        self.rules.keep(rows)


def guided(model: LoadedModel) -> Guided:
    return Guided(ModelStepper(model), ScorerStepper(Oracle(model.tokenizer, uniform)))


@cache
def opinionated(notation: str, context: int = 0) -> LoadedModel:
    """A model of random weights, scaled up until it has strong opinions."""
    tokenizer = get_tokenizer(notation)
    model = new_gpt2(
        ModelConfig(layers=2, width=32, heads=2, context=context, sinusoids=False), tokenizer, seed=3
    ).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights *= 12
    return LoadedModel(model, tokenizer, "random", "random", {}, torch.float32)


def values(result: Result) -> dict[str, float]:
    return {key: metric.value for key, metric in result.metrics.items()}


@all_notations
def test_who_knows_the_rules_writes_legal_games(notation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though every token might as well be <eos>: it is taken out."""
    monkeypatch.setattr(writing, "MAX_PLIES", 22)
    result = selfplay(ScorerStepper(Oracle(tokenizer_of(notation), uniform)), games=2)
    assert set(values(result)) == {"fully_legal_games", "plies_to_illegal", "unique_at_ply_20"}
    for setting in SETTINGS:
        metrics = result.by["setting"][setting.name]
        assert metrics["fully_legal_games"].value == 1
        assert metrics["fully_legal_games"].n == setting.n_games(2)
        ending = {name: share["share"].value for name, share in result.by[f"ending {setting.name}"].items()}
        assert sum(ending.values()) == 1
        assert ending.get("illegal move", 0) == ending.get("context full", 0) == 0
        assert f"illegal {setting.name}" not in result.by
    sampled = result.by["setting"]["sampled, 10 random plies"]["plies_to_illegal"]
    assert (sampled.value, sampled.low, sampled.high, sampled.n) == (12, None, None, 2)
    assert result.by["survival"].keys() == {"10"}
    assert result.by["survival sampled, start"]["20"]["legal"].value == 1


@all_notations
def test_one_illegal_move_for_ever(notation: str) -> None:
    tokenizer = tokenizer_of(notation)
    played = suite.play(ScorerStepper(Oracle(tokenizer, never_legal)), games=5)
    result = summarize(played, seed=1)
    assert values(result) == {"fully_legal_games": 0, "plies_to_illegal": 0, "plies_to_illegal_median": 0}
    assert result.metrics["fully_legal_games"].high == pytest.approx(3 / 5)
    assert result.by["ending"]["illegal move"]["share"].value == 1
    assert "survival" not in result.by
    kinds = []
    for opening, game in zip(random_openings(10, 5, seed=1), played[HEADLINE], strict=True):
        assert (game.moves, game.given, game.ending) == (opening, 10, Ending.ILLEGAL)
        *_, board = boards.replay(opening)
        word = NEVER_IN_SAN if tokenizer.notation.reads_board else NEVER.uci()
        kinds.append(boards.illegal_kind(board, read_word(word, board, tokenizer.notation.words)))
    shares = {kind: metrics["share"] for kind, metrics in result.by["illegal"].items()}
    assert {kind: 5 * share.value for kind, share in shares.items() if share.value} == pytest.approx(Counter(kinds))
    assert {share.n for share in shares.values()} == {5}
    start = result.by["setting"]["greedy, start"]
    assert (start["plies_to_illegal"].value, start["plies_to_illegal"].n) == (0, 1)
    # A rook stands on a1.
    assert result.by["illegal greedy, start"].keys() == {"that piece never moves so"}


@all_notations
@pytest.mark.parametrize("known", [PROMOTIONS, LIVELY])
def test_games_by_heart(notation: str, known: Moves) -> None:
    """From any opening of a known game the rest of it is written, in one batch: castling, promotions, and a step to the
    last rank after which the likeliest tokens are <eos> and a letter that would have gone on.
    """
    oracle = Oracle(tokenizer_of(notation), script(known))
    openings = [known[:n] for n in range(len(known) + 1)]
    for at_once in (100, 4):
        games = write_games(ScorerStepper(oracle), openings, at_once=at_once)
        assert [game.given for game in games] == list(range(len(known) + 1))
        assert {(game.moves, game.ending) for game in games} == {(known, Ending.ILLEGAL)}
    assert len(games[0].moves) == games[0].written == len(known)


def test_what_is_no_move() -> None:
    """A square and a letter; and a letter for the first token."""

    @dataclass(frozen=True)
    class Letters:
        tokenizer: GameTokenizer
        first: str
        context: int = NO_LIMIT

        def logits(self, trees: Sequence[TokenTree]) -> torch.Tensor:
            out = torch.zeros(len(trees), len(trees[0]), len(self.tokenizer))
            out[..., EOS] = 9
            out[..., self.tokenizer.ids["q" if len(trees[0]) > 1 else self.first]] = 5
            return out

    for first in ("e2", "q"):
        (game,) = write_games(ScorerStepper(Letters(get_tokenizer("uci-square"), first)), [()])
        assert (game.moves, game.ending, game.illegal) == ((), Ending.ILLEGAL, Illegal.NOT_A_MOVE)


# How games end


def quiet_line(plies: int) -> Moves:
    """Moves of pieces without a capture, to positions that were not there before."""
    draw, board, seen = random.Random(1), chess.Board(), set()
    while board.ply() < plies:
        seen.add(board._transposition_key())
        for move in draw.sample(list(board.legal_moves), board.legal_moves.count()):
            board.push(move)
            # A check might be answered by a capture alone.
            quiet = board.halfmove_clock == board.ply() and not board.is_check()
            if quiet and board._transposition_key() not in seen:
                break
            board.pop()
    return tuple(board.move_stack)


@cache
def bare_line() -> Moves:
    """Captures wherever there are any, until the kings are left alone or nearly so."""
    for seed in range(100):
        draw, board = random.Random(seed), chess.Board()
        while boards.outcome(board) is None and board.ply() < writing.MAX_PLIES:
            legal = list(board.legal_moves)
            board.push(draw.choice([move for move in legal if board.is_capture(move)] or legal))
        if board.is_insufficient_material():
            return tuple(board.move_stack)
    raise AssertionError


ENDED = {
    Ending.CHECKMATE: line("f3 e5 g4 Qh4#"),
    Ending.STALEMATE: line(
        "e3 a5 Qh5 Ra6 Qxa5 h5 h4 Rah6 Qxc7 f6 Qxd7+ Kf7 Qxb7 Qd3 Qxb8 Qh7 Qxc8 Kg6 Qe6"  # Sam Loyd
    ),
    Ending.REPETITION: line("Nf3 Nf6 Ng1 Ng8 Nf3 Nf6 Ng1 Ng8"),
    Ending.FIFTY_MOVES: quiet_line(100),
    Ending.MATERIAL: bare_line(),
}


@pytest.mark.parametrize("notation", NOTATIONS)
def test_the_rules_end_games(notation: str) -> None:
    """From two plies before the end, one, and none; then nothing is asked any more."""
    endings = [(ending, moves[: len(moves) - n]) for ending, moves in ENDED.items() for n in (2, 1, 0)]
    scorer = Oracle(tokenizer_of(notation), script(*ENDED.values()))
    games = write_games(ScorerStepper(scorer), [opening for _, opening in endings], temperature=1.0)
    for (ending, opening), game in zip(endings, games, strict=True):
        assert (game.ending, game.illegal, game.moves) == (ending, None, ENDED[ending])
        assert game.written == len(game.moves) - len(opening) <= 2
    for ending, moves in ENDED.items():
        # The ply before, no rule has ended it yet.
        (game,) = write_games(ScorerStepper(Oracle(tokenizer_of(notation), never_legal)), [moves[:-1]])
        assert game.ending is Ending.ILLEGAL, ending


def test_games_are_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the 300th ply of the game, the opening counted; a mate there is a mate."""
    assert writing.MAX_PLIES == 300
    monkeypatch.setattr(writing, "MAX_PLIES", 4)
    mate = ENDED[Ending.CHECKMATE]
    scorer = Oracle(get_tokenizer("uci-move"), script(mate, PROMOTIONS))
    games = write_games(ScorerStepper(scorer), [mate[:1], PROMOTIONS[:1], PROMOTIONS[:3]])
    assert [game.ending for game in games] == [Ending.CHECKMATE, Ending.BROKEN_OFF, Ending.BROKEN_OFF]
    assert [game.written for game in games] == [3, 3, 1]


@pytest.mark.parametrize(("notation", "fits"), [("uci-move", 11), ("uci-square", 5)])
def test_a_full_context_is_not_an_illegal_move(notation: str, fits: int) -> None:
    """Moves are written into the last token; a model would fail beyond it."""
    openings = [(), PROMOTIONS[:3], PROMOTIONS[:5], PROMOTIONS[:12]]
    games = write_games(guided(opinionated(notation, context=12)), openings)
    assert {game.ending for game in games} == {Ending.CONTEXT_FULL}
    assert [game.written for game in games] == [max(0, fits - len(opening)) for opening in openings]
    result = summarize({HEADLINE: games}, seed=1)
    assert result.metrics["fully_legal_games"].value == 0, "nobody knows"
    assert result.metrics["plies_to_illegal"].value == fits, "as far as it can be seen"
    assert result.by["ending"]["context full"]["share"].value == 1
    assert "illegal" not in result.by


# Against slow loops


def slow_game(ask: Callable[[list[int]], np.ndarray], tokenizer: GameTokenizer, opening: Moves) -> WrittenGame:
    """A greedy game by what a model says after each whole prefix."""
    notation = tokenizer.notation
    *_, board = boards.replay(opening)
    ids = tokenizer.encode(boards.to_codes(opening)).ids.tolist()

    def ended(how: Ending, why: Illegal | None = None) -> WrittenGame:
        return WrittenGame(tuple(board.move_stack), len(opening), how, why)

    before = board.copy()
    spelled = notation.spell(before.pop(), before) if opening else ()
    barred = {
        *np.flatnonzero(tokenizer.is_special).tolist(),
        *(tokenizer.ids[word] for word in notation.extensions(spelled) if opening),
    }
    while board.ply() < writing.MAX_PLIES:
        begun: list[int] = []
        while True:
            words = tuple(tokenizer.tokens[i] for i in begun)
            further = {tokenizer.ids[word] for word in notation.extensions(words)}
            if begun and not further:
                break
            scores = ask(ids + begun)
            complete = bool(begun) and notation.parse(words, board) is not None
            if not complete:
                scores[list(barred)] = -math.inf
            best = int(np.argmax(scores))
            barred = set(np.flatnonzero(tokenizer.is_special).tolist())
            if complete and best not in further:
                barred |= further
                break
            begun.append(best)
            if best not in further:
                return ended(Ending.ILLEGAL, Illegal.NOT_A_MOVE)
        move = notation.parse(tuple(tokenizer.tokens[i] for i in begun), board)
        if move is None or move not in board.legal_moves:
            return ended(Ending.ILLEGAL, boards.illegal_kind(board, move))
        board.push(move)
        ids += begun
        outcome = boards.outcome(board)
        if outcome:
            return ended(writing.BY_THE_RULES[outcome.termination])
    return ended(Ending.BROKEN_OFF)


def plainly(model: LoadedModel, legally: bool) -> Callable[[list[int]], np.ndarray]:
    """What follows a prefix, by a forward pass of all of it."""
    oracle = Oracle(model.tokenizer, uniform)

    def ask(ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            scores = model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].numpy()
        if legally:
            scores = scores + oracle.logits([chain(np.array(ids))])[0, -1].numpy()
        return scores

    return ask


@pytest.mark.parametrize("legally", [False, True])
@pytest.mark.parametrize("notation", NOTATIONS)
def test_the_games_of_a_slow_loop(
    notation: str, legally: bool, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Openings of unequal length in one batch, games that leave it one after the other; fresh weights and trained."""
    monkeypatch.setattr(writing, "MAX_PLIES", 28)
    for model in (opinionated(notation), load_model(str(tiny_models[notation]), device="cpu", precision="fp32")):
        games = write_games(guided(model) if legally else ModelStepper(model), OPENINGS)
        slow = [slow_game(plainly(model, legally), model.tokenizer, opening) for opening in OPENINGS]
        assert games == slow
        assert (max(game.written for game in games) >= 20) == legally
        if not legally:
            assert write_games(ScorerStepper(ModelScorer(model)), OPENINGS) == games
            # A trained model may write the few plies that a long opening leaves it without a mistake.
            assert Ending.ILLEGAL in {game.ending for game in games} <= {Ending.ILLEGAL, Ending.BROKEN_OFF}


# Draws


@pytest.mark.parametrize("notation", NOTATIONS)
def test_sampled_games(notation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All different, the same for a seed, however many are written at once, whatever the others are."""
    monkeypatch.setattr(writing, "MAX_PLIES", 16)
    stepper = guided(opinionated(notation))
    openings = [(), *OPENINGS[:2], (), *OPENINGS[-3:-1]]
    games = write_games(stepper, openings, temperature=1.0, seed=7)
    assert len({game.moves for game in games}) == len(games)
    assert all(game.moves[: len(opening)] == opening for game, opening in zip(games, openings, strict=True))
    for at_once in (1, 4):
        assert write_games(stepper, openings, temperature=1.0, seed=7, at_once=at_once) == games
    assert write_games(stepper, openings[:3], temperature=1.0, seed=7) == games[:3]
    other = write_games(stepper, openings, temperature=1.0, seed=8)
    assert not {game.moves for game in games} & {game.moves for game in other}
    greedy = write_games(stepper, [(), ()])
    assert greedy[0] == greedy[1]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_draws_are_as_likely_as_the_model_says(notation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a move that may be over too, where the token that ends it is drawn and thrown away."""
    opening, step = PROMOTIONS[:16], chess.Move.from_uci("b7b8")
    monkeypatch.setattr(writing, "MAX_PLIES", 18)

    def weights(board: chess.Board) -> dict[chess.Move, float]:
        if board.ply() == 16:
            return {step: 1.0}
        return {move: 1.0 + i for i, move in enumerate(sorted(board.legal_moves, key=str))}

    *_, board = boards.replay([*opening, step])
    expected = weights(board)
    n = 40 * len(expected)
    games = write_games(ScorerStepper(Oracle(get_tokenizer(notation), weights)), [opening] * n, temperature=1.0)
    counts = Counter(game.moves[-1] for game in games)
    assert counts.keys() <= expected.keys()
    total = sum(expected.values())
    chances = [weight / total * n for weight in expected.values()]
    assert stats.chisquare([counts[move] for move in expected], chances).pvalue > 1e-3


# Openings and leads


@pytest.mark.parametrize("plies", [10, 20])
def test_openings_are_those_of_random_games_never_trained_on(plies: int) -> None:
    openings = random_openings(plies, 40, seed=3)
    assert len(set(openings)) == 40
    assert openings == random_openings(plies, 40, seed=3) != random_openings(plies, 40, seed=4)
    numbers = range(RANDOM_NUMBERS, RANDOM_NUMBERS + 3)
    for opening, pgn in zip(openings, generate.random_games(numbers, seed=3), strict=False):
        words = [word for word in pgn.partition("\n\n")[2].split() if not word[0].isdigit()]
        assert opening == line(" ".join(words[:plies]))
    for opening in openings:
        *_, board = boards.replay(opening)
        assert board.ply() == plies and boards.outcome(board) is None


@pytest.mark.parametrize(("notation", "looks_behind"), [("pgn-char", 0), ("text", 1)])
def test_tokens_before_a_move_are_put_down(notation: str, looks_behind: int) -> None:
    """Move numbers: forced, in ``text`` also behind a move that was over only because the next token did not go on."""
    tokenizer = tokenizer_of(notation)
    read: list[list[int]] = []

    class Recorder(ScorerStepper):
        def read(self, ids_RN: np.ndarray) -> np.ndarray:
            read.append(ids_RN[0].tolist())
            return super().read(ids_RN)

    write_games(Recorder(Oracle(tokenizer, script(PROMOTIONS))), [()])
    expected = tokenizer.encode(random_games.PROMOTIONS).ids.tolist()
    # All but the move that nobody can make, which is not read to its end.
    assert [i for ids in read for i in ids][: len(expected)] == expected
    assert read[0] == expected[: 1 + len(tokenizer.lead(0))]
    # The number fits, but not the whole move behind it, with whatever ends it.
    length = len(tokenizer.encode(random_games.PROMOTIONS[:1])) + looks_behind
    for room, fits in ((length - 1, 0), (length, 1)):
        (game,) = write_games(ScorerStepper(Oracle(tokenizer, script(PROMOTIONS), context=room)), [()])
        assert (game.ending, game.written) == (Ending.CONTEXT_FULL, fits)


# Survival


def games_of(written: Sequence[int], illegal: Sequence[bool], given: int = 10) -> list[WrittenGame]:
    moves = tuple(boards.to_moves(random_game(4, 300)))
    endings = {True: (Ending.ILLEGAL, Illegal.CHECK), False: (Ending.CHECKMATE, None)}
    return [WrittenGame(moves[: given + n], given, *endings[died]) for n, died in zip(written, illegal, strict=True)]


def test_two_players_are_compared_opening_by_opening() -> None:
    """One falls where the other does, and in five openings more: less than two samples of their own would show."""
    weak, strong = (
        summarize({HEADLINE: games_of([4] * 40, [i < died for i in range(40)])}, seed=1) for died in (25, 20)
    )
    here, there = (result.metrics["fully_legal_games"] for result in (weak, strong))
    assert difference(here, here) == Metric(0, 0, 0, 40)
    found = difference(here, there)
    assert found and found.value == pytest.approx(-5 / 40)
    assert found.low and found.high and -0.25 < found.low < found.high < 0
    assert here.high and there.low and here.high > there.low


def test_survival_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Illegal moves after 3, 5 and 2 plies, other ends after 5 and 7; that after 5 was not asked for a sixth move."""
    monkeypatch.setattr(suite, "PLIES_A_POINT", 2)
    games = games_of([3, 5, 5, 7, 2], [True, True, False, False, True])
    result = summarize({HEADLINE: games}, seed=1)
    # Moves asked for:  5, 5, 5, 4, 3, 2, 1; illegal answers: 0, 0, 1, 1, 0, 1, 0.
    survival = [1, 1, 4 / 5, 4 / 5 * 3 / 4, 3 / 5, 3 / 5 * 1 / 2, 3 / 10]
    assert result.metrics["plies_to_illegal"].value == pytest.approx(sum(survival))
    assert result.metrics["plies_to_illegal"].n == 5
    assert result.metrics["plies_to_illegal_median"].value == 5
    assert result.metrics["plies_to_illegal_median"].high is None
    assert result.metrics["fully_legal_games"].value == 2 / 5
    curve = {name: point["legal"] for name, point in result.by["survival"].items()}
    assert {name: point.value for name, point in curve.items()} == pytest.approx({"2": 1, "4": 0.6, "6": 0.3})
    assert {name: point.n for name, point in curve.items()} == {"2": 5, "4": 4, "6": 2}
    assert (curve["2"].low, curve["2"].high) == (pytest.approx(1 - 3 / 5), 1)
    assert result.by["survival greedy, 10 random plies"] == result.by["survival"]


def test_the_rule_of_three_counts_those_lost_to_illegal_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody survives a fourth move, of which one was asked: ten stand behind it, or less if others were let off."""
    monkeypatch.setattr(suite, "PLIES_A_POINT", 4)
    for let_off, behind in ((0, 10), (5, 5)):
        written, illegal = [3] + [2] * (9 - let_off) + [2] * let_off, [True] * (10 - let_off) + [False] * let_off
        point = summarize({HEADLINE: games_of(written, illegal)}, seed=1).by["survival"]["4"]["legal"]
        assert (point.value, point.low, point.high, point.n) == (0, 0, pytest.approx(3 / behind), 1)


def test_survival_is_what_scipy_says() -> None:
    """With the first illegal move's number as the time of death, and the last legal one's as that of being lost."""
    rng = np.random.default_rng(5)
    for _ in range(30):
        written, illegal = rng.integers(0, 30, 20), rng.random(20) < rng.random()
        times = stats.CensoredData(uncensored=written[illegal] + 1, right=written[~illegal])
        expected = stats.ecdf(times).sf.evaluate(1 + np.arange((written + illegal).max()))
        np.testing.assert_allclose(kaplan_meier(written, illegal, np.ones((1, 20)))[1][0], expected)
        # Weights are games that are there so many times.
        twice = rng.integers(1, 3, 20)
        asked, legal = kaplan_meier(written, illegal, twice[None].astype(float))
        again = kaplan_meier(written.repeat(twice), illegal.repeat(twice), np.ones((1, twice.sum())))
        np.testing.assert_allclose((asked, legal), again)


def test_without_other_ends_it_is_a_plain_mean_and_median() -> None:
    written = np.random.default_rng(6).integers(0, 40, 101)
    found = summarize({HEADLINE: games_of(written.tolist(), [True] * 101)}, seed=1).metrics
    mean, median = found["plies_to_illegal"], found["plies_to_illegal_median"]
    assert (mean.value, median.value) == (pytest.approx(written.mean()), np.median(written))
    half = 1.96 * written.std() / math.sqrt(101)
    assert (mean.low, mean.high) == (pytest.approx(mean.value - half, abs=1), pytest.approx(mean.value + half, abs=1))
    assert median.low is not None and median.high is not None and median.low < median.value < median.high


def test_few_illegal_moves_leave_no_median() -> None:
    found = summarize({HEADLINE: games_of([5, 40, 50], [True, False, False])}, seed=1).metrics
    assert "plies_to_illegal_median" not in found
    assert found["plies_to_illegal"].value == pytest.approx(5 + 45 * 2 / 3)


def test_unique_games() -> None:
    """Those that got to ply 20, compared up to there."""
    one, other = (tuple(boards.to_moves(random_game(seed, 60))) for seed in (1, 2))
    moves = [one[:20], one[:30], one[:21], other[:25], other[:19], one[:10]]
    games = [WrittenGame(each, 0, Ending.ILLEGAL, Illegal.CHECK) for each in moves]
    result = summarize({Setting(0, 1.0): games}, seed=1)
    unique = result.metrics["unique_at_ply_20"]
    assert (unique.value, unique.low, unique.high, unique.n) == (2 / 4, None, None, 4)
    assert result.metrics.keys() == {"unique_at_ply_20"}, "the rest is that of another setting"
    assert "unique_at_ply_20" not in summarize({Setting(0, 1.0): games[4:]}, seed=1).metrics


# The suite


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_trained_model(notation: str, tiny_models: dict[str, Path]) -> None:
    done: list[int] = []
    stepper = ModelStepper(load_model(str(tiny_models[notation]), device="cpu", precision="fp32"))
    result = selfplay(stepper, games=12, advance=done.append)
    assert sum(done) == suite.total_games(12) == 61
    names = [setting.name for setting in SETTINGS]
    assert list(result.by["setting"]) == names
    assert names[:3] == ["greedy, start", "greedy, 10 random plies", "greedy, 20 random plies"]
    assert {"ending", "illegal", *(f"ending {name}" for name in names)} <= set(result.by)
    assert "survival greedy, start" not in result.by
    assert 0 < result.metrics["plies_to_illegal"].value < 50
    assert result.metrics["fully_legal_games"] == result.by["setting"][HEADLINE.name]["fully_legal_games"]
    start = result.by["setting"]["greedy, start"]
    assert start.keys() == {"fully_legal_games", "plies_to_illegal"}
    assert all(metric.n == 1 for metric in start.values())
    for groups in result.by.values():
        for metrics in groups.values():
            for metric in metrics.values():
                assert metric.n > 0
                assert (metric.low is None or metric.low <= metric.value) and (
                    metric.high is None or metric.value <= metric.high
                )
    for name in names:
        assert sum(each["share"].value for each in result.by[f"ending {name}"].values()) == pytest.approx(1)
    assert json.loads(json.dumps(result.as_dict(), allow_nan=False))["metrics"]
    assert selfplay(stepper, games=12, at_once=5) == result


def test_a_baseline_can_write_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_PLIES", 24)
    games = suite.play(ScorerStepper(UniformLegal()), games=2)
    assert all(game.ending is not Ending.ILLEGAL for each in games.values() for game in each)
    for game in games[HEADLINE]:
        for move, board in zip(game.moves, boards.replay(game.moves), strict=False):
            assert move in legal_spellings(get_notation("uci-move"), board).values()
