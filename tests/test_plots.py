"""``chesslm plot``: a figure that any reader of SVG takes, and a table whose numbers follow from the curves."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import Cli
from test_transfer import cell

from chesslm.plots import sinks_table, targets_table
from chesslm.transferred import summarize


def rows(bits: list[float]) -> list[dict[str, float]]:
    """Pairs seen double from 100."""
    return [
        {"step": n, "tokens": n, "games": 100 * 2 ** (n - 1) if n else 0, "bits_per_target": each,
         "bits_per_target_token": each / 10, "exact": 0.5}
        for n, each in enumerate(bits)
    ]  # fmt: skip


def words(svg: Path) -> set[str | None]:
    return {each.text for each in ElementTree.parse(svg).iter() if each.tag.endswith("text")}


def test_a_study(cli: Cli, tmp_path: Path) -> None:
    cells = [cell(arm, games, seed, 9 - seed) for arm in ("scratch", "text") for games in (10, 20) for seed in (1, 2)]
    (tmp_path / "study.json").write_text(json.dumps({"rows": summarize(cells)}))
    ended = cli("plot", tmp_path, "--out", tmp_path / "a.svg")
    assert ended.code == 0 and "| text | 20 | 2 | 7.500 " in ended.out
    assert {"scratch", "text", "training games", "Bits a move, human games"} <= words(tmp_path / "a.svg")


def test_runs_that_were_tracked(cli: Cli, tmp_path: Path) -> None:
    for name, bits in (("first", [50.0, 40, 4]), ("second", [60.0, 55, 25])):
        (tmp_path / name).mkdir()
        lines = [",".join(rows(bits)[0]), *(",".join(map(str, row.values())) for row in rows(bits))]
        (tmp_path / name / "target.csv").write_text("\n".join(lines) + "\n")
        (tmp_path / name / "chesslm.json").write_text(json.dumps({"dataset": {"kinds": {"uci-san": 9}}}))
    ended = cli("plot", tmp_path / "first", tmp_path / "second", "--out", tmp_path / "a.svg")
    assert ended.code == 0 and "| second | uci-san | 200 | 60.0 |" in ended.out
    assert {"first", "second", "pairs seen", "128"} <= words(tmp_path / "a.svg")


def test_pairs_needed() -> None:
    """One start and one floor for the runs of a kind: from 50, half is at 25 and 90 % at 5 if the floor is 0."""
    runs = {"a": rows([50.0, 40, 10, 5]), "b": rows([60.0, 55, 25, 12]), "game": rows([50.0, 30, 20, 10])}
    table = targets_table(runs, {"a": "uci-san", "b": "uci-san", "game": "uci"})
    assert table[2].endswith("| 141 | 400 |")
    assert table[3].endswith("| 200 | not reached |")
    # The floor of games is the lowest loss there is, 10: half of what is above it is at 30, with 9 at 29.5.
    assert table[4].endswith("| 100 (104) | 303 (323) |")


def test_falls_of_classes() -> None:
    from test_sinks import curves

    table = sinks_table({"run": curves(board=[4, 3, 1], free=[4, 3, 2])})
    assert table[2] == "| run | 1 of the lowest | 1.0 | 0.5 |"
    assert len(table) == 2 + 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["empty", "--out", "c.png"], "SVG"),
        (["empty", "--out", "c.svg"], "nothing to draw"),
        (["empty", "other/empty", "--out", "c.svg"], "two runs of one name"),
    ],
)
def test_bad_usage(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str) -> None:
    monkeypatch.chdir(tmp_path)
    ended = cli("plot", *arguments)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert says in ended.err and not (tmp_path / "c.svg").exists()
