"""Baselines: the n-gram against its formula in plain Python, the uniform one against python-chess."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import chess
import numpy as np
import pytest
import torch

from chesslm import boards, shards
from chesslm.eval import baselines
from chesslm.eval.scorers import chain
from chesslm.tokenizer import BOS, EOS, PAD, UNK, get_tokenizer

MOVES = get_tokenizer("uci-move")


def habitual_game(seed: int) -> boards.MoveCodes:
    """Legal moves out of a few, so that the same moves follow each other in many games."""
    rng = random.Random(seed)
    plies = rng.randrange(1, 60)
    board = chess.Board()
    while len(board.move_stack) < plies and (moves := list(board.generate_legal_moves())):
        board.push(moves[min(int(rng.expovariate(1)), len(moves) - 1)])
    return boards.to_codes(board.move_stack)


TRAIN = [habitual_game(seed) for seed in range(300)]
RESULTS = ["1-0" if seed % 3 else "*" for seed in range(300)]
GAMES = [np.zeros(0, np.uint16), *(habitual_game(seed) for seed in range(1000, 1020))]


def write_split(
    folder: Path, notation: str = "uci-move", shard_tokens: int = 1_000, conditions: tuple[str, ...] = ()
) -> shards.Split:
    tokenizer = get_tokenizer(notation, conditions)
    folder.mkdir()
    writer = shards.ShardWriter(folder, "train", shard_tokens)
    for game, result in zip(TRAIN, RESULTS, strict=True):
        tokens = tokenizer.encode(game, result)
        writer.add(tokens.ids, tokens.role, {"plies": len(game)})
    writer.flush()
    shards.write_meta(folder, [writer], {"notation": notation, "conditions": list(conditions)})
    return shards.open_dataset(folder).splits["train"]


def ids_of(games: Sequence[boards.MoveCodes]) -> list[list[int]]:
    return [MOVES.encode(game).ids.tolist() for game in games]


def logits(scorer: baselines.NGram | baselines.UniformLegal, games: Sequence[boards.MoveCodes]) -> list[torch.Tensor]:
    """Scores after each node of each game, shapes (plies + 1, V)."""
    out = scorer.logits([chain(MOVES.encode(game).ids) for game in games])
    return [row[: len(game) + 1] for row, game in zip(out, games, strict=True)]


Followers = dict[tuple[int, ...], Counter[int]]


def count(train: list[list[int]], order: int) -> Followers:
    """What followed each context of up to so many tokens, and how often."""
    followers: Followers = defaultdict(Counter)
    for game in train:
        for i in range(1, len(game)):
            for length in range(min(order, i) + 1):
                followers[tuple(game[i - length : i])][game[i]] += 1
    return followers


def formula(followers: Followers, context: tuple[int, ...]) -> dict[int, float]:
    """The docstring's recursion, word for word."""
    events = [i for i in range(len(MOVES)) if i not in (PAD, BOS, UNK)]

    def probability(context: tuple[int, ...], word: int) -> float:
        shorter = probability(context[1:], word) if context else 1 / len(events)
        seen = followers.get(context)
        if not seen:
            return shorter
        discounted = max(seen[word] - baselines.DISCOUNT, 0)
        return (discounted + baselines.DISCOUNT * len(seen) * shorter) / seen.total()

    return {word: probability(context, word) for word in events}


@pytest.mark.parametrize("order", [0, 2, 5])
def test_ngram_is_its_formula(tmp_path: Path, order: int) -> None:
    ngram = baselines.fit_ngram(write_split(tmp_path / "data"), MOVES, GAMES, order)
    train = [MOVES.encode(game, result).ids.tolist() for game, result in zip(TRAIN, RESULTS, strict=True)]
    followers = count(train, order)
    checked = 0
    for game, scores in list(zip(ids_of(GAMES), logits(ngram, GAMES), strict=True))[:3]:
        for node in range(0, len(game), 7):
            expected = formula(followers, tuple(game[max(0, node + 1 - order) : node + 1]))
            assert math.isclose(sum(expected.values()), 1, rel_tol=1e-9)
            got = scores[node].exp()
            assert got[[PAD, BOS, UNK]].tolist() == [0, 0, 0]
            np.testing.assert_allclose(got[list(expected)].numpy(), list(expected.values()), rtol=1e-4)
            checked += 1
    assert checked > 3


def test_ngram_is_normalised_and_learns(tmp_path: Path) -> None:
    split = write_split(tmp_path / "data")
    losses = []
    for order in range(baselines.ORDER + 1):
        rows = logits(baselines.fit_ngram(split, MOVES, GAMES, order), GAMES)
        for row in rows:
            torch.testing.assert_close(row.exp().sum(-1), torch.ones(len(row)))
        played = [
            row[:-1].gather(1, torch.tensor(game)[1:, None]) for row, game in zip(rows, ids_of(GAMES), strict=True)
        ]
        losses.append(-torch.cat(played).mean().item())
    # A move of context helps these games more than anything; the longer ones do not undo it.
    assert losses[1] < losses[0] - 0.5
    assert max(losses[2:]) < losses[1]


def test_ngram_does_not_depend_on_shards_notation_or_the_other_games(tmp_path: Path) -> None:
    whole = logits(baselines.fit_ngram(write_split(tmp_path / "one", shard_tokens=10**6), MOVES, GAMES), GAMES)
    square, told = get_tokenizer("uci-square"), get_tokenizer("uci-move", ("elo", "result"))
    fitted = {
        "many shards": baselines.fit_ngram(write_split(tmp_path / "many"), MOVES, GAMES),
        "squares": baselines.fit_ngram(write_split(tmp_path / "squares", "uci-square"), square, GAMES),
        "conditions": baselines.fit_ngram(write_split(tmp_path / "told", conditions=told.conditions), told, GAMES),
    }
    for name, ngram in fitted.items():
        for expected, got in zip(whole, logits(ngram, GAMES), strict=True):
            assert torch.equal(expected, got), name
    few = baselines.fit_ngram(write_split(tmp_path / "few"), MOVES, GAMES[5:7])
    for expected, got in zip(whole[5:7], logits(few, GAMES[5:7]), strict=True):
        assert torch.equal(expected, got)
    with pytest.raises(ValueError, match="not fitted"):
        logits(few, GAMES[8:])


def test_chunks_count_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = write_split(tmp_path / "data")
    whole = baselines.fit_ngram(split, MOVES, GAMES)
    monkeypatch.setattr(baselines, "CHUNK_GAMES", 3)
    for expected, got in zip(whole.levels, baselines.fit_ngram(split, MOVES, GAMES).levels, strict=True):
        assert expected.followers.tolist() == got.followers.tolist()
        assert expected.counts.tolist() == got.counts.tolist()


def test_uniform_is_over_legal_moves() -> None:
    mate = boards.to_codes(map(chess.Move.from_uci, ("f2f3", "e7e5", "g2g4", "d8h4")))
    for game, scores in zip([*GAMES, mate], logits(baselines.UniformLegal(), [*GAMES, mate]), strict=True):
        for board, row in zip(boards.replay(boards.to_moves(game)), scores, strict=True):
            possible = {MOVES.tokens[i] for i in row.isfinite().nonzero().flatten().tolist()}
            assert possible == ({move.uci() for move in board.legal_moves} or {MOVES.tokens[EOS]})
            assert row[row.isfinite()].unique().tolist() == [0]
