"""Games for the tests: random legal ones with a seed, and a hypothesis strategy that shrinks to short games; and the
tokenizers of all notations.
"""

import random
import tempfile
from functools import cache
from pathlib import Path

import chess
import chess.pgn
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from chesslm.boards import MoveCodes, to_codes, to_moves
from chesslm.foreign import foreign_tokenizer
from chesslm.notation import NAMES, TEXT, TRAINED, Notation, get_notation, train_notation
from chesslm.san import write_moves
from chesslm.tokenizer import GameTokenizer


def random_game(seed: int, plies: int) -> MoveCodes:
    """Uniformly random legal moves, at most so many plies."""
    draw = random.Random(seed)
    board = chess.Board()
    while board.ply() < plies and (legal := list(board.legal_moves)):
        board.push(draw.choice(legal))
    return to_codes(board.move_stack)


def san_game(moves: str) -> MoveCodes:
    """A game from its moves in SAN."""
    board = chess.Board()
    for word in moves.split():
        board.push_san(word)
    return to_codes(board.move_stack)


PROMOTIONS = san_game(
    "a4 b5 axb5 a6 bxa6 Bb7 axb7 Nc6 bxa8=N Qxa8 Rxa8+ Nd8 Rb8 c5 Rb7 c4 Rxd7 c3 Rxd8+ Kxd8 Nf3 cxb2 Ng1 bxc1=Q Qxc1"
)
"""Pawns promote, another could; a rook steps to the last rank where a pawn would promote (Rxd8+ at ply 18)."""
LIVELY = san_game("e4 a6 e5 d5 exd6 Nf6 Nf3 Nbd7 Bb5 exd6 O-O Be7 Re1 axb5 Nc3 O-O Nxb5 Re8 a4 Rf8 Nbd4 Re8 Rxe7")
"""En passant, castling, knights that have to be told apart."""


@st.composite
def games(draw: st.DrawFn, max_plies: int = 200) -> list[chess.Move]:
    """Legal games of any length up to ``max_plies``; smaller examples are shorter games."""
    plies = draw(st.integers(0, max_plies))
    return to_moves(random_game(draw(st.integers(0, 10**6)), plies))


def result_of(index: int) -> str:
    """Results that a test PGN gives its games, in turn."""
    return ("1-0", "0-1", "1/2-1/2", "*")[index % 4]


def write_pgn(path: Path, codes: list[MoveCodes], **headers: str) -> Path:
    """Write games as python-chess writes them."""
    with path.open("w") as file:
        for index, moves in enumerate(codes):
            game = chess.pgn.Game(headers={"Event": "test", "Round": str(index + 1), **headers})
            game.headers["Result"] = result_of(index)
            game.add_line(to_moves(moves))
            print(game, file=file, end="\n\n")
    return path


@cache
def notation_of(name: str) -> Notation:
    """A notation; a learned vocabulary comes from a few games, so that it lacks many moves."""
    if name not in TRAINED:
        return get_notation(name)
    return train_notation(name, [write_moves(random_game(seed, 60)) for seed in range(40)], size=300)


ALL_NOTATIONS = (*NAMES, TEXT)


@cache
def tokenizer_of(name: str) -> GameTokenizer:
    """Its tokenizer; ``text`` takes one that learned little of chess."""
    if name != TEXT:
        return GameTokenizer(notation_of(name))
    with tempfile.TemporaryDirectory() as folder:
        pieces_of_text().save(f"{folder}/tokenizer.json")
        Path(folder, "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
        return foreign_tokenizer(folder, TEXT)


def pieces_of_text() -> Tokenizer:
    """Byte-level BPE learned from prose and some games, as text models have it."""
    text = Tokenizer(models.BPE())
    text.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    text.decoder = decoders.ByteLevel()
    movetext = [" ".join(write_moves(random_game(seed, 24))) for seed in range(4)]
    prose = ["It was the best of times, it was the worst of times."] * 5
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text.train_from_iterator([*prose, *movetext], trainer)
    return text
