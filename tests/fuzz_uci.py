"""Fuzzes the UCI engine: any lines, to a player that needs no model (``fuzzing`` says how it is run)."""

import os
from collections.abc import Iterator

import chess
from fuzzing import instrumented, run

with instrumented():
    from chesslm.play.engine import COMMANDS, LIMITS, Engine
    from chesslm.play.player import RandomPlayer
    from chesslm.play.uci import lines_of

SAYS = ("id ", "option ", "uciok", "readyok", "info ", "bestmove ")
LONG = 3000
"""Characters of a line that it may say, at most."""
WORDS = (
    *(*COMMANDS, *LIMITS, "startpos", "fen", "moves", "name", "value", "infinite", "ponder", "searchmoves", "on"),
    *(
        "Temperature",
        "TopP",
        "IllegalPolicy",
        "Seed",
        "MultiPV",
        "Elo",
        "mask",
        "retry",
        "0",
        "-1",
        "1e9",
        "nan",
        "inf",
    ),
    *(
        "e2e4",
        "e7e5",
        "e1g1",
        "e1h1",
        "e7e8q",
        "0000",
        "P@e4",
        "a1a1",
        "KQkq",
        "HAha",
        " w - - 0 1",
        "²",
        "٣",
        "\0",
        "é",
    ),
    *(chess.STARTING_FEN, "4k3/8/8/8/8/8/4P3/4K3 w - - 0 1", "r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1", "/8/8", "9" * 30),
)


def one(data: bytes) -> None:
    """Every line is answered by lines of the protocol, of bounded length, and each best move is legal."""
    said = list[str]()
    engine = Engine(said.append, "any", rated=True)
    engine.player_of = lambda settings: RandomPlayer(settings.seed)
    for line in _lines(data):
        board, held = engine._board, engine._held
        said.clear()
        engine.obey(line)
        for text in said:
            assert (
                text.startswith(SAYS)
                and "\n" not in text
                and len(text) < LONG
                and text.isascii()
                and text.isprintable()
            ), text
            if text.startswith("bestmove ") and not held:
                best = chess.Move.from_uci(text.split()[1])
                assert board.is_legal(best) or not (best or any(board.legal_moves)), text
        assert engine._board.is_valid()


def _lines(data: bytes) -> Iterator[str]:
    """As the process reads them."""
    read, write = os.pipe()
    os.write(write, data[: 1 << 15])
    os.close(write)
    try:
        for line in lines_of(read):
            yield line.decode("utf-8", "replace")
    finally:
        os.close(read)


def seeds() -> Iterator[bytes]:
    """Sessions as programs have them."""
    yield b"uci\nisready\nucinewgame\nposition startpos moves e2e4 e7e5 g1f3\ngo wtime 1000 btime 1000 winc 1\nquit\n"
    yield b"position fen 4k3/8/8/8/8/8/4P3/4K3 w - - 0 1 moves e2e4 e8e7\ngo infinite\nstop\ngo ponder\nponderhit\n"
    yield b"setoption name MultiPV value 3\nsetoption name Temperature value 0.5\ngo searchmoves e2e4 d2d4 depth 3\n"
    yield b"setoption name Elo value 1500\nsetoption name Seed value 7\nsetoption name IllegalPolicy value retry\ngo\n"
    yield b"position fen r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1 moves e1g1 e8c8\ngo movestogo -1\nposition startpos\ngo\n"


if __name__ == "__main__":
    run("uci", one, seeds(), WORDS)
