"""The report: results of the contract and a run's log in, one self-contained HTML page out.

Results are read as they come from a JSON file, perhaps someone else's: names are escaped, and what is missing, empty
or not a number is left out. The page needs no network and no script; its figures are SVG in the page's own colours.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from chesslm import __version__, files
from chesslm.errors import InputError
from chesslm.names import ON_RANDOM_GAMES
from chesslm.report import curves
from chesslm.report.examples import PIECES
from chesslm.report.results import Column, Objects, columns_of, data_name, data_of, key_of
from chesslm.report.sections import Section, section
from chesslm.tables import count, mapping

Facts = list[tuple[str, str]]

COUNTS = ("parameters", "games", "tokens", "steps")
MINED = {"rules": " and from games made for the purpose", "mate-in-one": "", "puzzles": ""}
"""Suites of positions that were looked for in the games, and where else."""


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

    templates = PackageLoader("chesslm.report")
    environment = Environment(
        loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    columns = columns_of(results)
    cards = [
        (column.name, _facts(column.model, ("parameters", "notation", "path", "sha256"))) for column in columns.values()
    ]
    cards += [(data_name(data), _facts(data, ("games", "seed", "path", "sha256"))) for data in data_of(results)]
    cards += [("Training", _run_facts(run_folder))]
    return environment.get_template("report.html").render(
        version=__version__,
        created=max((str(each.get("created") or "")[:10] for each in results), default=""),
        sections=list(_sections(results, columns)),
        curves=list(curves.of_learning(run_folder)),
        pieces=PIECES,
        cards=[(title, facts) for title, facts in cards if len(facts) > 1],
    )


def _sections(results: Objects, columns: Mapping[str, Column]) -> Iterator[Section]:
    """A section for each suite and set of games that has figures."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in results:
        for suite, result in mapping(each.get("suites")).items():
            if mapping(mapping(result).get("metrics")):
                found.setdefault((suite, key_of(mapping(each.get("data")))), []).append(each)
    for (suite, _), objects in found.items():
        shown = tuple(columns[key_of(each.get("model"))] for each in objects)
        yield section(
            suite,
            _measured_on(suite, mapping(objects[0].get("data"))),
            shown,
            [mapping(each.get("suites"))[suite] for each in objects],
            [mapping(mapping(each.get("difference_to_first")).get(suite)) for each in objects],
            shown[0].name,
        )


def _measured_on(suite: str, data: Mapping[str, Any]) -> str:
    """The games in words; nothing where there are none."""
    plain = suite.removesuffix(ON_RANDOM_GAMES)
    data = mapping(data.get("random")) or data if plain != suite else data
    if plain == "selfplay" or data.get("path") == "none":
        return ""
    if plain in MINED:
        return f"Positions from {data_name(data)}{MINED[plain]}"
    games = count(data.get("games")) if data.get("games") else ""
    return f"{games} games: {data_name(data)}" if games else data_name(data)


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
    for part, settings in mapping(about.get("recipe")).items():
        pairs += [(f"{part}.{name}", value) for name, value in mapping(settings).items()]
    return _facts(dict(pairs), [name for name, _ in pairs])


def _facts(about: Mapping[str, Any], names: Iterable[str]) -> Facts:
    """Names and values as text, without those that nothing is known of."""
    shown = [(name, about[name]) for name in names if about.get(name) not in (None, "")]
    return [(name, (name in COUNTS and count(value)) or str(value)) for name, value in shown]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return files.read_json(path)
    except InputError:
        return {}
