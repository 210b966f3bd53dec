"""The model card: README.md of a checkpoint folder, written from its ``chesslm.json`` and ``figures.json`` alone."""

from collections.abc import Callable, Mapping
from typing import Any

from chesslm.names import about_metric, note, place, suite_title
from chesslm.notation import PAIRS, PROSE
from chesslm.tables import cell, count, markdown_table

HEADER = """---
license: {license}
library_name: transformers
pipeline_tag: text-generation
tags: [{tags}]
---
"""

TEXTS = {
    "san": ("SAN, each move with the space behind it", "e4 e5 Nf3 "),
    "pgn-char": ("numbered SAN, each move with the space behind it", "1.e4 e5 2.Nf3 "),
    "pgn-char-spaced": ("numbered SAN, each move with the space behind it", "1. e4 e5 2. Nf3 "),
    "bpe": ("numbered SAN, each move with the space behind it", "1.e4 e5 2.Nf3 "),
    "text": ("numbered SAN", "1. e4 e5 2. Nf3"),
}
"""What text is in the notations that do not write UCI, with an example."""

CURVES = {
    "val_bits_per_move": ("bits a move", "{:.2f}"),
    "val_legal_argmax": ("greedy move legal", "{:.1%}"),
    "val_bits_per_byte": ("bits a byte", "{:.3f}"),
    "val_bits_per_target": ("bits a target", "{:.2f}"),
    "val_exact": ("exact", "{:.1%}"),
}
"""What a learning curve shows, and how it is written."""


def model_card(about: dict[str, Any], measured: Mapping[str, Any] | None = None) -> str:
    """The text of a model card; what ``about`` does not say is left out.

    Args:
        about: content of ``chesslm.json``.
        measured: content of ``figures.json``, where the model was measured (``chesslm evaluate --card``).
    """
    notation = about.get("notation", "unknown")
    if notation == PROSE:
        return _text_card(about)
    if notation == PAIRS:
        return _pairs_card(about, measured)
    what, example = TEXTS.get(notation, ("moves in UCI", "e2e4 e7e5 g1f3"))
    unit = "move" if notation == "uci-move" else "token"
    use = [
        f"It loads in plain transformers; text is {what}:",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
        f'ids = tokenizer("{example}", return_tensors="pt").input_ids',
        f"next_{unit} = tokenizer.decode(model(ids).logits[0, -1].argmax())",
        "```",
        "",
        "With chesslm: `chesslm play FOLDER`, `chesslm evaluate FOLDER --games GAMES.pgn`.",
        "",
        "## Limits",
        "",
        "It follows games from the standard start position only, and cannot be given a position without its moves. "
        "It writes illegal moves at times, more often late in a game and far from the games it was trained on.",
    ]
    shown, train = "It was shown moves only, never a board.", about.get("recipe", {}).get("train", {})
    if strays := train.get("strays"):
        shown = (
            "It was shown moves only, never a board; but its targets were all moves by which a game might have been "
            f"left for a random legal one (`train.strays = {strays:g}`)."
        )
        use[-1] += f" Of its likelihood a share of about {strays:g} is for legal moves at random, by design."
    if legality := train.get("legality"):
        shown += f" A loss told it how much it gave to moves that are not legal (`train.legality = {legality:g}`)."
    return _card(
        about,
        f"chess, chesslm, {notation}",
        "A chess-move language model",
        f"{_from(about)} chess games written in `{notation}`. {shown}",
        _validated,
        use,
        measured,
    )


def _card(
    about: dict[str, Any],
    tags: str,
    title: str,
    what: str,
    validated: Callable[[dict[str, Any]], str],
    use: list[str],
    measured: Mapping[str, Any] | None = None,
) -> str:
    """A card.

    Args:
        about: content of ``chesslm.json``.
        tags: for the hub.
        title: of the card.
        what: it is, in a line.
        validated: a line on validation figures, where there are any.
        use: lines on how to use it.
        measured: content of ``figures.json``.
    """
    validation = about.get("validation") or {}
    figures = [validated(validation), ""] if validation else []
    figures += _measured(measured) if measured else []
    lines = [
        HEADER.format(license="apache-2.0", tags=tags),
        f"# {title}",
        "",
        what,
        "",
        *_how(about),
        *(["## Figures", "", *figures] if figures else []),
        *_curve(about.get("curve") or []),
        "## Use",
        "",
        *use,
    ]
    return "\n".join(lines) + "\n"


def _from(about: dict[str, Any]) -> str:
    start = about.get("init")
    if not start:
        return "GPT-2 trained from scratch on"
    parts = (
        f"{start['layers']} layers",
        f"{start['positions']} positions",
        f"embeddings: {start['embeddings']}",
        *(["weights permuted within each tensor"] if start["shuffled"] else []),
        *([f"not trained: {start['frozen']}"] if start["frozen"] != "none" else []),
    )
    return f"The weights of `{start['model']}` ({', '.join(parts)}) trained on"


def _text_card(about: dict[str, Any]) -> str:
    """The card of a model of text."""
    return _card(
        about,
        "chesslm",
        "A small language model of text",
        f"{_from(about)} text, for chess models to start from: it has the body of one and has never seen a move.",
        lambda figures: f"{figures['val_bits_per_byte']:.3f} bits a byte on validation text.",
        [
            "It loads in plain transformers (`AutoModelForCausalLM`, `AutoTokenizer`). With chesslm: `chesslm train "
            "--data DATASET --init FOLDER`. It is far too small to answer questions or to say anything true."
        ],
    )


def _pairs_card(about: dict[str, Any], measured: Mapping[str, Any] | None) -> str:
    """The card of a model that translates."""
    kinds = ", ".join((about.get("dataset") or {}).get("kinds") or ()) or "not said"
    return _card(
        about,
        "chess, chesslm",
        "A language model that translates between ways of writing chess",
        f"Trained on sources, each with its target on the next line, as plain text. Kinds of pairs: {kinds}.",
        lambda figures: (
            f"On validation pairs: {figures['val_bits_per_target']:.2f} bits a target, {figures['val_exact']:.1%} "
            "written exactly. `chesslm evaluate --suite translation` gives the full picture, with intervals."
        ),
        [
            "It loads in plain transformers (`AutoModelForCausalLM`, `AutoTokenizer`): give it a source and a line "
            "end, and let it write up to the end-of-text token. With chesslm: `chesslm evaluate FOLDER --suite "
            "translation --pairs FILE.jsonl`."
        ],
        measured,
    )


def _how(about: dict[str, Any]) -> list[str]:
    recipe, trained, dataset = about.get("recipe"), about.get("trained"), about.get("dataset")
    if not (recipe and trained and dataset):
        return []
    shape, how = recipe["model"], recipe["train"]
    games = dataset["splits"]["train"]
    unit = {PROSE: "rows", PAIRS: "pairs"}.get(str(about.get("notation")), "games")
    before = (about.get("init") or {}).get("trained")
    rows = [
        ("parameters", f"{about['parameters']:,}"),
        ("shape", f"{shape['layers']} layers, {shape['width']} wide, {shape['heads']} heads{_head(shape)}"),
        ("trained for", f"{trained['minutes']:.0f} minutes{_legs(trained)} on {_device(trained)}"),
        ("seen", f"{trained['tokens']:,} tokens in {trained['games']:,} {unit}, {trained['steps']:,} steps"),
        *([("before that", f"{before['minutes']:.0f} minutes, {before['tokens']:,} tokens")] if before else []),
        ("data", f"{games['games']:,} {unit}, {games['tokens']:,} tokens; SHA-256 `{dataset['sha256']}`"),
        *(("source", f"{s['name']}, SHA-256 `{s['sha256']}`") for s in dataset.get("sources") or ()),
        ("optimizer", f"{how['optimizer']}, peak rates {how['muon_learning_rate']} and {how['learning_rate']}"),
        ("seed", str(about.get("seed"))),
        ("code", f"chesslm {about.get('chesslm')}, revision `{about.get('revision')}`"),
    ]
    table = ["## How it was made", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return [*table, "", "The whole recipe is in `chesslm.json`.", ""]


def _head(shape: dict[str, Any]) -> str:
    return "" if shape.get("tied", True) else ", tokens scored by a table of their own"


def _legs(trained: dict[str, Any]) -> str:
    return f" in {trained['legs']} legs" if trained.get("legs") else ""


def _curve(points: list[dict[str, float]]) -> list[str]:
    """The learning curve as a table; a single point is none."""
    if len(points) < 2:
        return []
    names = [name for name in CURVES if name in points[0]]
    titles = ("minutes", "million tokens", *(CURVES[name][0] for name in names))
    rows = [
        (
            f"{point['minutes']:.0f}",
            f"{point['tokens'] / 1e6:.1f}",
            *(CURVES[name][1].format(point[name]) for name in names),
        )
        for point in points
    ]
    table = markdown_table(titles, rows, words=len(titles))
    return ["## Learning curve", "", "On validation data, in the course of training.", "", *table, ""]


def _device(trained: dict[str, Any]) -> str:
    if trained["device"] != "cpu":
        return str(trained["device"])
    return f"cpu with {trained['threads']} thread" + ("s" if trained["threads"] > 1 else "")


def _validated(validation: dict[str, Any]) -> str:
    return (
        f"On validation games: greedy move legal {validation['val_legal_argmax']:.1%} "
        f"(n = {validation['val_plies']:,.0f}), {validation['val_bits_per_move']:.2f} bits a move. "
        "`chesslm evaluate` gives the full picture, with intervals, on games of your own."
    )


def _measured(measured: Mapping[str, Any]) -> list[str]:
    """A table for each suite."""
    data = measured["data"]
    games = f"{data['games']:,} games of " if data["games"] else ""
    on = [f"{games}`{data['path']}` (SHA-256 `{data['sha256']}`)"] if data["sha256"] else []
    on += [f"{data['random']['games']:,} games of random legal moves"] if "random" in data else []
    where = f" on {' and '.join(on)}" if on else ""
    lines = [f"Measured{where} by `chesslm evaluate`, seed {data['seed']}. Intervals are 95 %, over games.", ""]
    for suite, result in measured["suites"].items():
        metrics = result["metrics"]
        cells = [(key, cell(metrics[key], about_metric(key))) for key in sorted(metrics, key=place)]
        rows = [(about_metric(key).label, it.text, it.interval, count(metrics[key]["n"])) for key, it in cells if it]
        said = note(suite, measured["model"].get("notation"))
        table = markdown_table((suite_title(suite), "figure", "interval", "n"), rows)
        lines += [*table, "", *([f"{said[0].upper()}{said[1:]}.", ""] if said else [])]
    return lines
