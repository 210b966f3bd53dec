"""The report page: real results in, a page that shows them, is well formed, self-contained and safe."""

import copy
import json
import math
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chesslm import boards, charts, report, tables
from chesslm.errors import InputError
from chesslm.eval.baselines import MOVES, UniformLegal, fit_ngram
from chesslm.eval.legality import HeldOut, legality
from chesslm.eval.novel import first_novel_ply
from chesslm.eval.positions import find_positions
from chesslm.eval.results import results_object
from chesslm.game import Game
from chesslm.shards import open_dataset

VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """A page taken apart; every tag must be closed in its order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(" ".join(data.split()))

    def count(self, tag: str, **attributes: str) -> int:
        return sum(name == tag and attributes.items() <= has.items() for name, has in self.tags)


@pytest.fixture(scope="module")
def results(tiny_games: list[boards.MoveCodes], tiny_dataset: Path) -> list[dict[str, Any]]:
    """Both baselines measured on tiny games, once as held-out games and once as random ones."""
    games, train = tiny_games[:24], open_dataset(tiny_dataset).splits["train"]
    data = {"path": "games.pgn", "sha256": "aa", "games": len(games), "seed": 1}
    about = {**data, "random": {**data, "path": "random legal moves"}}
    with ThreadPoolExecutor(2) as pool:
        held = HeldOut(
            [Game(game) for game in games],
            find_positions(games, pool),
            first_novel=first_novel_ply(games, train, MOVES),
        )
        measured = {
            "n-gram": legality(fit_ngram(train, MOVES, games), held, pool),
            "uniform": legality(UniformLegal(), held, pool),
        }
    return json.loads(
        json.dumps(
            [
                results_object(
                    {"path": f"baselines/{name}", "sha256": name, "parameters": 7_011_328, "notation": "uci-move"},
                    about,
                    {"legality": result, "legality-random": result},
                )
                for name, result in measured.items()
            ]
        )
    )


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model" / "run"
    folder.mkdir(parents=True)
    columns = (
        "step,tokens,minutes,loss,bits_per_move,val_bits_per_move,val_legal_argmax,tokens_per_second,learning_rate"
    )
    lines = [f"{s},{s * 4000},0.1,1.5,{9 - s / 20},{9.1 - s / 20},{s / 100},4500,0.002" for s in range(0, 100, 20)]
    lines += ["100,400000,0.5,1.2,4.1,,,4500,0.002", "120,480000,0.6,,nan"]
    (folder / "metrics.csv").write_text("\n".join([columns, *lines]))
    about = {"seed": 3, "revision": "abc123", "trained": {"steps": 1234, "tokens": 480_000, "device": "cpu"}}
    recipe = {"model": {"layers": 4}, "train": {"optimizer": "muon"}}
    (folder.parent / "chesslm.json").write_text(json.dumps({**about, "recipe": recipe}))
    return folder


def test_shows_every_figure(results: list[dict[str, Any]], run_folder: Path, tmp_path: Path) -> None:
    report.write_report(results, tmp_path / "report.html", run_folder)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    for each in results:
        for key, metric in each["suites"]["legality"]["metrics"].items():
            cell = tables.cell(metric, tables.about_metric(key))
            assert cell and cell.text.replace("\u00a0", " ") in page.texts, key
    # Both sets of games: legality by ply, calibration; and two learning curves.
    assert page.count("svg", role="img") == 2 * 2 + 2
    for text in (
        "n-gram",
        "uniform",
        "7,011,328",
        "games.pgn",
        "abc123",
        "480,000",
        "muon",
        "path blocked",
        "middlegame",
    ):
        assert text in page.texts, text
    assert "Legality off the beaten track: random legal moves" in page.texts
    # Rows are as long as the header: a label and a column for each model.
    assert page.count("th", scope="col") == 2 * 3 * 2
    assert page.count("td") == 2 * (page.count("th", scope="row")) + page.count("th", scope="col") // 2


def test_is_self_contained_and_the_same_each_time(results: list[dict[str, Any]], run_folder: Path) -> None:
    html = report.render(results, run_folder)
    assert html == report.render(copy.deepcopy(results), run_folder)
    page = Page(html)
    assert not page.count("script") and not page.count("img") and "@import" not in html and "url(" not in html
    for tag, attributes in page.tags:
        assert not {"src", "srcset", "xlink:href"} & set(attributes), tag
        assert attributes.get("href", "data:,") == "data:,"
        assert not any(name.startswith("on") for name in attributes)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes} == set(ids)


def test_every_figure_is_defined_in_the_docs(results: list[dict[str, Any]]) -> None:
    text = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    legal = results[0]["suites"]["legality"]
    keys = {*tables.METRICS, *legal["metrics"], *legal["by"]} - {report.KINDS, report.CALIBRATION}
    assert [key for key in keys if f"`{key}`" not in text] == []
    assert [kind for kind in boards.Illegal if kind.value not in text] == []
    # What the report names is what the suite measures.
    assert set(legal["metrics"]) <= set(tables.METRICS)
    assert set(report.BREAKDOWNS) - {"source"} <= set(legal["by"])
    assert {report.PLY, report.KINDS, report.CALIBRATION} <= set(legal["by"])


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=y>{{ 7*7 }}\ud800"


def test_names_are_escaped(results: list[dict[str, Any]], run_folder: Path, tmp_path: Path) -> None:
    results = copy.deepcopy(results)
    for each in results:
        each["model"]["path"] = each["data"]["path"] = each["data"]["random"]["path"] = each["created"] = HOSTILE
        suites = each["suites"]
        suites["legality"]["metrics"][HOSTILE] = {"value": 1.5, "low": None, "high": None, "n": 3}
        suites["legality"]["by"][HOSTILE] = {HOSTILE: suites["legality"]["by"]["phase"]["opening"]}
        suites["legality"]["by"]["illegal"] = {HOSTILE: {"share": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3}}}
        suites[HOSTILE] = suites["legality-random"]
    (run_folder.parent / "chesslm.json").write_text(json.dumps({"recipe": {HOSTILE: {HOSTILE: HOSTILE}}}))
    report.write_report(results, tmp_path / "report.html", run_folder)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not page.count("script") and not page.count("img")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    shown = HOSTILE.replace("\ud800", "?")
    assert sum(shown in text for text in page.texts) >= 10


@pytest.mark.parametrize("nothing", [[], [{}], [{"model": None, "data": 3, "suites": {"legality": {"metrics": {}}}}]])
def test_missing_pieces_are_left_out(nothing: list[Any], tmp_path: Path) -> None:
    page = Page(report.render(nothing, tmp_path / "no-such-run"))
    assert not page.count("table") and not page.count("svg") and not page.count("section")


def test_what_is_not_a_number_is_left_out(results: list[dict[str, Any]]) -> None:
    results = copy.deepcopy(results)
    legal = results[0]["suites"]["legality"]
    whole = Page(report.render(results))
    for n, key in enumerate(list(legal["metrics"])):
        legal["metrics"][key]["value"] = [None, math.nan, math.inf, "lots", {}, 1e300][n % 6]
    legal["by"] = {"phase": None, "ply": {"no range": legal["by"]["ply"]["0-19"], "3": 4}, "calibration": [1]}
    page = Page(report.render(results))
    assert page.count("svg", role="img") == whole.count("svg", role="img")
    assert page.texts.count("–") > whole.texts.count("–") + 10
    for text in ("nan", "inf", "None", "lots"):
        assert not any(text in shown.split() for shown in page.texts)


def test_like_named_models_are_told_apart(results: list[dict[str, Any]]) -> None:
    results = copy.deepcopy(results)
    results[0]["model"].update(path="one/model")
    results[1]["model"].update(path="two/model")
    assert {"one/model", "two/model"} <= set(Page(report.render(results)).texts)
    results[1]["model"].update(path="one/model", sha256="bbbbbbbbbbbb")
    assert {"one/model n-gram", "one/model bbbbbbbb"} <= set(Page(report.render(results)).texts)


def test_a_page_that_cannot_be_written_leaves_nothing(results: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        report.write_report(results, tmp_path / "nowhere" / "report.html")
    assert not list(tmp_path.iterdir())
    kept = tmp_path / "report.html"
    kept.write_text("before")
    with pytest.raises(AttributeError):
        report.write_report([None], kept)  # pyright: ignore[reportArgumentType]
    assert kept.read_text() == "before" and list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.8743, "rate", "87.4 %"),
        (0.99874, "rate", "99.87 %"),
        (0.0042, "rate", "0.42 %"),
        (1, "rate", "100 %"),
        (0, "rate", "0 %"),
        (5.3219, "bits", "5.32"),
        (41234.0, "count", "41,234"),
        (57.84, "plies", "57.8"),
    ],
)
def test_figures_as_text(value: float, unit: str, text: str) -> None:
    cell = tables.cell({"value": value, "low": 0.5, "high": 1, "n": 3}, tables.About("", unit, ""))
    assert cell and cell.text == text.replace(" %", tables.PERCENT)


finite = st.floats(-1e9, 1e9)


@given(finite, finite, st.integers(2, 8))
def test_ticks_cover_the_values(a: float, b: float, most: int) -> None:
    low, high = min(a, b), max(a, b)
    ticks = charts.ticks(low, high, most)
    steps = np.diff(ticks)
    slack = 1e-6 * steps[0]
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= most + 3
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    mantissa = f"{steps[0]:.6e}".partition("e")[0]
    assert low == high or float(mantissa) in (1, 2, 5)


points = st.lists(st.tuples(st.floats(0, 1e7), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20)


@given(points, st.booleans())
def test_charts_stay_within_their_frame(points: list[tuple[float, float, float]], diagonal: bool) -> None:
    x, y, _ = zip(*points, strict=True)
    x = [value / 1e7 for value in x] if diagonal else x
    line = charts.Series("line", 0, x, y, [min(y, o) for _, y, o in points], [max(y, o) for _, y, o in points])
    chart = charts.line_chart("title", [line], "x", "{:g}".format, y_limits=(0, 1), diagonal=diagonal)
    drawn = [tuple(map(float, pair.split(","))) for pair in (chart.lines[0].points + " " + chart.lines[0].band).split()]
    drawn += [(at, chart.bottom) for at, _ in chart.x_ticks] + [(chart.left, at) for at, _ in chart.y_ticks]
    assert len(chart.lines[0].band.split()) == 2 * len(points)
    assert all(chart.left <= x <= chart.right and chart.top <= y <= chart.bottom for x, y in drawn)
    # Up is more.
    heights = {dot.y for dot, value in zip(chart.lines[0].dots, y, strict=True) if value == max(y)}
    assert heights == {min(dot.y for dot in chart.lines[0].dots)}
