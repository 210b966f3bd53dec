"""Novelty against python-chess: hashes are Polyglot's, moves are the shards', first novel plies are a set's."""

import random
from collections import Counter
from pathlib import Path

import chess
import chess.polyglot
import numpy as np
import pytest
from random_games import ALL_NOTATIONS, tokenizer_of

from chesslm import boards, shards
from chesslm.eval import novel
from chesslm.tokenizer import get_tokenizer


def eventful_game(seed: int, plies: int) -> boards.MoveCodes:
    """Random legal moves that castle, promote or take en passant whenever they can."""
    rng = random.Random(seed)
    board = chess.Board()
    while len(board.move_stack) < plies and (moves := list(board.generate_legal_moves())):
        events = [m for m in moves if m.promotion or board.is_castling(m) or board.is_en_passant(m)]
        board.push(rng.choice(events or moves))
    return boards.to_codes(board.move_stack)


GAMES = [eventful_game(seed, 30 + 3 * seed) for seed in range(60)]


def write_split(folder: Path, games: list[boards.MoveCodes], notation: str, shard_tokens: int) -> shards.Split:
    tokenizer = tokenizer_of(notation)
    folder.mkdir()
    writer = shards.ShardWriter(folder, "train", shard_tokens)
    for number, game in enumerate(games):
        tokens = tokenizer.encode(game, "1-0" if number % 2 else "*")
        writer.add(tokens.ids, tokens.role, {"plies": len(game)})
    writer.flush()
    shards.write_meta(folder, [writer], {"notation": notation})
    return shards.open_dataset(folder).splits["train"]


def test_hashes_are_those_of_python_chess() -> None:
    offsets = np.cumsum([0, *map(len, GAMES)])
    hashes = novel.position_hashes(np.concatenate(GAMES), offsets)
    expected, events = [], Counter[str]()
    for game in GAMES:
        moves = boards.to_moves(game)
        for board, move in zip(boards.replay(moves), [*moves, None], strict=True):
            expected.append(chess.polyglot.zobrist_hash(board))
            events["en passant possible"] += board.has_pseudo_legal_en_passant()
            events["en passant square for nothing"] += board.ep_square is not None
            if move:
                events["castling"] += board.is_castling(move)
                events["en passant"] += board.is_en_passant(move)
                events["promotion"] += move.promotion is not None
                events["rook taken at home"] += move.to_square in (chess.A1, chess.H8) and board.is_capture(move)
    assert hashes.tolist() == expected
    assert all(events[name] >= 5 for name in events), events
    assert len(hashes) > 5_000


def test_equal_hashes_are_equal_positions() -> None:
    """Against a second oracle: the EPD with the en passant square only where a capture is possible."""
    offsets = np.cumsum([0, *map(len, GAMES)])
    hashes = novel.position_hashes(np.concatenate(GAMES), offsets)
    boards_seen = [board.epd(en_passant="xfen") for game in GAMES for board in boards.replay(boards.to_moves(game))]
    assert (
        len(set(hashes.tolist())) == len(set(boards_seen)) == len(set(zip(hashes.tolist(), boards_seen, strict=True)))
    )


@pytest.mark.parametrize("notation", ALL_NOTATIONS)
def test_moves_come_back_from_shards(tmp_path: Path, notation: str) -> None:
    split = write_split(tmp_path / "data", GAMES, notation, shard_tokens=2_000)
    assert len(split.ids) > 2
    back = []
    for shard in range(len(split.ids)):
        codes, offsets = novel.move_codes(split, shard, tokenizer_of(notation))
        back += np.split(codes, offsets[1:-1])
    assert [game.tolist() for game in back] == [game.tolist() for game in GAMES]


@pytest.mark.parametrize("notation", ["uci-move", "uci-square", "pgn-char"])
def test_first_novel_ply(tmp_path: Path, notation: str) -> None:
    train = [eventful_game(seed, 80) for seed in range(100, 130)]
    rng = random.Random(5)
    # Games that follow a training game for a while, then go on by themselves; a transposition; the start alone.
    games = [np.zeros(0, np.uint16), train[3], train[4][:10]]
    for game in train[:20]:
        board = chess.Board()
        for move in boards.to_moves(game[: rng.randrange(len(game))]):
            board.push(move)
        while len(board.move_stack) < 90 and (moves := list(board.generate_legal_moves())):
            board.push(rng.choice(moves))
        games.append(boards.to_codes(board.move_stack))
    games.append(boards.to_codes(map(chess.Move.from_uci, ("g1f3", "g8f6", "b1c3", "b8c6"))))
    train.append(boards.to_codes(map(chess.Move.from_uci, ("b1c3", "b8c6", "g1f3", "g8f6"))))

    known = {board.epd(en_passant="xfen") for game in train for board in boards.replay(boards.to_moves(game))}
    expected = []
    for game in games:
        positions = [board.epd(en_passant="xfen") for board in boards.replay(boards.to_moves(game))][: len(game)]
        expected.append(next((ply for ply, epd in enumerate(positions) if epd not in known), len(game)))
    split = write_split(tmp_path / "data", train, notation, shard_tokens=1_000)
    got = novel.first_novel_ply(games, split, tokenizer_of(notation))
    assert got.tolist() == expected
    assert len(set(expected)) > 10


def test_nothing_to_compare(tmp_path: Path) -> None:
    split = write_split(tmp_path / "data", GAMES[:2], "uci-move", shard_tokens=1_000)
    assert novel.first_novel_ply([], split, get_tokenizer("uci-move")).tolist() == []
