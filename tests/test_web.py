"""The browser page: a real server, a real browser, and those who must not be answered."""

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chess
import chess.engine
import numpy as np
import pytest
from conftest import Cli
from playwright.sync_api import Browser, Page, expect, sync_playwright
from random_games import random_game
from test_play import typed, won_game
from test_uci import checkpoint, resident

from chesslm import boards
from chesslm.eval.results import Idea
from chesslm.inside import edits
from chesslm.inside import probe as probes
from chesslm.inside.layers import fit_layers
from chesslm.inside.linear import part_of
from chesslm.inside.truths import BOARD
from chesslm.model import load_model
from chesslm.play import mind
from chesslm.play.player import ModelPlayer
from chesslm.play.web import names_of

pytestmark = pytest.mark.usefixtures("one_thread")
SECONDS = 60_000
"""Milliseconds that the page is waited for."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights, with a probe."""
    folder = checkpoint(tmp_path_factory.mktemp("web") / "fresh")
    games = [random_game(number, plies=40) for number in range(24)]
    loaded = load_model(str(folder), device="cpu", precision="fp32")
    fitted = fit_layers(loaded, part_of(games[:20]), part_of(games[20:]))
    probes.save(probes.fit(fitted.train.at(2), fitted.validation.at(2)), folder, {})
    ways = {
        each.layer: edits.directions(fitted.moments, each.layer, each.weights[BOARD.name]) for each in fitted.probes[1:]
    }
    edits.save(edits.Editor(ways, 1.0), folder)
    return folder


class Server:
    """``chesslm serve`` as a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "chesslm", "serve", str(folder), "--port", "0", "--device", "cpu"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", self.process.stdout.readline())
        assert found, self.process.stderr and self.process.stderr.read()
        self.url, self.port = found[0], int(found[1])

    def ask(self, path: str, body: Any = None, method: str = "POST", **headers: str) -> tuple[int, Any]:
        """Status and JSON of an answer; bytes go out as they are."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=100)
        given = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data if method == "POST" else None, given)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        return answer.status, json.loads(found) if found[:1] in (b"{", b"[") else found


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    yield server
    server.process.send_signal(signal.SIGINT)
    out, err = server.process.communicate(timeout=60)
    assert (out, "Traceback" in err) == ("", False)


# What is answered


def test_it_says_what_the_model_thinks(server: Server, folder: Path) -> None:
    moves = ["e2e4", "e7e5", "g1f3", "b8c6"]
    status, found = server.ask("/api/look", {"moves": moves, "from": 0, "to": 5})
    assert status == 200 and [position["ply"] for position in found["positions"]] == [0, 1, 2, 3, 4]
    loaded = load_model(str(folder), device="cpu", precision="fp32")
    player, probe = ModelPlayer(loaded), probes.load(folder)
    assert probe
    for position, board in zip(
        found["positions"], boards.replay([chess.Move.from_uci(move) for move in moves]), strict=True
    ):
        shown = [board.piece_at(square) for square in chess.SQUARES]
        assert position["board"] == "".join(piece.symbol() if piece else "." for piece in shown)
        assert set(position["legal"]) == {move.uci() for move in board.legal_moves}
        candidates = player.candidates(board)
        legal = sum(each.probability for each in candidates if not each.illegal)
        assert position["illegal"] == pytest.approx(1 - legal, abs=1e-4)
        for told, each in zip(position["candidates"], candidates, strict=False):
            assert told["probability"] == pytest.approx(each.probability, abs=1e-4)
            assert (told["illegal"] is None) == (each.illegal is None)
        assert ("believed" in position) == (position["ply"] > 0)
        if position["ply"]:
            assert len(position["believed"]) == len(position["sure"]) == 64
            assert all(1 / 13 < share <= 1 for share in position["sure"])
    assert found["positions"][3]["last"] == {"uci": "g1f3", "san": "Nf3"}


def test_a_piece_is_erased_from_the_board_inside(server: Server, folder: Path) -> None:
    moves = ["e2e4", "e7e5"]
    (position,) = server.ask("/api/look", {"moves": moves, "from": 2, "to": 3})[1]["positions"]
    board = chess.Board()
    for move in moves:
        board.push_uci(move)
    seen = list[tuple[float, ...]]()
    for index, name in enumerate(chess.SQUARE_NAMES):
        believed = position["believed"][index]
        status, found = server.ask("/api/erase", {"moves": moves, "square": name})
        if believed == "." or believed in "Kk":
            assert status == 400 and ("a king" if believed != "." else "nothing stands") in found["error"]
            continue
        assert status == 200 and found["square"] == name and len(found["candidates"]) == len(position["candidates"])
        without = board.copy()
        without.remove_piece_at(index)
        for each in found["candidates"]:
            if each["uci"]:
                legal = without.is_legal(chess.Move.from_uci(each["uci"]))
                assert legal == (each["illegal"] is None), each
        seen.append(tuple(each["probability"] for each in found["candidates"]))
    # Every piece is another change.
    assert len({*seen, tuple(each["probability"] for each in position["candidates"])}) == len(seen) + 1 > 8


def test_it_answers_with_a_legal_move(server: Server) -> None:
    status, reply = server.ask("/api/reply", {"moves": ["e2e4"], "temperature": 0})
    board = chess.Board()
    board.push_uci("e2e4")
    assert status == 200 and board.is_legal(chess.Move.from_uci(reply["move"]))
    assert all(raw["illegal"] for raw in reply["raw"]) == (reply["policy"] == "mask")


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("look", {"moves": ["e2e5"], "from": 0, "to": 1}, "move 1, 'e2e5', is not legal"),
        ("look", {"moves": ["0000"], "from": 0, "to": 1}, "is not legal"),
        ("look", {"moves": "e2e4", "from": 0, "to": 1}, "a list of moves"),
        ("look", {"moves": [1], "from": 0, "to": 1}, "a list of moves"),
        ("look", {"from": 0, "to": 1}, "a list of moves"),
        ("look", {"moves": [], "from": -1, "to": 1}, "from is a whole number"),
        ("look", {"moves": [], "from": 0, "to": 9}, "to is a whole number"),
        ("look", {"moves": [], "from": True, "to": "1"}, "is a whole number"),
        ("reply", {"moves": ["f2f3", "e7e5", "g2g4", "d8h4"]}, "the game is over"),
        ("reply", {"moves": [], "temperature": "hot"}, "temperature is a number"),
        ("reply", {"moves": [], "temperature": -1}, "the temperature is 0 or from"),
        ("erase", {"moves": ["e2e4"], "square": "e9"}, "square is one from a1 to h8"),
        ("erase", {"moves": ["e2e4"], "square": ["e2"]}, "square is one from a1 to h8"),
        ("erase", {"moves": [], "square": "e2"}, "nothing to erase"),
        ("read", {"moves": [], "text": "Ke4"}, "is illegal"),
        ("read", {"moves": [], "text": 5}, "what was typed"),
        ("read", {"pgn": "nothing"}, "no game"),
        ("read", {"pgn": 5}, "no game"),
        ("read", {"pgn": "1. e4 e5 2. Ke5"}, "move 3"),
        ("read", {"pgn": '[FEN "4k3/8/8/8/8/8/4P3/4K3 w - - 0 1"]\n\n1. e4'}, "standard position"),
        ("look", [], "a JSON object"),
        ("look", b"{", "a JSON object"),
        ("look", b"\xff\xfe", "a JSON object"),
        ("look", b"[" * 20_000, "a JSON object"),
    ],
)
def test_what_is_wrong_is_said(server: Server, path: str, body: Any, says: str) -> None:
    status, found = server.ask(f"/api/{path}", body)
    assert status == 400 and says in found["error"], found


def test_games_longer_than_the_model_can_look_back_are_refused(server: Server) -> None:
    most = server.ask("/api/about", {})[1]["plies"]
    shuffle = ["g1f3", "g8f6", "f3g1", "f6g8"] * (most // 4 + 1)
    status, found = server.ask("/api/look", {"moves": shuffle[: most + 1], "from": 0, "to": 1})
    assert status == 400 and f"look back {most} moves" in found["error"]
    assert server.ask("/api/look", {"moves": shuffle[:most], "from": most - 1, "to": most})[0] == 200


def test_random_requests_never_bring_it_down(server: Server) -> None:
    random = np.random.default_rng(1)
    values: list[Any] = [None, True, -1, 0, 2, 1e308, "e2e4", "", [], ["e2e4"], ["e2e4", "e7e5"], [[]], {}, {"a": 1}]
    names = ["moves", "from", "to", "temperature", "text", "pgn", "square", "x"]
    for _ in range(300):
        size = int(random.integers(0, 5))
        body = {names[random.integers(len(names))]: values[random.integers(len(values))] for _ in range(size)}
        path = ["look", "reply", "read", "erase", "about"][random.integers(5)]
        status, found = server.ask(f"/api/{path}", body if random.random() < 0.8 else random.bytes(50))
        assert status in (200, 400), (path, body, found)
    assert server.ask("/api/about", {})[0] == 200


def test_what_is_erased_cannot_be_taken_en_passant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(str(folder), device="cpu", precision="fp32")
    asked = mind.Mind(loaded, ModelPlayer(loaded), probes.load(folder), edits.load(folder))
    monkeypatch.setattr(mind, "erased", lambda *_: (Idea("d4e3", "d4e3", 1.0, True),))
    moves = ["a2a3", "d7d5", "a3a4", "d5d4", "e2e4"]
    for square, illegal in (("e4", True), ("a4", False)):
        (found,) = asked.erase({"moves": moves, "square": square})["candidates"]
        assert bool(found["illegal"]) == illegal, found


# Who is answered


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "example.org"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "http://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({}, 200),
    ],
)
def test_other_sites_are_not_answered(server: Server, headers: dict[str, str], status: int) -> None:
    assert server.ask("/api/about", {}, **headers)[0] == status
    if "Host" in headers:
        assert server.ask("/", method="GET", **headers)[0] == status


def test_its_own_page_is_answered_by_every_name(server: Server) -> None:
    for name in ("127.0.0.1", "localhost", "[::1]"):
        host = f"{name}:{server.port}"
        assert server.ask("/api/about", {}, Host=host, Origin=f"http://{host}")[0] == 200


def test_who_may_call_it() -> None:
    assert names_of("127.0.0.1", 8000) == {"127.0.0.1:8000", "localhost:8000", "[::1]:8000"}
    assert names_of("0.0.0.0", 8000) > names_of("127.0.0.1", 8000)
    # Browsers leave out the port of HTTP, and capitals.
    assert names_of("127.0.0.1", 80) > {"127.0.0.1", "localhost", "[::1]", "127.0.0.1:80"}
    assert "mylaptop:8000" in names_of("MyLaptop", 8000)


def test_long_bodies_are_refused_and_other_paths_lead_nowhere(server: Server) -> None:
    assert server.ask("/api/read", {"pgn": "x" * 70_000})[0] == 413
    assert server.ask("/api/read", {"pgn": "x" * 60_000})[0] == 400
    assert server.ask("/nothing", method="GET")[0] == 404
    assert server.ask("/static/../web.py", method="GET")[0] == 404
    assert server.ask("/static/%2e%2e/web.py", method="GET")[0] == 404
    assert server.ask("/api/look", method="GET")[0] == 405


def test_two_hundred_pages_at_once_in_bounded_memory(server: Server) -> None:
    server.ask("/api/look", {"moves": [], "from": 0, "to": 1})
    before, failed = resident(server.process.pid), list[object]()

    def page(number: int) -> None:
        moves = [move.uci() for move in boards.to_moves(random_game(number, plies=12))]
        for ply in (4, 12):
            status, found = server.ask("/api/look", {"moves": moves[:ply], "from": ply, "to": ply + 1})
            if status != 200:
                failed.append(found)

    threads = [threading.Thread(target=page, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert resident(server.process.pid) - before < 60 * 1024


def test_bad_usage(cli: Cli, server: Server, folder: Path, tmp_path: Path) -> None:
    for arguments, says in (
        ((folder, "--port", server.port), "in use"),
        ((folder, "--host", "300.1.1.1"), "300.1.1.1"),
        ((folder, "--host", ".local"), "no name that a host can have"),
        ((tmp_path / "none",), "no such folder"),
    ):
        ended = cli("serve", *arguments)
        assert (ended.code, ended.out) == (2, "") and ended.err.count("\n") == 1 and says in ended.err


# In the browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    errors = list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    # What the server refuses, the browser calls an error.
    page.on(
        "console",
        lambda said: (
            errors.append(said.text) if said.type == "error" and "400 (Bad Request)" not in said.text else None
        ),
    )
    page.on("request", lambda request: errors.append(request.url) if not request.url.startswith(server.url) else None)
    page.goto(server.url)
    expect(page.locator("#status")).to_contain_text("Your move", timeout=SECONDS)
    yield page
    # What the server refuses, the browser calls an error.
    assert not [error for error in errors if "400 (Bad Request)" not in error]
    page.close()


def moved(page: Page, plies: int) -> None:
    """Wait until so many plies were played."""
    expect(page.locator("#moves button")).to_have_count(plies, timeout=SECONDS)


def square(page: Page, name: str, board: str = "game") -> Any:
    return page.locator(f"#{board} [data-square={name}]")


@pytest.fixture(scope="module")
def won(folder: Path) -> chess.Board:
    """A game that a person wins against the model, which always plays the same."""
    with chess.engine.SimpleEngine.popen_uci("/usr/games/stockfish") as engine:
        return won_game(ModelPlayer(load_model(str(folder), device="cpu")), chess.WHITE, engine)


def test_a_full_game_by_mouse(page: Page, won: chess.Board) -> None:
    for number, move in enumerate(won.move_stack[::2]):
        start, stop = chess.square_name(move.from_square), chess.square_name(move.to_square)
        if number % 2:
            square(page, start).click()
            assert "can be moved to" in (square(page, stop).get_attribute("aria-label") or "")
            square(page, stop).click()
        else:
            square(page, start).drag_to(square(page, stop))
        if move.promotion:
            page.locator(f"#promotion button[value={chess.piece_symbol(move.promotion)}]").click()
        moved(page, min(2 * number + 2, len(won.move_stack)))
    shown = page.locator("#moves button").all_inner_texts()
    assert " ".join(shown) == " ".join(re.sub(r"\d+\.+ ?", "", chess.Board().variation_san(won.move_stack)).split())
    square(page, "a1").click()
    assert "picked up" not in (square(page, "a1").get_attribute("aria-label") or "")


def test_a_game_by_keyboard(page: Page) -> None:
    square(page, "e2").focus()
    page.keyboard.press("Enter")
    expect(square(page, "e2")).to_have_attribute("aria-label", "e2, white pawn, picked up")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    moved(page, 2)
    expect(square(page, "e4")).to_be_focused()
    expect(square(page, "e4")).to_have_attribute("aria-label", "e4, white pawn")
    page.locator("#move").focus()
    page.keyboard.type("Nf3")
    page.keyboard.press("Enter")
    moved(page, 4)
    page.keyboard.type("Ke5")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("is illegal")
    page.locator("h1").click()
    page.keyboard.press("PageUp")
    expect(page.locator("#moves button[aria-current]")).to_have_text(re.compile("Nf3"))
    page.get_by_role("button", name="Take back").click()
    moved(page, 2)
    page.get_by_role("button", name="New game").click()
    moved(page, 0)


def test_typed_moves_up_to_the_mate_and_back(page: Page, won: chess.Board) -> None:
    for number, text in enumerate(typed(won, chess.WHITE)):
        page.locator("#move").fill(text)
        page.keyboard.press("Enter")
        moved(page, min(2 * number + 2, len(won.move_stack)))
    page.get_by_role("button", name="To the start").click()
    page.get_by_role("button", name="To the last move").click()
    expect(page.locator("#status")).to_contain_text("Checkmate")


def test_the_board_that_it_believes_in(page: Page, server: Server) -> None:
    page.locator("#move").fill("d4")
    page.keyboard.press("Enter")
    moved(page, 2)
    reply = page.locator("#moves button").nth(1).inner_text()
    board = chess.Board()
    board.push_san("d4")
    moves = ["d2d4", board.parse_san(reply).uci()]
    (position,) = server.ask("/api/look", {"moves": moves, "from": 2, "to": 3})[1]["positions"]
    wrong = 0
    for index, name in enumerate(chess.SQUARE_NAMES):
        cell = square(page, name, "belief")
        label = cell.get_attribute("aria-label") or ""
        sure = re.search(r", (\d+) % sure", label)
        assert sure and int(sure[1]) == pytest.approx(100 * position["sure"][index], abs=0.6)
        is_wrong = position["believed"][index] != position["board"][index]
        assert ("wrong" in (cell.get_attribute("class") or "")) == ("wrong:" in label) == is_wrong
        wrong += is_wrong
    expect(page.locator("#belief-says")).to_contain_text(f"{wrong} of 64 squares")
    thoughts = page.locator("#thoughts li")
    expect(thoughts).to_have_count(len(position["candidates"]))
    for number, candidate in enumerate(position["candidates"]):
        assert candidate["text"] in thoughts.nth(number).inner_text()
        assert (candidate["illegal"] or "") in thoughts.nth(number).inner_text()
    drawn = {
        move["uci"]: "illegal" if move["illegal"] else "legal"
        for move in position["candidates"]
        if move["probability"] >= 0.03
    }
    arrows = page.locator("#arrows g")
    expect(arrows).to_have_count(len(drawn))
    for number in range(len(drawn)):
        arrow = arrows.nth(number)
        assert drawn[arrow.get_attribute("data-move") or ""] == arrow.get_attribute("class")
    expect(page.locator("#illegal-says")).to_contain_text(f"{100 * position['illegal']:.1f} %")


def test_a_piece_is_erased_by_mouse_and_keyboard(page: Page, server: Server) -> None:
    page.locator("#move").fill("d4")
    page.keyboard.press("Enter")
    moved(page, 2)
    before = page.locator("#thoughts li").all_inner_texts()
    labels = {name: square(page, name, "belief").get_attribute("aria-label") or "" for name in chess.SQUARE_NAMES}
    there = [name for name, label in labels.items() if ", empty" not in label and " king" not in label]
    empty = next(name for name, label in labels.items() if f"{name}, empty" in label)
    square(page, there[0], "belief").click()
    expect(page.locator("#status")).to_contain_text(f"on {there[0]} is gone")
    expect(square(page, there[0], "belief")).to_have_class(re.compile("gone"))
    expect(page.locator("#illegal-says")).to_contain_text(f"With {there[0]} erased")
    assert page.locator("#thoughts li").all_inner_texts() != before
    square(page, empty, "belief").click()
    expect(page.locator("#status")).to_contain_text("nothing stands on")
    square(page, there[0], "belief").click()
    expect(page.locator("#status")).to_contain_text("put back")
    assert page.locator("#thoughts li").all_inner_texts() == before
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("is gone")
    page.locator("h1").click()
    page.keyboard.press("PageUp")
    expect(page.locator("#illegal-says")).to_contain_text("of its probability")


def test_a_pasted_game_is_followed(page: Page) -> None:
    moves = boards.to_moves(random_game(7, plies=40))
    page.locator("summary").click()
    page.locator("#pgn").fill(chess.Board().variation_san(moves))
    page.get_by_role("button", name="Follow").click()
    moved(page, 40)
    expect(page.locator("#status")).to_contain_text("40 moves")
    for _ in range(3):
        page.get_by_role("button", name="One move on").click()
    expect(page.locator("#moves button[aria-current]")).to_have_attribute("data-ply", "3")
    points = page.locator("#curve polyline").get_attribute("points") or ""
    assert len(points.split()) == 41
    page.locator("#pgn").fill("1. e4 e5 2. Ke5")
    page.get_by_role("button", name="Follow").click()
    expect(page.locator("#status")).to_contain_text("move 3 of this game cannot be read")


def test_black_looks_from_the_other_side(page: Page) -> None:
    page.locator("#color").select_option("black")
    moved(page, 1)
    first, other = (square(page, name).bounding_box() for name in ("h8", "a1"))
    assert first and other and first["y"] > other["y"] and first["x"] < other["x"]


def test_a_phone_and_the_dark(browser: Browser, server: Server) -> None:
    for options in (
        {"viewport": {"width": 360, "height": 740}, "has_touch": True},
        {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    ):
        page = browser.new_page(**options)  # pyright: ignore[reportArgumentType]
        page.goto(server.url)
        expect(page.locator("#status")).to_contain_text("Your move", timeout=SECONDS)
        wide = page.locator("html").evaluate("node => node.scrollWidth - node.clientWidth")
        assert wide <= 0
        if options.get("has_touch"):
            square(page, "e2").tap()
            square(page, "e4").tap()
            moved(page, 2)
        page.close()
