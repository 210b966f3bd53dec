"""chesslm generate and the bundled games: legal, fair, reproducible, and clean when something goes wrong."""

import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO, cast

import chess
import chess.pgn
import fsspec
import pytest
import zstandard
from scipy import stats

from chesslm import engines
from chesslm import generate as generating
from chesslm.errors import FailureError, InputError
from chesslm.files import sha256
from chesslm.generate import MAX_PLIES, generate

BUNDLES = Path(__file__).parent.parent / "games"
STOCKFISH = "uci:stockfish"


def read(text: str) -> list[chess.pgn.Game]:
    stream = io.StringIO(text)
    games = list(iter(lambda: chess.pgn.read_game(stream), None))
    assert not any(game.errors for game in games)
    return games


def check_game(game: chess.pgn.Game, claims: bool) -> None:
    """The result, how it ended and the SAN are what python-chess makes of the moves."""
    board = game.end().board()
    termination, result = game.headers["Termination"], game.headers["Result"]
    outcome = board.outcome()
    if outcome:
        assert (result, termination) == (outcome.result(), outcome.termination.name.replace("_", " ").lower())
    elif termination == "unterminated":
        assert result == "*"
        assert board.ply() == MAX_PLIES
    else:
        assert claims
        assert result == "1/2-1/2"
        assert board.is_repetition(3) if termination == "threefold repetition" else board.halfmove_clock >= 100


def export(game: chess.pgn.Game) -> str:
    return game.accept(chess.pgn.StringExporter(headers=False, columns=80))


def movetext(pgn: str) -> list[str]:
    return re.findall(r"\n\n(1\. .*?)\n\n", pgn, re.DOTALL)


# Random games


def test_random_games_are_legal_and_say_how_they_ended():
    pgn = "".join(generating.random_games(range(30), seed=3))
    games = read(pgn)
    assert len(games) == 30
    for game in games:
        check_game(game, claims=False)
    # Letter by letter what python-chess would write: SAN, line breaks and all.
    assert movetext(pgn) == [export(game) for game in games]
    assert len({game.headers["Termination"] for game in games}) > 2


def test_random_moves_are_uniform(monkeypatch):
    monkeypatch.setattr(generating, "MAX_PLIES", 2)
    games = generating.random_games(range(4000), seed=6)
    white, black = zip(*(re.findall(r"1\. (\S+) (\S+)", game)[0] for game in games), strict=True)
    # Neither single draws nor pairs of them lean to a side, though the seeds of the games are neighbours.
    for moves, kinds in ((white, 20), (list(zip(white, black, strict=True)), 400)):
        counts = Counter(moves)
        assert len(counts) <= kinds
        assert stats.chisquare([*counts.values(), *[0] * (kinds - len(counts))]).pvalue > 0.001


def test_the_number_of_workers_changes_nothing(tmp_path):
    for workers in (1, 3):
        generate(tmp_path / f"{workers}.pgn.zst", games=20, seed=4, workers=workers, quiet=True)
    assert sha256(tmp_path / "1.pgn.zst") == sha256(tmp_path / "3.pgn.zst")
    generate(tmp_path / "other.pgn.zst", games=20, seed=5, workers=2, quiet=True)
    texts = [zstandard.open(tmp_path / name, "rt").read() for name in ("1.pgn.zst", "other.pgn.zst")]
    assert not set(movetext(texts[0])) & set(movetext(texts[1]))
    assert texts[0] == "".join(generating.random_games(range(20), seed=4))


@pytest.mark.parametrize(("ending", "magic"), [(".gz", b"\x1f\x8b"), (".bz2", b"BZh"), (".zst", b"\x28\xb5\x2f\xfd")])
def test_the_name_says_how_it_is_compressed(tmp_path, cli, ending, magic):
    out = tmp_path / f"games.pgn{ending}"
    done = cli("generate", out, "--games", 3, "--seed", 8, "--workers", 1)
    assert (done.code, done.out, done.err) == (0, f"{out}: 3 games\n", "")
    assert out.read_bytes().startswith(magic)
    first = sha256(out)
    generate(out, games=3, seed=8, workers=2, quiet=True)
    assert sha256(out) == first
    with fsspec.open(str(out), "rt", compression="infer") as stream:
        assert cast(IO[str], stream).read() == "".join(generating.random_games(range(3), seed=8))


# Engine games


def test_stockfish_games_vary_and_come_out_the_same_again(tmp_path):
    one, two = tmp_path / "one.pgn", tmp_path / "two.pgn"
    generate(one, games=12, by=STOCKFISH, seed=9, workers=1, quiet=True)
    generate(two, games=12, by=STOCKFISH, seed=9, workers=3, quiet=True)
    assert one.read_bytes() == two.read_bytes()
    games = read(one.read_text())
    assert len(games) == 12
    for game in games:
        check_game(game, claims=True)
    assert movetext(one.read_text()) == [export(game) for game in games]
    players = [game.headers[color] for game in games for color in ("White", "Black")]
    assert all(re.fullmatch(r"Stockfish \S+, \d+ nodes(, \d+% random)?", player) for player in players)
    assert len(set(players)) > 20
    assert len({game.headers["RandomOpeningPlies"] for game in games}) > 3
    assert len({str(list(game.mainline_moves())[:12]) for game in games}) == 12


FAKE_ENGINE = """#!{python}
import sys, time
for line in sys.stdin:
    word = line.split()[0]
    if word == "uci":
        print('id name My "Fake"\\noption name Hash type spin default 4 min 2 max 8\\nuciok', flush=True)
    elif word == "isready":
        print("readyok", flush=True)
    elif word == "go":
        {go}
"""


@pytest.fixture
def fake_engine(tmp_path):
    """Makes an executable that speaks UCI, but does as told on ``go``."""

    def make(go: str) -> str:
        path = tmp_path / "fake-engine"
        path.write_text(FAKE_ENGINE.format(python=sys.executable, go=go))
        path.chmod(0o755)
        return f"uci:{path}"

    return make


def test_an_engine_may_be_called_anything(fake_engine, monkeypatch):
    monkeypatch.setattr(generating, "OPENING_PLIES", (generating.MAX_PLIES, generating.MAX_PLIES))
    command = engines.engine_command(fake_engine("pass")[4:])
    (game,) = read(generating.engine_games(range(1), seed=2, command=command)[0])
    assert game.headers["White"].startswith("My 'Fake', ")


@pytest.mark.parametrize(
    ("go", "says"),
    [
        ("sys.exit(3)", "died"),
        ("pass", "no move"),
        ('print("bestmove e2e5", flush=True)', "rules"),
        ('print("bestmove (none)", flush=True)', "rules"),
    ],
)
def test_an_engine_that_fails_ends_it(tmp_path, fake_engine, monkeypatch, go, says):
    monkeypatch.setattr(engines, "ENGINE_SECONDS", 1.0)
    with pytest.raises(FailureError, match=says):
        generating.engine_games(range(1), seed=1, command=engines.engine_command(fake_engine(go)[4:]))


@pytest.mark.parametrize(
    ("go", "says"),
    [("raise SystemExit('my last words')", "died"), ('print("what?\\nbestmove e9e9", flush=True)', "rules")],
)
def test_an_engine_that_fails_is_one_line_and_leaves_nothing(tmp_path, run_cli, fake_engine, go, says):
    engine = fake_engine(go)
    out = tmp_path / "out" / "games.pgn.zst"
    out.parent.mkdir()
    done = run_cli("generate", out, "--games", "200", "--by", engine, "--workers", "2")
    assert done.code == 1
    assert re.fullmatch(rf"chesslm: \S+fake-engine: .*{says}.*\n", done.err)
    assert not list(out.parent.iterdir())


@pytest.mark.parametrize("command", ["true", "cat", "no-such-engine --fast", "'", ""])
def test_a_command_that_is_no_engine_is_bad_input(tmp_path, monkeypatch, command):
    monkeypatch.setattr(engines, "ENGINE_SECONDS", 1.0)
    with pytest.raises(InputError, match=r"engine|quotation"):
        generating.engine_games(range(1), seed=1, command=engines.engine_command(command))


# What can be wrong outside


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing/games.pgn", "--games", 3],
        ["games.pgn", "--games", 0],
        ["games.pgn", "--games", 3, "--by", "magic"],
        ["games.pgn", "--games", 3, "--by", "uci:no-such-engine"],
        ["games.pgn", "--games", 3, "--workers", -1],
        ["a-folder", "--games", 3],
        ["games.pgn"],
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, cli, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-folder").mkdir()
    done = cli("generate", *arguments)
    assert done.code == 2
    assert done.err.startswith("chesslm: ")
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["a-folder"]


def test_a_full_disk_is_one_line(tmp_path):
    out = tmp_path / "games.pgn"
    # The shell's limit on a file's size stands in for a full disk: the same failing write, another errno.
    command = f"ulimit -f 64; exec {sys.executable} -m chesslm generate {out} --games 400 --workers 1 --quiet"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3, 1.5])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_cleanly_at_any_moment(tmp_path, number, code, seconds):
    engine = tmp_path / "engine"
    engine.symlink_to(engines.engine_command("stockfish")[0])
    command = [sys.executable, "-m", "chesslm", "generate", str(tmp_path / "games.pgn"), "--games", "100000"]
    # A group of its own, so that the signal reaches the workers too, as Ctrl-C in a terminal does.
    run = subprocess.Popen(
        [*command, "--by", f"uci:{engine}", "--workers", "2"], stderr=subprocess.PIPE, process_group=0
    )
    while len(list(tmp_path.iterdir())) < 2:  # the temporary file
        assert run.poll() is None
        time.sleep(0.01)
    time.sleep(seconds)
    os.killpg(run.pid, number)
    _, errors = run.communicate(timeout=20)
    assert run.returncode == code
    assert errors.decode().strip() == ("chesslm: stopped" if number == signal.SIGINT else "")
    assert list(tmp_path.iterdir()) == [engine]
    wait_until_gone(run.pid, engine)


def test_workers_and_engines_end_when_the_parent_is_killed(tmp_path, fake_engine):
    # An engine that does not notice that nobody listens any more, as one that hangs would not.
    engine = fake_engine(f"open({str(tmp_path / 'asked')!r}, 'w').close(); time.sleep(600)")
    command = [sys.executable, "-m", "chesslm", "generate", str(tmp_path / "games.pgn"), "--games", "9"]
    run = subprocess.Popen([*command, "--by", engine, "--workers", "2", "--quiet"], process_group=0)
    while not (tmp_path / "asked").exists():
        assert run.poll() is None
        time.sleep(0.05)
    run.kill()
    run.wait()
    wait_until_gone(run.pid, tmp_path / "fake-engine")


def wait_until_gone(group: int, engine: Path) -> None:
    """Wait until no process of a process group and none that runs an engine is alive."""
    deadline = time.monotonic() + 20
    while True:
        listing = subprocess.run(["ps", "-e", "-o", "pgid=,stat=,args="], capture_output=True, text=True).stdout
        lines = [line.split(maxsplit=2) for line in listing.splitlines()]
        left = [
            args for pgid, state, args in lines
            if not state.startswith("Z") and (int(pgid) == group or str(engine) in args.split())
        ]  # fmt: skip
        if not left:
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


# The bundled games


@pytest.mark.parametrize(("name", "games"), [("engine", 22000), ("random", 5000)])
def test_a_bundle_is_what_its_readme_says(name, games):
    path = BUNDLES / f"bundle-{name}.pgn.zst"
    text = zstandard.open(path, "rt").read()
    readme = (BUNDLES / "README.md").read_text()
    assert sha256(path) in readme
    assert hashlib.sha256(text.encode()).hexdigest() in readme
    moves = movetext(text)
    assert len(moves) == games
    assert len(set(moves)) == games
    plies = sum(len(line.split()) - 1 - line.count(". ") for line in (move.replace("\n", " ") for move in moves))
    assert f"{plies:,}" in readme
    for result, count in Counter(re.findall(r'\[Result "(.*)"\]', text)).items():
        assert f"{result} {count:,}" in readme
    sample = re.split(r"\n\n(?=\[Event)", text)[:: games // 50]
    for game in read("\n\n".join(sample)):
        check_game(game, claims=name == "engine")


def test_the_bundles_are_small():
    assert sum(path.stat().st_size for path in BUNDLES.glob("*.zst")) < 15_000_000


@pytest.mark.parametrize("name", ["engine", "random"])
def test_the_first_games_of_a_bundle_come_out_again(name):
    text = zstandard.open(BUNDLES / f"bundle-{name}.pgn.zst", "rt").read()
    if name == "random":
        again = generating.random_games(range(20), seed=2027)
    else:
        version = re.findall(r'\[White "(.*?),', text)[0]
        again = generating.engine_games(range(5), seed=2026, command=engines.engine_command("stockfish"))
        if f'[White "{version},' not in again[0]:
            pytest.skip(f"the bundle was made by {version}; another version plays other games")
    assert text.startswith("".join(again))
