"""Fuzzes what people type, paste and load: lines in the terminal, a PGN file, and requests to the browser page's server
(``fuzzing`` says how it is run). The first byte says which."""

import asyncio
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chess
from fuzzing import instrumented, run
from rich.console import Console

with instrumented():
    from hostile import PIECES, real_games

    from chesslm.errors import FailureError, InputError
    from chesslm.play.game import Game
    from chesslm.play.mind import Mind
    from chesslm.play.player import RandomPlayer
    from chesslm.play.screen import View
    from chesslm.play.terminal import run_game
    from chesslm.play.web import make_app

HOST = "127.0.0.1:1"
ACTS = ("about", "look", "erase", "reply", "read")
LOADED: Any = SimpleNamespace(context=64, tokenizer=SimpleNamespace(notation=SimpleNamespace(name="none")))
MIND = Mind(LOADED, RandomPlayer(1), None, None)  # pyright: ignore[reportArgumentType]
APP = make_app(MIND, [HOST])


def one(data: bytes) -> None:
    """What is wrong is said in a line, and what is taken is legal."""
    kind, rest = (data[0] % 8 if data else 0), data[1:]
    text = rest.decode("utf-8", "surrogatepass" if kind % 2 else "replace") if _decodes(rest, kind) else ""
    match kind:
        case 0:
            _typed(text)
        case 1:
            _loaded(rest)
        case 2 | 3:
            status, found = ask("read", {"pgn": text})
            board = chess.Board()
            for word in found.get("moves", []):
                board.push(chess.Move.from_uci(word)) if board.is_legal(chess.Move.from_uci(word)) else _fail(word)
            assert status in (200, 400)
        case 4 | 5:
            status, found = ask("read", {"moves": [], "text": text})
            assert status == 400 or chess.Board().is_legal(chess.Move.from_uci(found["move"]))
        case _:
            assert ask(ACTS[data[0] // 8 % len(ACTS)], rest)[0] in (200, 400)


def _decodes(rest: bytes, kind: int) -> bool:
    try:
        rest.decode("utf-8", "surrogatepass" if kind % 2 else "replace")
    except UnicodeDecodeError:
        return False
    return True


def _fail(word: str) -> None:
    raise AssertionError(f"{word} is not legal")


def _typed(text: str) -> None:
    """Lines in the terminal, but for those that touch files."""
    lines = iter([line for line in text.split("\n") if not line.strip().lower().startswith(("save", "load"))])
    game = Game(RandomPlayer(1), chess.WHITE)
    run_game(game, lambda prompt: next(lines, None), View(Console(file=io.StringIO(), markup=False, highlight=False)))
    assert str(game.to_pgn())


def _loaded(data: bytes) -> None:
    """A file as a game, and the game that comes of it saved and loaded again."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:  # noqa: PTH112
        path, again = Path(folder) / "x.pgn", Path(folder) / "y.pgn"
        path.write_bytes(data)
        game = Game(RandomPlayer(1), chess.WHITE)
        try:
            game.load(str(path))
        except (InputError, FailureError) as error:
            assert "\n" not in str(error), error
            assert not game.board.move_stack
            return
        board = chess.Board()
        for move in game.board.move_stack:
            assert board.is_legal(move)
            board.push(move)
        assert not game.board.chess960
        assert len(game.notes) == len(game.board.move_stack)
        game.save(str(again))
        other = Game(RandomPlayer(1), chess.WHITE)
        other.load(str(again))
        assert other.board == game.board


def ask(act: str, body: Any) -> tuple[int, dict[str, Any]]:
    """Status and answer of a request to the application."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = list[Any]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": f"/api/{act}", "root_path": "", "query_string": b"",
        "headers": [(b"host", HOST.encode()), (b"content-type", b"application/json")],
    }  # fmt: skip
    asyncio.run(APP(scope, receive, send))
    found = json.loads(b"".join(message.get("body", b"") for message in sent))
    assert sent[0]["status"] == 200 or "\n" not in found["error"], found
    return sent[0]["status"], found


def seeds() -> Iterator[bytes]:
    """Each kind of thing, as it is meant."""
    yield b"\0e4\nundo\nlegal e2\nmoves\nhint\nlevel 0.5\nelo 1500\nboard\nblindfold\nresign\nnew\n e2-e4\n0-0\nhelp\n"
    for game in real_games(3):
        yield from (bytes([kind]) + game for kind in (1, 2, 3))
    for kind in (1, 2):
        yield bytes([kind]) + b"1. e4 (1. d4 d5 (1... Nf6) 2. c4) e5 {so} $1 2. Nf3 -- 3. d4 *"
    for text in (b"e4", b"Nf3", b"e2e4", b"e8=Q", b"O-O"):
        yield b"\4" + text
    for number, body in enumerate(({}, {"moves": ["e2e4"], "from": 0, "to": 2}, {"moves": ["e2e4"], "square": "e4"})):
        yield bytes([6 + 8 * number]) + json.dumps(body).encode()
    yield bytes([6 + 8 * 3]) + b'{"moves": ["e2e4", "e7e5"], "temperature": 1e3}'
    yield bytes([6 + 8 * 4]) + b'{"moves": ["e2e4"], "text": "e5 \\ud800"}'


if __name__ == "__main__":
    run("play", one, seeds(), (*PIECES, '"moves"', '"pgn"', '"text"', '"temperature"', "\\ud800", "[", "{", "1e999"))
