"""Matches with real engines, some of which hang, die or cheat, and with real kills in the middle."""

import hashlib
import json
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import chess
import chess.pgn
import pytest
import torch
from conftest import Cli
from test_uci import checkpoint

from chesslm import boards
from chesslm.bundled import bundled
from chesslm.errors import InputError
from chesslm.model import load_model
from chesslm.play.choice import Style
from chesslm.play.match import match
from chesslm.play.record import Played, Player, Record, ladder_table, pair_scores
from chesslm.play.sides import engine_spec, side

pytestmark = pytest.mark.usefixtures("one_thread")
FAST = "stockfish:nodes=1"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("match") / "fresh")


def games_of(path: Path) -> list[chess.pgn.Game]:
    with path.open() as file:
        return [game for game in iter(lambda: chess.pgn.read_game(file), None) if game]


def engine(folder: Path, name: str, on_go: str) -> str:
    """A program that speaks UCI until it is to move, and then does something else."""
    script = folder / name
    script.write_text(
        f"#!{sys.executable}\nimport sys, time, os\n"
        "for line in sys.stdin:\n"
        "    if line == 'uci\\n': print('id name Broken\\nuciok', flush=True)\n"
        "    elif line == 'isready\\n': print('readyok', flush=True)\n"
        "    elif line == 'quit\\n': break\n"
        f"    elif line.startswith('go'): {on_go}\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def test_a_match_against_an_engine_and_the_random_player(fresh: Path, tmp_path: Path) -> None:
    out = tmp_path / "match.pgn"
    lines = match(str(fresh), ["random", FAST], out, games=4, at_once=3, quiet=True)
    games = games_of(out)
    assert len(games) == 8 and not any(game.errors for game in games)
    openings = {tuple(game.mainline_moves())[:8] for game in games_of(bundled("openings.pgn")[0])}
    by_pair: dict[tuple[str, str], list[chess.pgn.Game]] = {}
    for game in games:
        headers, board = game.headers, game.end().board()
        outcome = boards.outcome(board)
        assert outcome and outcome.result() == headers["Result"]
        assert headers["Termination"] == outcome.termination.name.replace("_", " ").lower()
        assert int(headers["PlyCount"]) == board.ply()
        assert tuple(board.move_stack)[:8] in openings
        pair, _ = headers["Round"].split(".")
        other = next(name for name in (headers["White"], headers["Black"]) if name != "fresh (mask)")
        by_pair.setdefault((other, pair), []).append(game)
        white = headers["White"] == "fresh (mask)"
        illegal, of, chosen = headers["WhiteIllegal" if white else "BlackIllegal"].partition(" of ")
        assert of and int(chosen) == (board.ply() - 8 + white) // 2 and 0 < int(illegal) <= int(chosen)
        assert headers["BlackIllegal" if white else "WhiteIllegal"].startswith("0 of ")
    for first, second in by_pair.values():
        assert list(first.mainline_moves())[:8] == list(second.mainline_moves())[:8]
        assert {first.headers["White"], first.headers["Black"]} == {second.headers["White"], second.headers["Black"]}
        assert first.headers["White"] != second.headers["White"]
    assert len(by_pair) == 4 and lines[0] == "fresh (mask):"
    assert [line.split(" | ")[:2] for line in lines[4:]] == [["| random", "4"], ["| Stockfish 15.1 nodes=1", "4"]]


def test_a_strict_model_loses_by_its_first_illegal_move(fresh: Path, tmp_path: Path) -> None:
    out = tmp_path / "match.pgn"
    match(str(fresh), ["random"], out, games=6, policy="strict", quiet=True)
    for game in games_of(out):
        white = game.headers["White"] == "fresh (strict)"
        assert game.headers["Termination"].startswith("illegal move ")
        assert game.headers["Result"] == ("0-1" if white else "1-0")
        assert (game.end().board().turn == chess.WHITE) == white
        assert game.headers["WhiteIllegal" if white else "BlackIllegal"].startswith("1 of ")


@pytest.mark.parametrize(
    ("on_go", "why"),
    [
        ("time.sleep(60)", "engine failed: no move in time"),
        ("os._exit(3)", "engine failed: "),
        ("print('bestmove e2e5', flush=True)", "engine failed: "),
        ("print('bestmove nonsense', flush=True)", "engine failed: "),
        ("print('bestmove (none)', flush=True)", "resigned"),
    ],
)
def test_an_engine_that_fails_loses_and_the_match_goes_on(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_go: str, why: str
) -> None:
    monkeypatch.setattr("chesslm.play.sides.SECONDS", 1.0)
    out = tmp_path / "match.pgn"
    lines = match(str(fresh), [engine(tmp_path, "broken", on_go)], out, games=4, quiet=True)
    games = games_of(out)
    assert len(games) == 4
    for game in games:
        assert game.headers["Termination"].startswith(why), game.headers["Termination"]
        assert game.headers["Result"] == ("1-0" if game.headers["White"] == "fresh (mask)" else "0-1")
    assert lines[-1].endswith(f"| {4 if 'failed' in why else 0} |") and "| 4 | 4 | 0 | 0 | 100" in lines[-1]


def test_killed_it_goes_on_with_the_games_that_are_missing(fresh: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "match.pgn"
    arguments = ["match", str(fresh), "--against", FAST, "--games", "16", "--out", str(out), "--at-once", "2"]
    process = subprocess.Popen([sys.executable, "-m", "chesslm", *arguments], stderr=subprocess.DEVNULL)
    while not (out.exists() and out.read_text().count("[Event ") >= 4):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = out.read_text()
    whole = kept[: max(kept.rfind(f"{result}\n\n") + len(result) + 2 for result in ("1-0", "0-1", "1/2-1/2"))]
    # A game that was half written when the process was killed.
    out.write_text(whole + '[Event "chesslm match"]\n[Site "?"]\n[White "fresh')
    ended = cli(*arguments)
    assert ended.code == 0, ended.err
    assert out.read_text().startswith(whole)
    games = games_of(out)
    assert len({game.headers["Round"] for game in games}) == len(games) == 16
    before = out.read_bytes()
    again = cli(*arguments)
    assert (again.code, again.out) == (0, ended.out) and out.read_bytes() == before


def test_a_model_that_was_trained_on_is_another_player(fresh: Path, tmp_path: Path, cli: Cli) -> None:
    model, out, other = tmp_path / "mine", tmp_path / "match.pgn", tmp_path / "other.pgn"
    shutil.copytree(fresh, model)
    arguments = ("match", model, "--against", "random", "--games", 2)
    assert cli(*arguments, "--out", out).code == 0
    before = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()[:8]
    assert {game.headers["White"]: game.headers.get("WhiteWeights") for game in games_of(out)} == {
        "mine (mask)": before,
        "random": None,
    }
    loaded = load_model(str(model), device="cpu")
    with torch.no_grad():
        next(loaded.model.parameters()).mul_(2)
    loaded.model.save_pretrained(model)
    (model / "chesslm.json").write_text(json.dumps({**loaded.about, "files": {}}))
    after = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()[:8]
    kept = out.read_bytes()
    ended = cli(*arguments, "--out", out)
    assert (ended.code, ended.err.strip()) == (
        2,
        f"chesslm: {out} has games of mine (mask) with other weights ({before}, not {after}); name another file",
    )
    assert out.read_bytes() == kept
    assert cli(*arguments, "--out", other).code == 0
    ended = cli("ladder", out, other)
    weights = f"weights {', '.join(sorted((before, after)))}"
    assert (ended.code, ended.err.strip()) == (2, f"chesslm: mine (mask) is 2 models in these games ({weights})")


def test_ctrl_c_says_how_it_ended(fresh: Path, tmp_path: Path) -> None:
    out = tmp_path / "match.pgn"
    command = [sys.executable, "-m", "chesslm", "match", str(fresh), "--against", FAST, "--games", "400", "--out", out]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (out.exists() and out.read_text().count("[Event ") >= 2):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=60)
    assert (process.returncode, shown) == (130, "") and said.splitlines()[-1] == "chesslm: stopped"
    assert not any(game.errors for game in games_of(out))


def test_the_same_seed_gives_the_same_games(fresh: Path, tmp_path: Path) -> None:
    def games(name: str, seed: int, at_once: int) -> list[str]:
        out = tmp_path / name
        spec = "stockfish:nodes=5,random=0.5"
        match(str(fresh), [spec], out, games=6, seed=seed, at_once=at_once, quiet=True)
        return sorted(str(game.mainline_moves()) for game in games_of(out))

    first = games("one.pgn", 1, 4)
    assert games("again.pgn", 1, 2) == first != games("other.pgn", 2, 4)


def test_a_match_that_goes_on_has_the_games_of_one_in_peace(fresh: Path, tmp_path: Path) -> None:
    out = tmp_path / "match.pgn"

    def play(at_once: int) -> list[str]:
        match(str(fresh), ["random"], out, games=6, temperature=1.0, at_once=at_once, quiet=True)
        return sorted(str(game.mainline_moves()) for game in games_of(out))

    whole = play(at_once=2)
    out.write_text("".join(f"[Event {game}" for game in out.read_text().split("[Event ")[1:3]))
    assert play(at_once=3) == whole


def test_a_ladder_from_several_matches(cli: Cli, fresh: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.pgn", tmp_path / "two.pgn"
    match("random", ["stockfish:nodes=1,random=0.8"], one, games=20, quiet=True)
    match(str(fresh), ["random"], two, games=6, quiet=True)
    lines = ladder_table([one, two], "random")
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]
    assert set(names) == {"random", "fresh (mask)", "Stockfish 15.1 nodes=1,random=0.8"}
    assert "| random | 26 | 0 |" in lines
    ended = cli("ladder", one, two)
    assert (ended.code, ended.err) == (0, "") and ended.out.splitlines() == lines
    other = tmp_path / "other.pgn"
    other.write_text('[Event "A tournament"]\n\n1. e4 1-0\n\n')
    for arguments, says in (((other,), "not of chesslm match"), ((one, "--anchor", "nobody"), "--anchor")):
        ended = cli("ladder", *arguments)
        assert (ended.code, ended.out) == (2, "") and says in ended.err


def test_games_count_once_and_whoever_was_named_first(tmp_path: Path) -> None:
    """A copy of a file adds nothing; a match the other way round, with the same openings, does."""

    def record(name: str, one: str, other: str, results: tuple[str, str]) -> Path:
        kept = Record(tmp_path / name, "seed 1")
        for number, result in enumerate(results, 1):
            players = (Player(one), Player(other)) if number == 1 else (Player(other), Player(one))
            kept.add(Played(chess.Board(), f"1.{number}", players, 0, ("0 of 1", "0 of 1"), result, "normal"))
        return tmp_path / name

    there, back = record("a.pgn", "m", "random", ("1-0", "1/2-1/2")), record("b.pgn", "random", "m", ("0-1", "1/2-1/2"))
    copy = Path(shutil.copy(there, tmp_path / "copy.pgn"))
    once, twice = ladder_table([there], "random"), ladder_table([there, back], "random")
    assert ladder_table([there, copy], "random") == once and "| random | 2 | 0 |" in once
    assert "| random | 4 | 0 |" in twice
    assert Record(back, "seed 1").of("m", "random") == [] and len(Record(back, "seed 1").of("random", "m")) == 2
    # Half a game, as a kill leaves it, is passed over.
    with there.open("a") as file:
        file.write('[Event "chesslm match"]\n[Site "?"]\n')
    assert ladder_table([there], "random") == once
    there.write_text(copy.read_text() + back.read_text().partition("0-1\n\n")[0])  # all of its headers are there
    assert ladder_table([there], "random") == once


def test_pairs_that_are_not_whole_do_not_count() -> None:
    def game(number: str, white: str, black: str, result: str) -> dict[str, str]:
        return {"Round": number, "White": white, "Black": black, "Result": result}

    games = [game("1.1", "a", "b", "1-0"), game("1.2", "b", "a", "1/2-1/2"), game("2.2", "b", "a", "0-1")]
    assert pair_scores(games, "a") == [0.75] and pair_scores(games, "b") == [0.25]


@pytest.mark.parametrize("spec", ["engines/none:nodes=10", "./none:nodes=10", "none uci checkpoints/chesslm-small"])
def test_a_command_with_a_slash_is_an_engine(spec: str) -> None:
    with pytest.raises(InputError, match=r"uci:.*: no such command"):
        side(spec, Style(), False, 1)


def test_engines_are_told_apart_by_what_they_are_limited_to() -> None:
    spec = engine_spec("stockfish:skill=3,nodes=500,random=0.25,UCI_ShowWDL=true")
    assert spec.limits == {"nodes": 500} and spec.random == 0.25
    assert spec.options == {"Skill Level": "3", "UCI_ShowWDL": "true"}
    assert spec.said == "nodes=500,random=0.25,skill=3,uci_showwdl=true"
    assert engine_spec("stockfish").limits == {"nodes": 1000} and engine_spec("stockfish:depth=2").limits == {
        "depth": 2
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--against", "random", "--games", 3), "even number"),
        (("--against", "random", "--games", 100_000), "openings, and there are"),
        (("--against", "random", "--policy", "none"), "policies are"),
        (("--against", "nobody-has-this-engine"), "no such command"),
        (("--against", "true"), "no UCI engine"),
        (("--against", "stockfish:nodes=0"), "limits are 1 or more"),
        (("--against", "stockfish:nodes=many"), "nodes is a number"),
        (("--against", "stockfish:random=2"), "random is a share"),
        (("--against", "stockfish:Nonsense=2"), "Nonsense"),
        (("--against", "random", "--temperature", -1), "temperature"),
        (("--against", "random", "--openings", "none.pgn"), "none.pgn"),
    ],
)
def test_bad_usage(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    ended = cli("match", "random", *arguments, "--out", tmp_path / "match.pgn", "--quiet")
    assert (ended.code, ended.out) == (2, ""), ended
    assert ended.err.count("\n") == 1 and says in ended.err
    assert not (tmp_path / "match.pgn").exists()


def test_other_files_are_left_alone(cli: Cli, tmp_path: Path) -> None:
    mine = tmp_path / "mine.pgn"
    mine.write_text('[Event "Mine"]\n\n1. e4 e5 1-0\n\n')
    ended = cli("match", "random", "--against", FAST, "--games", 2, "--out", mine)
    assert ended.code == 2 and "other games" in ended.err and mine.read_text().startswith('[Event "Mine"]')
    ended = cli("match", "random", "--against", "random", "--games", 2, "--out", tmp_path / "m.pgn")
    assert ended.code == 2 and "both sides" in ended.err
