"""``chesslm plot``: a figure that any reader of SVG takes, and a table whose numbers follow from the curves."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import Cli
from scipy import stats
from test_transfer import cell

from chesslm.learning import Curve, mean_curve, read_curve
from chesslm.plots import parts_table, sinks_table, targets_table
from chesslm.seeds import by_recipe, half_of_difference, pooled, spreads
from chesslm.transferred import summarize


def targets(bits: list[float]) -> Curve:
    """Pairs seen double from 100."""
    steps, loss = np.arange(float(len(bits))), np.array(bits)
    games = np.where(steps > 0, 100 * 2.0 ** (steps - 1), 0)
    return {"step": steps, "games": games, "bits_per_target": loss, "bits_per_target_token": loss / 10,
            "exact": np.full(len(bits), 0.5)}  # fmt: skip


def words(svg: Path) -> set[str | None]:
    return {each.text for each in ElementTree.parse(svg).iter() if each.tag.endswith("text")}


def test_a_study(cli: Cli, tmp_path: Path) -> None:
    cells = [cell(arm, games, seed, 9 - seed) for arm in ("scratch", "text") for games in (10, 20) for seed in (1, 2)]
    (tmp_path / "study.json").write_text(json.dumps({"rows": summarize(cells)}))
    ended = cli("plot", tmp_path, "--out", tmp_path / "a.svg")
    assert ended.code == 0 and "| text | 20 | 2 | 1 | 7.500 " in ended.out
    assert {"scratch", "text", "training games", "Bits a move, human games"} <= words(tmp_path / "a.svg")


def test_runs_that_were_tracked(cli: Cli, tmp_path: Path) -> None:
    for name, bits in (("first", [50.0, 40, 4]), ("second", [60.0, 55, 25])):
        (tmp_path / name).mkdir()
        lines = [
            ",".join(targets(bits)),
            *(",".join(map(str, row)) for row in zip(*targets(bits).values(), strict=True)),
        ]
        (tmp_path / name / "target.csv").write_text("\n".join(lines) + "\n")
        (tmp_path / name / "chesslm.json").write_text(json.dumps({"dataset": {"kinds": {"uci-san": 9}}}))
    ended = cli("plot", tmp_path / "first", tmp_path / "second", "--out", tmp_path / "a.svg")
    assert ended.code == 0 and "| second | uci-san | 1 | 200 | 60.0 |" in ended.out
    assert ended.out.endswith("\n\nuci-san: from 50.0 bits to a floor of 0.00.\n")
    assert {"first", "second", "pairs seen", "128"} <= words(tmp_path / "a.svg")


def test_pairs_needed() -> None:
    """One start and one floor for the runs of a kind: from 50, half is at 25 and 90 % at 5 if the floor is 0."""
    runs = {
        "a": [targets([50.0, 40, 10, 5])],
        "b": [targets([60.0, 55, 25, 12])],
        "game": [targets([50.0, 30, 20, 10])],
    }
    table = targets_table(runs, {"a": "uci-san", "b": "uci-san", "game": "uci"})
    assert table[2].endswith("| 141 | 400 |")
    assert table[3].endswith("| 200 | not reached |")
    # The floor of games is the lowest loss there is, 10: half of what is above it is at 30; with 5 at 27.5 and 9.5.
    assert table[4].endswith("| 100 (119) | 303 (not reached) |")


def test_means_over_seeds() -> None:
    """Half of 50 bits is left after 200 and 400 pairs, the geometric mean 283; one seed never came down to 5."""
    runs = {"a": [targets([50.0, 40, 25, 5]), targets([50.0, 40, 30, 25])], "b": [targets([50.0, 45, 40, 30])]}
    table = targets_table(runs, dict.fromkeys(runs, "uci-san"))
    # The logarithms are log(283) -+ log(2) / 2, so their deviation is log(2) / sqrt(2); with one degree of freedom.
    half = stats.t.ppf(0.975, 1) * np.log(2) / 2
    low, high = (f"{200 * 2**0.5 * np.exp(side * half):,.0f}" for side in (-1, 1))
    assert table[2] == (
        f"| a | uci-san | 2 | 400 | 50.0 | 15.00 | 50.0% | 283 ({low} to {high}) | not reached by 1 of 2 |"
    )
    assert table[3].endswith("| not reached | not reached |")


def test_runs_that_differ_in_their_seed_alone(tmp_path: Path) -> None:
    def run(name: str, seed: int, rate: float = 1.0, initial: str = "a") -> Path:
        recipe = {"train": {"seed": seed, "rate": rate}, "init": {"model": "text"}}
        (tmp_path / name).mkdir()
        about = {"recipe": recipe, "dataset": {"sha256": "d"}, "init": {"sha256": initial}}
        (tmp_path / name / "chesslm.json").write_text(json.dumps(about))
        return tmp_path / name

    first, tenth, other, faster = run("text-1", 1), run("text-10", 10), run("other-1", 1, initial="b"), run("f-1", 1, 2)
    assert by_recipe([first, other, tenth, faster]) == {"text": [first, tenth], "other-1": [other], "f-1": [faster]}
    (tmp_path / "begun").mkdir()
    assert by_recipe([tmp_path / "begun", first]) == {"begun": [tmp_path / "begun"], "text-1": [first]}


def test_a_log_that_a_kill_cut_short(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "target.csv"
    path.write_text("step,games,bits_per_target\n0,0,9\n1,100,8\n2,2")
    curve = read_curve(path)
    assert {name: values.tolist() for name, values in curve.items()} == {
        "step": [0, 1], "games": [0, 100], "bits_per_target": [9, 8]
    }  # fmt: skip
    path.write_text("something else\n")
    ended = cli("plot", tmp_path, "--out", tmp_path / "a.svg")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "target.csv: no learning curve" in ended.err


def test_falls_of_classes() -> None:
    from test_sinks import curves

    table = sinks_table({"run": [curves(board=[4, 3, 1], free=[4, 3, 2])]})
    assert table[2] == "| run | 1 of the lowest | 1.0 | 0.5 |"
    assert len(table) == 2 + 4
    seeds = [curves(board=[4, 3, 1]), curves(board=[4, 3, 2, 1])]
    assert sinks_table({"run": seeds})[2].startswith("| run | 1 of the lowest | 1.5 (")
    assert mean_curve(seeds)["board_bits"].tolist() == [4, 3, 1.5]


def test_where_bits_are_lost() -> None:
    """Of 10 bits a move 2 at the board's tokens; of 8 at free ones a quarter to legality."""

    def run(last: float) -> Curve:
        bits = {
            "bits_per_move": np.array([20, 16, 12, last]),
            "board_loss": np.full(4, 0.2),
            "free_loss": np.full(4, 0.8),
        }
        free = {"free_bits": np.full(4, 4.0), "free_legality_bits": np.full(4, 1.0)}
        return {"step": np.array([0, 1, 4, 16]), "games": np.array([0, 10, 40, 160]), **bits, **free}

    table = parts_table({"one": [run(10)], "other": [run(9)]})
    assert table[2] == "| one | 10 | 1 | 16.000 | 3.200 | 0.000 | 3.200 | 9.600 |" and len(table) == 2 + 3 * 3
    assert table[-3:] == [
        "| one | 160 | 1 | 10.000 | 2.000 | 0.000 | 2.000 | 6.000 |",
        "| other | 160 | 1 | 9.000 | 1.800 | 0.000 | 1.800 | 5.400 |",
        "| other less one | 160 |  | -1.000 | -0.200 | +0.000 | -0.200 | -0.600 |",
    ]
    # Two seeds of each, one bit apart: a deviation of sqrt(1/2) on 2 degrees of freedom.
    table = parts_table({"one": [run(10), run(11)], "other": [run(8), run(9)]})
    half = stats.t.ppf(0.975, 2) * 0.5**0.5
    assert table[-3].startswith(
        f"| one | 160 | 2 | 10.500 ({10.5 - half / 2**0.5:.3f} to {10.5 + half / 2**0.5:.3f}) |"
    )
    assert table[-1].startswith(f"| other less one | 160 |  | -2.000 ({-2 - half:+.3f} to {-2 + half:+.3f}) |")


def test_runs_from_permuted_weights_have_a_spread_of_their_own() -> None:
    draw = np.random.default_rng(1)
    groups = {"a": draw.normal(0, 1, 3), "b": draw.normal(0, 1, 4), "p": draw.normal(0, 5, 5)}
    found = spreads(groups, {"p"})
    assert found["a"] is found["b"] == pooled([groups["a"], groups["b"]]) and found["p"] == pooled([groups["p"]])
    pairs = {(one, other): half_of_difference(*((found[each], len(groups[each])) for each in (one, other)))
             for one, other in (("a", "b"), ("a", "p"), ("b", "p"))}  # fmt: skip
    assert pairs["a", "b"] == pytest.approx(_half(stats.ttest_ind(groups["a"], groups["b"])))
    alone = spreads(groups, {"a", "b", "p"})
    for one, other in pairs:
        half = half_of_difference((alone[one], len(groups[one])), (alone[other], len(groups[other])))
        assert half == pytest.approx(_half(stats.ttest_ind(groups[one], groups[other], equal_var=False)))
    assert np.isnan(half_of_difference((pooled([]), 1), (found["a"], 3)))


def _half(test: Any) -> float:
    """Half the width of its 95 % interval."""
    low, high = test.confidence_interval()
    return (high - low) / 2


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
