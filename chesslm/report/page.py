"""The report: results of the contract and a run's log in, one self-contained HTML page out.

Results are read as they come from a JSON file, perhaps someone else's: names are escaped, and what is missing, empty
or not a number is left out. The page needs no network and no script; its figures are SVG in the page's own colours.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chesslm import __version__, charts, files
from chesslm.tables import PERCENT, About, Cell, Row, Table, about_metric, cell, count, mapping, number, place, row

Objects = Sequence[Mapping[str, Any]]
Facts = list[tuple[str, str]]

ON_RANDOM_GAMES = "-random"
SUITES = {"legality": "Legality", "legality-random": "Legality off the beaten track"}
BREAKDOWNS = {
    "source": "By source of the games",
    "phase": "By phase of the game",
    "novel": "By whether a training game had the position",
    "check": "By whether the king is in check",
    "special": "Special moves and positions",
    "piece": "By piece moved",
    "legal_moves": "By number of legal moves",
}
COUNTS = ("parameters", "games", "tokens", "steps")
MAIN = "legal_argmax"
_ERROR = About("Calibration error", "rate", "gap between how probable its likeliest moves were and how often they came")
PLY, KINDS, CALIBRATION = "ply", "illegal", "calibration"


@dataclass(frozen=True)
class Column:
    """A model in the report; ``slot`` is its colour and dash pattern."""

    name: str
    slot: int
    model: Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """One suite on one set of games: a table for all models, and what there is to break it down by."""

    title: str
    columns: tuple[Column, ...]
    glance: tuple[tuple[Column, Cell], ...]
    summary: Table
    ply: charts.Chart | None
    calibration: charts.Chart | None
    kinds: Table
    breakdowns: tuple[Table, ...]


def write_report(results: Objects, path: Path, run_folder: Path | None = None) -> None:
    """Write the report page.

    Args:
        results: objects of the results JSON (``eval.results``), one a model and set of games.
        path: the HTML file, replaced as a whole.
        run_folder: a run's folder, for its learning curves and settings; files that it lacks are left out.

    Raises:
        InputError: the file cannot be written there.
        FailureError: the disk is full.
    """
    page = render(results, run_folder)
    with files.atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def render(results: Objects, run_folder: Path | None = None) -> str:
    """The report page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = PackageLoader("chesslm")
    environment = Environment(
        loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    columns = _columns(results)
    cards = [
        (column.name, _facts(column.model, ("parameters", "notation", "path", "sha256"))) for column in columns.values()
    ]
    cards += [(_data_name(data), _facts(data, ("games", "seed", "path", "sha256"))) for data in _data(results)]
    cards += [("Training", _run_facts(run_folder))]
    return environment.get_template("report.html").render(
        version=__version__,
        created=max((str(each.get("created") or "")[:10] for each in results), default=""),
        sections=list(_sections(results, columns)),
        curves=_curves(run_folder),
        cards=[(title, facts) for title, facts in cards if len(facts) > 1],
    )


# From results to sections


def _key(thing: Any) -> str:
    """What tells models and sets of games apart."""
    thing = mapping(thing)
    return json.dumps([thing.get("path"), thing.get("sha256")], default=str)


def _data(results: Objects) -> list[Mapping[str, Any]]:
    """The sets of games, each once."""
    both = [mapping(each.get("data")) for each in results]
    both += [mapping(data.get("random")) for data in both]
    return list({_key(data): data for data in both if data}.values())


def _data_name(data: Mapping[str, Any]) -> str:
    return str(data.get("name") or data.get("path") or "games")


def _columns(results: Objects) -> dict[str, Column]:
    """The models in the order in which they come, under the last part of their path where that tells them apart."""
    models = {_key(each.get("model")): mapping(each.get("model")) for each in results}
    names = {key: _names(model) for key, model in models.items()}
    taken = Counter(name for of_model in names.values() for name in dict.fromkeys(of_model))
    return {
        key: Column(next((name for name in names[key] if taken[name] == 1), names[key][-1]), slot, models[key])
        for slot, key in enumerate(models)
    }


def _names(model: Mapping[str, Any]) -> list[str]:
    """What to call a model, the shortest first."""
    path = str(model.get("path") or "model").rstrip("/")
    return [str(model.get("name") or Path(path).name), path, f"{path} {str(model.get('sha256'))[:8]}"]


def _sections(results: Objects, columns: Mapping[str, Column]) -> Iterator[Section]:
    """A section for each suite and set of games that has figures."""
    found: dict[tuple[str, str], list[tuple[Column, Mapping[str, Any]]]] = {}
    for each in results:
        data = mapping(each.get("data"))
        for suite, result in mapping(each.get("suites")).items():
            if mapping(mapping(result).get("metrics")):
                on = mapping(data.get("random")) if suite.endswith(ON_RANDOM_GAMES) else data
                title = f"{SUITES.get(suite, suite)}: {_data_name(on or data)}"
                found.setdefault((title, _key(data)), []).append((columns[_key(each.get("model"))], result))
    for (title, _), pairs in found.items():
        yield _section(title, tuple(column for column, _ in pairs), [result for _, result in pairs])


def _section(title: str, columns: tuple[Column, ...], results: Objects) -> Section:
    metrics = [mapping(result.get("metrics")) for result in results]
    by = [mapping(result.get("by")) for result in results]
    keys = sorted({key for each in metrics for key in each}, key=place)
    rows = [row(about_metric(key).label, [each.get(key) for each in metrics], about_metric(key)) for key in keys]
    rows.append(row(_ERROR.label, [_metric(each, CALIBRATION, "all", "error") for each in by], _ERROR))
    main = [cell(each.get(MAIN), about_metric(MAIN)) for each in metrics]
    names = dict.fromkeys([*BREAKDOWNS, *(name for each in by for name in each)])
    tables = [_breakdown(name, by) for name in names if name not in (PLY, KINDS, CALIBRATION)]
    return Section(
        title=title,
        columns=columns,
        glance=tuple((column, shown) for column, shown in zip(columns, main, strict=True) if shown),
        summary=_table("All figures", rows),
        ply=_ply_chart(columns, by),
        calibration=_calibration_chart(columns, by),
        kinds=_kinds(by),
        breakdowns=tuple(table for table in tables if table.rows),
    )


def _table(title: str, rows: Iterable[Row]) -> Table:
    """A table of the rows in which some model has a figure."""
    return Table(title, tuple(each for each in rows if any(each.cells)))


def _groups(name: str, by: Objects) -> list[str]:
    return list(dict.fromkeys(group for each in by for group in mapping(each.get(name))))


def _metric(by: Mapping[str, Any], name: str, group: str, key: str) -> Mapping[str, Any]:
    return mapping(mapping(mapping(by.get(name)).get(group)).get(key))


def _breakdown(name: str, by: Objects) -> Table:
    rows = []
    for group in _groups(name, by):
        metrics = [_metric(each, name, group, MAIN) for each in by]
        n = max((int(number(metric.get("n")) or 0) for metric in metrics), default=0)
        plies = f"{n:,} {'ply' if n == 1 else 'plies'}" if n else ""
        rows.append(row(str(group), metrics, About("", "rate", plies)))
    return _table(BREAKDOWNS.get(name, f"By {name.replace('_', ' ')}"), rows)


def _kinds(by: Objects) -> Table:
    """Kinds of illegal move as shares of them; the greatest has the whole length of a bar."""
    about = About("", "rate", "")
    rows = [row(str(kind), [_metric(each, KINDS, kind, "share") for each in by], about) for kind in _groups(KINDS, by)]
    table = _table("What is wrong with the illegal moves", rows)
    most = max((each.share or 0 for row in table.rows for each in row.cells if each), default=0) or 1

    def scaled(it: Cell | None) -> Cell | None:
        if it is None:
            return None
        ends = (it.whisker[0] / most, min(1, it.whisker[1] / most)) if it.whisker else None
        return replace(it, share=(it.share or 0) / most, whisker=ends)

    found = [row for row in table.rows if any(each.share for each in row.cells if each)]
    return _table(table.title, [replace(row, cells=tuple(map(scaled, row.cells))) for row in found])


def _series(column: Column, points: Iterable[tuple[float | None, Mapping[str, Any]]]) -> charts.Series | None:
    """A line through metrics, each at its place across; None if there is none."""
    shown = [
        (x, y, number(metric.get("low")), number(metric.get("high")))
        for x, metric in points
        if x is not None and (y := number(metric.get("value"))) is not None
    ]
    shown.sort(key=lambda point: point[0])
    return charts.Series(column.name, column.slot, *zip(*shown, strict=True)) if shown else None


def _ply_chart(columns: Sequence[Column], by: Objects) -> charts.Chart | None:
    """Legality against the ply: a group is a range of plies, drawn at its middle.

    Late ranges that hardly any game reaches are left out, and so are scorers that are legal by their making.
    """
    drawn = []
    for column, each in zip(columns, by, strict=True):
        metrics = {group: _metric(each, PLY, group, MAIN) for group in _groups(PLY, [each])}
        plies = {group: number(metric.get("n")) or 0 for group, metric in metrics.items()}
        few = sum(plies.values()) / 500
        drawn.append(_series(column, [(_middle(group), metrics[group]) for group in metrics if plies[group] >= few]))
    lines = [line for line in drawn if line]
    lines = [line for line in lines if set(line.y) != {1.0}] or lines
    if not lines:
        return None
    return charts.line_chart("Legal moves by ply", lines, "ply", _tick, y_limits=(0, 1))


def _tick(rate: float) -> str:
    return f"{100 * rate:.4g}{PERCENT}"


def _middle(group: str) -> float | None:
    """The middle of a range of plies such as 20-39, or 20 itself; None if the name is no range."""
    ends = [number(part) for part in str(group).replace("–", "-").rstrip("+").split("-")]
    figures = [end for end in ends if end is not None]
    return sum(figures) / len(figures) if figures and len(figures) == len(ends) else None


def _calibration_chart(columns: Sequence[Column], by: Objects) -> charts.Chart | None:
    """How often the likeliest move was the one played, against the probability that it was given."""
    drawn = []
    for column, each in zip(columns, by, strict=True):
        bins = _groups(CALIBRATION, [each])
        said = [number(_metric(each, CALIBRATION, name, "confidence").get("value")) for name in bins]
        drawn.append(
            _series(column, zip(said, [_metric(each, CALIBRATION, name, "top1") for name in bins], strict=True))
        )
    lines = [line for line in drawn if line]
    if not lines:
        return None
    return charts.line_chart("Calibration", lines, "probability given", _tick, _tick, diagonal=True)


# From a run's log to curves


def _curves(run_folder: Path | None) -> list[tuple[str, charts.Chart]]:
    """Bits a move and legality against tokens, each with words on what it shows."""
    rows = _log(run_folder)

    def line(name: str, slot: int, key: str) -> list[charts.Series]:
        points = [(each["tokens"] / 1e6, each[key]) for each in rows if "tokens" in each and key in each]
        return [charts.Series(name, slot, *zip(*points, strict=True))] if len(points) > 1 else []

    curves = []
    if bits := [*line("validation", 0, "val_bits_per_move"), *line("training", 1, "bits_per_move")]:
        chart = charts.line_chart("Bits a move while training", bits, "million tokens", "{:.4g}".format)
        curves.append(("How surprised it is by the moves played, in bits.", chart))
    if legal := line("validation", 0, "val_legal_argmax"):
        chart = charts.line_chart("Legal moves while training", legal, "million tokens", _tick, y_limits=(0, 1))
        curves.append(("How often its likeliest move is legal, on validation games.", chart))
    return curves


def _log(run_folder: Path | None) -> list[dict[str, float]]:
    """The numbers of each row of metrics.csv; a row cut short by a kill gives what it has."""
    try:
        text = (run_folder / "metrics.csv").read_text(encoding="utf-8", errors="replace") if run_folder else ""
    except OSError:
        return []
    rows = csv.DictReader(text.replace("\0", "").splitlines())
    return [
        {key: figure for key, value in each.items() if key and (figure := number(value)) is not None} for each in rows
    ]


# How it was made


def _run_facts(run_folder: Path | None) -> Facts:
    """What chesslm.json, or else the run's recipe.json, says of how a model was trained."""
    if run_folder is None:
        return []
    about = _read(run_folder.parent / "chesslm.json") or _read(run_folder / "recipe.json")
    trained, data = mapping(about.get("trained")), mapping(about.get("dataset"))
    pairs = [(name, trained.get(name)) for name in ("steps", "tokens", "games", "minutes", "device", "precision")]
    pairs += [("seed", about.get("seed")), ("code revision", about.get("revision"))]
    pairs += [("sha256 of its games", data.get("sha256") or about.get("dataset_sha256"))]
    for section, settings in mapping(about.get("recipe")).items():
        pairs += [(f"{section}.{name}", value) for name, value in mapping(settings).items()]
    return _facts(dict(pairs), [name for name, _ in pairs])


def _facts(about: Mapping[str, Any], names: Iterable[str]) -> Facts:
    """Names and values as text, without those that nothing is known of."""
    shown = [(name, about[name]) for name in names if about.get(name) not in (None, "")]
    return [(name, (name in COUNTS and count(value)) or str(value)) for name, value in shown]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return mapping(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
