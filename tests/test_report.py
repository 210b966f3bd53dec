"""The report page: real results in, a page that shows them, is well formed, self-contained and safe."""

import copy
import json
import math
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import chess
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chesslm import boards, names, tables
from chesslm.errors import InputError
from chesslm.eval.baselines import MOVES, UniformLegal, fit_ngram
from chesslm.eval.items import PINNED
from chesslm.eval.legality import HeldOut, legality
from chesslm.eval.novel import first_novel_ply
from chesslm.eval.positions import find_positions
from chesslm.eval.results import results_object
from chesslm.eval.run import SUITES
from chesslm.eval.selfplay import SETTINGS
from chesslm.game import Game
from chesslm.report import charts, suites
from chesslm.report import page as report
from chesslm.report.illegal import in_words, read_move, why
from chesslm.shards import open_dataset
from chesslm.words import read_word

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
            cell = tables.cell(metric, names.about_metric(key))
            assert cell and cell.text.replace("\u00a0", " ") in page.texts, key
    # Both sets of games: legality by ply, calibration and the n-gram's examples; and two learning curves.
    examples = results[0]["suites"]["legality"]["examples"]
    assert "examples" not in results[1]["suites"]["legality"] and len(examples) == 8
    assert page.count("svg", role="img") == 2 * (2 + len(examples)) + 2
    assert page.count("svg", **{"class": "board"}) == 2 * len(examples)
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
    assert {"Legality on random games", "24 games: random legal moves"} <= set(page.texts)
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
        assert attributes.get("href", "data:,") == "data:," or tag == "use"
        assert not any(name.startswith("on") for name in attributes)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes]
    drawn = {str(attributes["href"]).removeprefix("#") for tag, attributes in page.tags if tag == "use"}
    assert len(drawn) == 12
    assert {*named, *drawn} == set(ids)
    assert len(html) < 200_000


def test_every_figure_is_defined_in_the_docs(results: list[dict[str, Any]]) -> None:
    text = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    legal = results[0]["suites"]["legality"]
    keys = {*names.METRICS, *legal["metrics"], *legal["by"]} - {suites.KINDS, suites.CALIBRATION}
    assert [key for key in keys if f"`{key}`" not in text] == []
    assert [kind for kind in boards.Illegal if kind.value not in text] == []
    # What the report names is what the suite measures.
    assert set(legal["metrics"]) <= set(names.METRICS)
    assert set(suites.BREAKDOWNS) - {"source", "mates", "played"} <= set(legal["by"])
    assert {suites.PLY, suites.KINDS, suites.CALIBRATION} <= set(legal["by"])
    assert set(suites.SUITES) == {*SUITES, "probe", "attention", "tracking", "edits", "patching"} == set(names.TITLES)


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=y>{{ 7*7 }}\ud800"


def test_names_are_escaped(results: list[dict[str, Any]], run_folder: Path, tmp_path: Path) -> None:
    results = copy.deepcopy(results)
    for each in results:
        each["model"]["path"] = each["data"]["path"] = each["data"]["random"]["path"] = each["created"] = HOSTILE
        measured = each["suites"]
        measured["legality"]["metrics"][HOSTILE] = {"value": 1.5, "low": None, "high": None, "n": 3}
        measured["legality"]["by"][HOSTILE] = {HOSTILE: measured["legality"]["by"]["phase"]["opening"]}
        measured["legality"]["by"]["illegal"] = {HOSTILE: {"share": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3}}}
        measured[HOSTILE] = measured["legality-random"]
        each["difference_to_first"] = {HOSTILE: {HOSTILE: {"value": 1, "low": 1, "high": 1, "n": 3}}}
        for example in measured["legality"].get("examples", []):
            example["wanted"] = {"text": HOSTILE, "move": None, "probability": HOSTILE}
            example["next"] = [{"text": HOSTILE, "move": HOSTILE, "probability": 0.5, "legal": HOSTILE}] * 2
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


EXAMPLE = {
    "moves": "e2e4 e7e5",
    "played": "g1f3",
    "wanted": {"text": "f1f3", "move": "f1f3", "probability": 0.4},
    "next": [
        {"text": "f1b5", "move": "f1b5", "probability": 0.2, "legal": False},
        {"text": "a1a5", "move": "a1a5", "probability": 0.1, "legal": True},
        {"text": "b1", "move": None, "probability": "lots"},
        7,
    ],
}


def drawn(results: list[dict[str, Any]], examples: Any) -> Page:
    """The page with other examples."""
    results = copy.deepcopy(results[:1])
    del results[0]["suites"]["legality-random"]
    results[0]["suites"]["legality"]["examples"] = examples
    return Page(report.render(results))


def test_examples_are_drawn(results: list[dict[str, Any]]) -> None:
    page = drawn(results, [EXAMPLE])
    assert page.count("svg", **{"class": "board"}) == 1
    assert page.count("use") == 32
    assert [page.count("g", **{"class": f"arrow {kind}"}) for kind in ("wanted", "played")] == [1, 1]
    assert {"Bf1–f3", "(40.0 %): a bishop never moves so.", "In the game: Nf3"} <= set(page.texts)
    assert "Move 2, White: that piece never moves so" in page.texts
    # The page judges for itself what is legal.
    assert page.texts[page.texts.index("Bb5") :][:3] == ["Bb5", "20.0 %", "✓"]
    assert page.texts[page.texts.index("Ra1–a5") :][:3] == ["Ra1–a5", "10.0 %", "✗"]
    assert "b1" not in page.texts


FOOLS_MATE = "f2f3 e7e5 g2g4 d8h4"


@pytest.mark.parametrize(
    "change",
    [
        *({"moves": moves} for moves in (FOOLS_MATE, "e2e4 e2e4", "e2e4 x", None, 3, ["e2e4"])),
        *({"wanted": wanted} for wanted in (None, {}, {"text": "", "move": 9}, {"text": "d4", "move": "d2d4"})),
    ],
)
def test_examples_that_make_no_sense_are_left_out(results: list[dict[str, Any]], change: dict[str, Any]) -> None:
    page = drawn(results, [None, [], "e2e4", EXAMPLE | change])
    assert not page.count("svg", **{"class": "board"}) and not page.count("use")


@pytest.mark.parametrize("nonsense", ["e2e4", {"a": 1}, 5, None])
def test_examples_that_are_none_are_left_out(results: list[dict[str, Any]], nonsense: Any) -> None:
    assert not drawn(results, nonsense).count("use")


@pytest.mark.parametrize(
    ("fen", "text", "name", "words"),
    [
        ("8/8/8/8/8/8/4P3/4K2k w - - 0 1", "e4e5", "e4–e5", "e4 is empty"),
        ("8/8/8/8/8/8/4p3/4K2k w - - 0 1", "e2d1", "e2–d1", "the pawn on e2 is Black's"),
        ("8/8/8/8/8/8/4P3/4K2k w - - 0 1", "Nf3", "Nf3", "White has no such piece"),
        ("8/8/8/8/8/8/4P3/4K2k b - - 0 1", "axb4", "axb4", "Black has no such pawn"),
        ("8/8/8/8/8/8/4P3/4K2k w - - 0 1", "e1e3", "Ke1–e3", "a king never moves so"),
        ("8/8/8/8/8/8/4P3/4K2k w - - 0 1", "Ke1", "Ke1", "the king stands there already"),
        ("8/8/8/8/8/8/4P3/4K2k w - - 0 1", "e2d3", "e2–d3", "there is nothing for the pawn to capture on d3"),
        ("8/8/8/8/8/4n3/4P3/4K2k w - - 0 1", "e2e4", "e2–e4", "the knight on e3 stands in the way"),
        ("8/8/8/8/4n3/4P3/8/4K2k w - - 0 1", "e3e4", "e3–e4", "the knight on e4 stands in the way"),
        ("8/8/8/8/8/8/r3P3/4K1Qk b - - 0 1", "a2g2", "Ra2–g2", "the pawn on e2 stands in the way"),
        ("8/8/8/8/8/8/4P3/4K2k w - - 0 1", "e1e2", "Ke1–e2", "its own pawn on e2 stands there"),
        ("4k3/8/8/8/8/8/8/4K2R w - - 0 1", "O-O", "O-O", "the right to castle there is gone"),
        ("4k3/8/8/8/8/8/8/4K1NR w K - 0 1", "e1g1", "O-O", "the knight on g1 stands in between"),
        ("4k3/8/8/8/4r3/8/8/4K2R w K - 0 1", "O-O", "O-O", "the king is in check"),
        ("4k3/8/8/8/5r2/8/8/4K2R w K - 0 1", "O-O", "O-O", "the king would pass through check or end in it"),
        ("8/4P3/8/8/8/8/8/4K2k w - - 0 1", "e7e8", "e7–e8", "the pawn has to promote"),
        ("8/8/4P3/8/8/8/8/4K2k w - - 0 1", "e6e7q", "e6–e7=Q", "a pawn promotes on the last rank only"),
        ("8/4R3/8/8/8/8/8/4K2k w - - 0 1", "e7e8q", "Re7–e8=Q", "only pawns promote"),
        ("8/8/8/3pP3/8/8/8/4K2k w - - 0 1", "e5d6", "e5–d6", "there is no pawn to take in passing"),
        ("4r3/8/8/8/8/8/4N3/4K2k w - - 0 1", "e2c3", "Ne2–c3", "the king would be in check from the rook on e8"),
        ("4r3/8/8/8/8/8/1N6/4K2k w - - 0 1", "b2d1", "Nb2–d1", "the king would still be in check from the rook on e8"),
        ("8/8/8/8/3n4/3r4/8/4K2k w - - 0 1", "e1d1", "Ke1–d1", "the king would step into check from the rook on d3"),
        ("8/8/8/8/8/8/N3N3/4K2k w - - 0 1", "Nc3", "Nc3", "two pieces could do that"),
        ("8/8/8/8/8/8/N3N3/4K2k w - - 0 1", "a1a1", "a1a1", "that is no move"),
        ("8/8/8/8/8/8/N3N3/4K2k w - - 0 1", "Q9", "Q9", "that is no move"),
    ],
)
def test_illegal_moves_in_words(fen: str, text: str, name: str, words: str) -> None:
    board = chess.Board(fen)
    move = read_move(text) or read_word(text, board, "san")
    assert (in_words(board, move, text), why(board, move, text)) == (name, words)


def rate(value: float, n: int = 200) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - 0.05), "high": min(1.0, value + 0.05), "n": n}


def test_what_each_suite_shows() -> None:
    """Marks and words for what a figure has to be read beside, curves of survival, differences with their stars."""
    survival = {str(ply): {"legal": rate(1 - ply / 50)} for ply in (10, 20, 30, 40)}
    suite_results = {
        "squares": {
            "metrics": {"end_actual_legal": rate(0.9), "end_actual_chance_legal": rate(0.3)},
            "by": {"prefix": {"long (51-100)": {"end_actual_legal": rate(0.8), "end_actual_chance_legal": rate(0.35)}}},
        },
        "selfplay": {
            "metrics": {"fully_legal_games": rate(0.25)},
            "by": {
                "setting": {each.name: {"fully_legal_games": rate(0.2)} for each in SETTINGS},
                "survival": survival,
                **{f"survival {each.name}": survival for each in SETTINGS[1:]},
                **{f"ending {each.name}": {"checkmate": {"share": rate(0.41)}} for each in SETTINGS[:2]},
            },
        },
        "rules": {
            "metrics": {"refusal_p_forbidden": rate(0.02), "refusal_p_allowed": rate(0.06)},
            "by": {"item": {PINNED: {"p_forbidden": rate(0.03), "p_allowed": rate(0.07), "legal_argmax": rate(0.55)}}},
        },
        "mate-in-one": {
            "metrics": {"solved_greedy": rate(0.5), "solved_chance": rate(0.04)},
            "by": {"phase": {"endgame": {"solved_greedy": rate(0.6), "solved_chance": rate(0.08)}}},
        },
    }
    data = {"path": "games.pgn", "games": 9}
    first, second = ({"model": {"name": name}, "data": data, "suites": suite_results} for name in ("one", "two"))
    first["model"] = {"path": "one"}
    second["difference_to_first"] = {
        "squares": {"end_actual_legal": {"value": 0.031, "low": 0.01, "high": 0.052, "n": 9}},
        "rules": {"refusal_p_forbidden": {"value": -0.01, "low": -0.03, "high": 0.01, "n": 9}},
    }
    page = Page(report.render([first, second]))
    assert {"Square prompts", "Free running", "The rules exam", "Mate in one"} <= set(page.texts)
    assert "9 games: games.pgn" in page.texts and "Positions from games.pgn" in page.texts
    for beside in ("30.0 % by chance", "35.0 % by chance", "7.0 % where it is allowed", "4.0 % by chance"):
        assert page.texts.count(beside) == 2, beside
    # A level of chance has no row of its own.
    assert "… by chance" not in page.texts
    assert {"41.0 %", "Greedy, 10 random plies", "pinned piece moves"} <= set(page.texts)
    assert page.count("svg", role="img") == len(SETTINGS) - 1
    assert page.texts.count("Differences to one") == 2
    assert page.count("td", **{"class": "clear"}) == 1
    assert {"+3.1", "+1.0 to +5.2", "−1.0", "−3.0 to +1.0"} <= set(page.texts)


def test_bars_are_stretched_to_the_greatest() -> None:
    by = [{"item": {PINNED: {"p_forbidden": rate(0.05), "p_allowed": rate(0.2)}, "other": {"p_forbidden": rate(0)}}}]
    (forbidden,) = (each for each in suites.SUITES["rules"].blocks(by) if each.title == "The forbidden move")
    ((row,),) = (part.rows for part in forbidden.parts)
    (shown,) = row.cells
    assert shown and (shown.share, shown.mark) == (pytest.approx(0.25), 1)
    assert shown.whisker == (0, pytest.approx(0.5))


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
    cell = tables.cell({"value": value, "low": 0.5, "high": 1, "n": 3}, names.About("", unit, ""))
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
