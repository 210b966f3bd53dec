"""Players against plain forward passes of the whole game, without cache, tree or batch."""

import math
from collections import Counter
from functools import cache

import chess
import numpy as np
import pytest
import torch
from conftest import NOTATIONS as ALL_NOTATIONS
from random_games import tokenizer_of
from scipy.stats import chisquare

from chesslm import boards
from chesslm.conditions import Headers
from chesslm.config import ModelConfig
from chesslm.errors import InputError
from chesslm.eval.asking import Question, ask
from chesslm.eval.scorers import ModelScorer
from chesslm.model import LoadedModel, new_gpt2
from chesslm.play import reader, thought
from chesslm.play.choice import DRAWS, Style
from chesslm.play.player import ModelPlayer, RandomPlayer
from chesslm.tokenizer import GameTokenizer

pytestmark = pytest.mark.usefixtures("one_thread")
NOTATIONS = ("uci-move", "uci-square")

RUY = "e2e4 e7e5 g1f3 b8c6 f1b5 a7a6 b5a4 g8f6 e1g1 f8e7"
# White can capture and promote on b8 and d8, both rooks' ways to the last rank are open.
PROMOTION = "a2a4 b7b5 a4b5 a7a6 b5a6 c8b7 a6b7 a8a1 d2d4 h7h5 g2g4 h5g4 h2h4 g7g6 h4h5 g8f6 h5g6 h8h1"
CHECKED = "e2e4 f7f5 d1h5"
# A rook's step to the last rank: a pawn's would go on with a letter.
LAST_RANK = "a2a4 b7b5 a4b5 h7h6 a1a7 h6h5 a7a8"
DRAWN = 150


@cache
def loaded(notation: str, context: int = 0) -> LoadedModel:
    tokenizer = tokenizer_of(notation)
    model = new_gpt2(ModelConfig(layers=2, width=32, heads=2, context=context), tokenizer, seed=1).eval()
    # Fresh weights make every move equally likely; these have opinions.
    with torch.no_grad():
        model.transformer.wte.weight *= 20
    return LoadedModel(model, tokenizer, "fresh", "fresh", {}, torch.float32)


@cache
def taught(notation: str, game: str, words: tuple[str, ...] | None = None) -> LoadedModel:
    """A model that knows one game by heart, in words of its own where some are given."""
    tokenizer = tokenizer_of(notation)
    model = new_gpt2(ModelConfig(layers=2, width=64, heads=2), tokenizer, 1)
    codes = boards.to_codes(map(chess.Move.from_uci, game.split()))
    ids = torch.tensor([tokenizer.encode(codes, game_words=words).ids.tolist()])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(40):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return LoadedModel(model.eval(), tokenizer, "taught", "taught", {}, torch.float32)


def board_after(moves: str) -> chess.Board:
    board = chess.Board()
    for uci in moves.split():
        board.push_uci(uci)
    return board


def plain(model: LoadedModel, board: chess.Board, spelling: tuple[str, ...]) -> float:
    """A move's probability by one whole forward pass a token."""
    tokenizer, notation = model.tokenizer, model.tokenizer.notation
    lead = tokenizer.lead(board.ply())
    ids = [*tokenizer.encode(boards.to_codes(board.move_stack)).ids.tolist(), *lead]
    ruled_out = np.flatnonzero(tokenizer.is_special).tolist()
    if board.move_stack and not lead:
        # The move before is over.
        before = board.copy()
        ruled_out += [tokenizer.ids[token] for token in notation.extensions(notation.spell(before.pop(), before))]
    probability = 1.0
    for n in range(len(spelling) + 1):
        begun = spelling[:n]
        if not notation.extensions(begun):
            break
        with torch.no_grad():
            row = [*ids, *(tokenizer.ids[token] for token in begun)]
            logits = model.model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1].double()
        if not (begun and notation.ends(begun)):
            logits[ruled_out] = -math.inf
        ruled_out = np.flatnonzero(tokenizer.is_special).tolist()
        shares = dict(zip(tokenizer.tokens, logits.softmax(0).tolist(), strict=True))
        if n < len(spelling):
            probability *= shares[spelling[n]]
        else:
            probability *= 1 - sum(shares[token] for token in notation.extensions(begun))
    return probability


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize(
    "moves", ["", RUY, PROMOTION, CHECKED, LAST_RANK], ids=["start", "opening", "promotion", "check", "last rank"]
)
def test_probabilities_are_those_of_plain_forward_passes(notation: str, moves: str) -> None:
    model, board = loaded(notation), board_after(moves)
    candidates = ModelPlayer(model).candidates(board)
    spellings = {move.uci(): model.tokenizer.notation.spell(move, board) for move in board.legal_moves}
    assert {candidate.text for candidate in candidates if not candidate.illegal} == set(spellings)
    assert any(candidate.illegal for candidate in candidates)
    for candidate in candidates:
        if candidate.move:
            spelling = spellings.get(candidate.text) or model.tokenizer.notation.spell(candidate.move, board)
            assert candidate.probability == pytest.approx(plain(model, board, spelling), rel=1e-4, abs=1e-9)
        assert candidate.illegal is boards.illegal_kind(board, candidate.move)
    shares = [candidate.probability for candidate in candidates]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_all_that_can_be_written_adds_up_to_one(notation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thought, "FLOOR", 1e-30)
    monkeypatch.setattr(thought, "SHOWN", 10**9)
    board = board_after(PROMOTION)
    candidates = ModelPlayer(loaded(notation)).candidates(board)
    assert sum(candidate.probability for candidate in candidates) == pytest.approx(1, abs=1e-9)
    assert len({candidate.text for candidate in candidates}) == len(candidates)


def check_agreement(model: LoadedModel, board: chess.Board) -> None:
    """Playing and measuring say the same of a position."""
    player = ModelPlayer(model)
    found = {each.move: each.probability for each in player.candidates(board) if not each.illegal}
    legal = list(board.legal_moves)
    question = Question(0, board.ply(), boards.to_codes(legal))
    (answer,) = ask(ModelScorer(model), [boards.to_codes(board.move_stack)], [question])
    assert [found[move] for move in legal] == pytest.approx(np.exp(answer.log_p).tolist(), rel=1e-3, abs=1e-7)
    raw, greedy = player.choose(board).raw[0], boards.code_move(answer.greedy) if answer.greedy else None
    assert raw.illegal == boards.illegal_kind(board, greedy)
    # The move of a piece that is not there comes from no square of the board.
    assert raw.move == greedy or (raw.move is None and raw.illegal == boards.Illegal.NO_PIECE)


@pytest.mark.parametrize("notation", ALL_NOTATIONS)
@pytest.mark.parametrize("moves", [RUY, PROMOTION, LAST_RANK], ids=["opening", "promotion", "last rank"])
def test_playing_and_measuring_agree(notation: str, moves: str) -> None:
    check_agreement(loaded(notation), board_after(moves))


@pytest.mark.parametrize("notation", ["san", "pgn-char"])
def test_a_move_is_named_once_however_it_may_be_spelled(notation: str) -> None:
    """This model forgets check marks: what it says of the move itself is what it gives to the mark."""
    model, board = taught(notation, "e2e4 f7f5 d1h5", ("e4", "f5", "Qh5")), board_after("e2e4 f7f5")
    player = ModelPlayer(model)
    choice = player.choose(board)
    assert (choice.move.uci(), choice.policy) == ("d1h5", None)
    assert choice.raw[0].text == "Qh5" and choice.raw[0].probability > 0.9
    named = [each.move for each in choice.candidates if each.move]
    assert len(set(named)) == len(named) and len({each.text for each in choice.candidates}) == len(choice.candidates)
    (mate,) = (each for each in choice.candidates if each.move == choice.move)
    spelling = model.tokenizer.notation.spell(choice.move, board)
    assert mate.text == "Qh5+" and mate.probability == pytest.approx(plain(model, board, spelling), rel=1e-3)
    assert mate.probability < 0.1


@pytest.mark.parametrize("notation", ["san", "pgn-char"])
def test_an_illegal_move_is_named_as_it_was_written(notation: str) -> None:
    """No queen goes from d1 to f5 here, where a pawn stands: by the rules of SAN that would be another word, Qxf5."""
    model, board = taught(notation, "e2e4 f7f5 d1f5", ("e4", "f5", "Qf5")), board_after("e2e4 f7f5")
    choice = ModelPlayer(model).choose(board)
    assert choice.raw[0].text == "Qf5" and choice.raw[0].illegal and choice.raw[0].probability > 0.9
    first, *others = choice.candidates
    assert (first.text, first.move, first.probability) == ("Qf5", choice.raw[0].move, choice.raw[0].probability)
    assert not any(each.text == "Qf5" or (first.move and each.move == first.move) for each in others)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        (None, ["<white ?>", "<black ?>", "<result ?>"]),
        (Headers(1500, 1500), ["<white 1400>", "<black 1400>", "<result ?>"]),
        (Headers(black_elo=0), ["<white ?>", "<black 0>", "<result ?>"]),
    ],
)
def test_a_model_is_told_what_was_asked_for_and_no_more(headers: Headers | None, told: list[str]) -> None:
    tokenizer = GameTokenizer(tokenizer_of("uci-move").notation, ("elo", "result"))
    model = new_gpt2(ModelConfig(layers=1, width=16, heads=1), tokenizer, seed=1).eval()
    read: list[int] = []
    with model.get_input_embeddings().register_forward_pre_hook(
        lambda _, args: read.extend(args[0].flatten().tolist())
    ):
        ModelPlayer(LoadedModel(model, tokenizer, "told", "told", {}, torch.float32), headers=headers).choose(
            board_after("e2e4")
        )
    assert [tokenizer.tokens[i] for i in read] == ["<bos>", *told, "e2e4"]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_the_cache_changes_nothing_whatever_is_taken_back(notation: str) -> None:
    model = loaded(notation)
    player, random = ModelPlayer(model), np.random.default_rng(3)
    board = chess.Board()
    for _ in range(25):
        for _ in range(random.integers(4)):
            if board.move_stack:
                board.pop()
        for _ in range(random.integers(4)):
            legal = list(board.legal_moves)
            board.push(legal[random.integers(len(legal))])
        kept = {candidate.text: candidate.probability for candidate in player.candidates(board)}
        fresh = {candidate.text: candidate.probability for candidate in ModelPlayer(model).candidates(board)}
        assert kept == pytest.approx(fresh, rel=1e-4)


@pytest.mark.parametrize(("notation", "a_ply"), [("uci-move", 1), ("uci-square", 2)])
def test_only_new_tokens_are_read(notation: str, a_ply: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = loaded(notation), list[int]()
    player, board = ModelPlayer(model), board_after(RUY)
    player.choose(board)
    embeddings = model.model.get_input_embeddings()
    counting = embeddings.register_forward_pre_hook(lambda module, args: rows.append(args[0].shape[-1]))
    with counting:
        board.push_uci("f1e1")
        board.push_uci("b7b5")
        player.choose(board)
        # Fewer where the beginning of a move was thought of before.
        assert 0 < rows[0] <= 2 * a_ply
        rows.clear()
        board.pop()
        board.pop()
        player.choose(board)
        assert rows == []
        monkeypatch.setattr(reader, "ANSWERS", 0)
        board.push_uci("d2d4")
        player.choose(board)
        assert 0 < rows[0] <= a_ply
        rows.clear()
        board.pop()
        player.choose(board)
        # The last token again, for what follows it.
        assert rows[0] == 1


@pytest.mark.parametrize("notation", NOTATIONS)
def test_several_games_at_once_and_what_is_dropped_change_nothing(
    notation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, random = loaded(notation), np.random.default_rng(4)
    player, alone = ModelPlayer(model), ModelPlayer(model)
    games = [chess.Board() for _ in range(5)]
    monkeypatch.setattr(reader, "ROOM", 8)
    monkeypatch.setattr(reader, "SPARE", 1)
    for _ in range(12):
        asked = [board for board in games if random.random() < 0.6]
        choices = player.choose_all(asked, [np.random.default_rng(1)] * len(asked))
        assert [choice.move for choice in choices] == [alone.choose(board).move for board in asked]
        for board, choice in zip(asked, choices, strict=True):
            fresh = {each.text: each.probability for each in ModelPlayer(model).candidates(board)}
            assert {each.text: each.probability for each in choice.candidates} == pytest.approx(fresh, rel=1e-4)
            board.push(choice.move)


def test_a_pass_that_is_broken_off_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    player, board = ModelPlayer(loaded("uci-move")), board_after(RUY)
    before = player.choose(board)
    board.push(before.move)

    def broken(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", broken)
        with pytest.raises(KeyboardInterrupt):
            player.choose(board)
    assert player.choose(board).candidates == ModelPlayer(loaded("uci-move")).choose(board).candidates


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_legal_raw_choice_is_played(notation: str) -> None:
    player, board = ModelPlayer(taught(notation, RUY)), chess.Board()
    for uci in RUY.split():
        choice = player.choose(board)
        assert (choice.move.uci(), choice.policy) == (uci, None)
        assert [(raw.text, raw.illegal) for raw in choice.raw] == [(uci, None)]
        assert choice.raw[0] == choice.candidates[0]
        board.push(choice.move)


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("policy", ["mask", "retry"])
def test_greedy_play_falls_back_on_the_likeliest_legal_move(notation: str, policy: str) -> None:
    model = taught(notation, RUY)
    player, board = ModelPlayer(model, Style(policy)), board_after("e2e4 e7e5 e1e2 b8c6")
    choice = player.choose(board)
    assert choice.policy == "mask"
    assert [raw.illegal is not None for raw in choice.raw] == [True]
    spellings = {move: model.tokenizer.notation.spell(move, board) for move in board.legal_moves}
    assert choice.move == max(spellings, key=lambda move: plain(model, board, spellings[move]))


@pytest.fixture(params=NOTATIONS)
def fresh(request: pytest.FixtureRequest) -> LoadedModel:
    return loaded(request.param)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_retry_draws_three_times_at_most(notation: str) -> None:
    # At this temperature it half remembers the game.
    fresh, temperature = taught(notation, RUY), 2.0
    board, seen = board_after(RUY[:24]), Counter[str | None]()
    player = ModelPlayer(fresh, Style("retry", temperature), seed=1)
    for _ in range(60):
        choice = player.choose(board)
        seen[choice.policy] += 1
        *before, last = [raw.illegal is None for raw in choice.raw]
        assert not any(before)
        assert last == (choice.policy != "mask")
        if choice.policy == "mask":
            assert len(choice.raw) == DRAWS
        else:
            assert choice.move == choice.raw[-1].move
            assert (choice.policy == "retry") == (len(choice.raw) > 1)
        assert choice.move in board.legal_moves
    assert seen.keys() == {None, "retry", "mask"}, seen


@pytest.mark.parametrize("policy", ["mask", "retry"])
def test_both_policies_draw_from_the_legal_moves_renormalised(fresh: LoadedModel, policy: str) -> None:
    board = board_after("e2e4 e7e5 g1f3 b8c6 f1b5")
    legal = [candidate for candidate in ModelPlayer(fresh).candidates(board) if not candidate.illegal]
    player = ModelPlayer(fresh, Style(policy, 1.0), seed=5)
    drawn = Counter(player.choose(board).move for _ in range(DRAWN))
    # Rare moves together, so that each cell expects enough.
    common = [candidate for candidate in legal if candidate.probability > 0.02 * sum(c.probability for c in legal)]
    total = sum(candidate.probability for candidate in legal)
    expected = [DRAWN * candidate.probability / total for candidate in common]
    observed = [drawn[candidate.move] for candidate in common if candidate.move]
    rest = DRAWN - sum(expected)
    if rest > 1:
        expected, observed = [*expected, rest], [*observed, DRAWN - sum(observed)]
    assert chisquare(observed, expected).pvalue > 1e-3


def test_a_seed_makes_the_game_and_no_global_generator_is_touched(fresh: LoadedModel) -> None:
    def game(seed: int) -> list[chess.Move]:
        player, board = ModelPlayer(fresh, Style(temperature=1.0), seed=seed), chess.Board()
        while len(board.move_stack) < 12 and not boards.outcome(board):
            board.push(player.choose(board).move)
        return board.move_stack

    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # pyright: ignore
    assert game(1) == game(1)
    assert game(1) != game(2)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # pyright: ignore


@pytest.mark.parametrize(("notation", "known"), [("uci-move", 7), ("uci-square", 3)])
def test_past_its_context_a_model_plays_random_legal_moves_and_says_so(notation: str, known: int) -> None:
    model, board = loaded(notation, context=8), chess.Board()
    player = ModelPlayer(model, Style("retry", 1.0), seed=1)
    for uci in RUY.split():
        choice = player.choose(board)
        assert choice.move in board.legal_moves
        if board.ply() < known:
            assert choice.raw
            assert choice.policy != "context"
        else:
            assert (choice.policy, choice.raw, choice.candidates) == ("context", (), ())
            assert player.candidates(board) == ()
        board.push_uci(uci)


@pytest.mark.parametrize(
    ("policy", "temperature", "says"),
    [
        ("strict", 0.0, "policies are mask and retry"),
        ("mask", -1.0, "temperature"),
        ("mask", math.nan, "temperature"),
        ("mask", 1e-9, "temperature"),
        ("mask", math.inf, "temperature"),
    ],
)
def test_options_that_make_no_sense(policy: str, temperature: float, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Style(policy, temperature)


def test_in_a_position_without_its_game_it_plays_random_legal_moves_and_says_so() -> None:
    board, player = chess.Board("8/8/4k3/8/8/4K3/4P3/8 w - - 0 1"), ModelPlayer(loaded("uci-move"), seed=1)
    choices = [player.choose(board) for _ in range(60)]
    assert {(each.policy, each.raw, each.candidates) for each in choices} == {("history", (), ())}
    assert {each.move for each in choices} == set(board.legal_moves)
    assert player.candidates(board) == ()


def test_the_random_player_is_uniform_and_seeded() -> None:
    board, player = board_after(RUY), RandomPlayer(seed=4)
    again = RandomPlayer(seed=4)
    drawn = [player.choose(board).move for _ in range(3000)]
    assert drawn == [again.choose(board).move for _ in range(3000)]
    counts = Counter(drawn)
    assert chisquare([counts[move] for move in board.legal_moves]).pvalue > 1e-3
    assert sum(candidate.probability for candidate in player.candidates(board)) == pytest.approx(1)
