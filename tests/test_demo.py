"""The demonstration, really run: on a small bundle, with three seconds of training."""

import json
import shlex
from pathlib import Path

import pytest
import zstandard
from conftest import Cli, Ended

from chesslm.bundled import bundled
from chesslm.demo import LIMIT, RANDOM_GAMES
from chesslm.errors import InputError


@pytest.fixture(scope="module")
def folder(tiny_pgn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with bundled games of its own."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "games").mkdir()
    bundle = zstandard.ZstdCompressor().compress(tiny_pgn.read_bytes())
    (folder / "games" / "bundle-tiny.pgn.zst").write_bytes(bundle)
    return folder


@pytest.fixture(scope="module")
def ended(folder: Path, run_cli: Cli) -> Ended:
    return run_cli("demo", "--minutes", "0.05", cwd=folder)


def next_commands(ended: Ended) -> list[list[str]]:
    """The commands that its last lines name."""
    lines = ended.out.partition("Now you can")[2].splitlines()
    return [shlex.split(line.partition("-m chesslm ")[2]) for line in lines if "-m chesslm " in line]


def test_it_leaves_a_dataset_a_model_results_and_a_report(folder: Path, ended: Ended):
    assert ended.code == 0, ended.err
    demo = folder / "demo"
    assert {path.name for path in demo.iterdir()} == {"data", "model", "results.json", "report.html"}
    assert (demo / "data" / "meta.json").is_file() and (demo / "model" / "config.json").is_file()
    results = json.loads((demo / "results.json").read_text())
    mine = next(result for result in results if result["model"]["path"] == "demo/model")
    assert mine["suites"].keys() == {"legality", "legality-random"}
    held_out = json.loads((demo / "data" / "meta.json").read_text())["splits"]["test"]["games"]
    assert mine["data"]["games"] == min(LIMIT, held_out)
    assert mine["data"]["random"]["games"] == RANDOM_GAMES
    page = (demo / "report.html").read_text()
    assert "demo/model" in page and "<svg" in page


def test_its_last_words_name_the_report_and_commands_that_work(folder: Path, ended: Ended, run_cli: Cli):
    assert "Open demo/report.html" in ended.out
    commands = next_commands(ended)
    assert [command[0] for command in commands] == ["play", "play", "evaluate", "train"]
    played = run_cli(*commands[0], input="e4\nquit\n", cwd=folder)
    assert played.code == 0 and "1. e4" in played.out
    for command in commands:
        # Options are read before help is given: an unknown one would be an error.
        assert run_cli(*command, "--help", cwd=folder).code == 0


def test_it_does_not_touch_an_earlier_one(folder: Path, ended: Ended, run_cli: Cli):
    before = (folder / "demo" / "results.json").read_bytes()
    again = run_cli("demo", cwd=folder)
    assert (again.code, again.out) == (2, "")
    assert again.err == "chesslm: demo exists already; choose another --out or remove it first\n"
    assert (folder / "demo" / "results.json").read_bytes() == before


def test_the_bundled_games_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    found = bundled("bundle-*.pgn.zst")
    assert found and all(path.is_file() for path in found)
    (tmp_path / "games").mkdir()
    (tmp_path / "games" / "bundle-mine.pgn.zst").touch()
    assert bundled("bundle-*.pgn.zst") == [Path("games/bundle-mine.pgn.zst")]


def test_without_games_it_says_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("chesslm.bundled.__file__", str(tmp_path / "site-packages" / "chesslm" / "bundled.py"))
    with pytest.raises(InputError, match=r"no bundled games .* clone of the repository"):
        bundled("bundle-*.pgn.zst")
