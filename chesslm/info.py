"""What a folder is: a checkpoint, a run or a dataset, said from its JSON files, its log and the header of its weights.

Needs no torch: the answer is there in a fraction of a second.
"""

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from chesslm import files
from chesslm.errors import InputError
from chesslm.logs import read_log

Lines = Iterator[tuple[str, str]]
"""Names and values, in the order in which they are to be read."""


def info(path: Path) -> None:
    """Print what a folder is.

    Raises:
        InputError: it is neither a checkpoint, a run nor a dataset, or not whole.
    """
    lines = list(describe(path))
    width = max(len(name) for name, _ in lines)
    print("\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in lines))


def describe(path: Path) -> Lines:
    """What a folder is, as names and values.

    Raises:
        InputError: it is neither a checkpoint, a run nor a dataset, or not whole.
    """
    if not path.exists():
        raise InputError(f"{path}: no such folder")
    if not path.is_dir():
        raise InputError(f"{path} is a file; name a checkpoint folder or a dataset folder")
    if (path / "config.json").is_file():
        return _checkpoint(path)
    if (path / "meta.json").is_file():
        return _dataset(path)
    if (path / "run" / "recipe.json").is_file():
        return _run(path)
    raise InputError(f"{path}: neither a checkpoint (no config.json), a run nor a finished dataset (no meta.json)")


ARCHITECTURE = ("vocab_size", "n_positions", "n_layer", "n_embd", "n_head")


def _checkpoint(folder: Path) -> Lines:
    config = files.read_json(folder / "config.json")
    about = files.read_json(folder / "chesslm.json") if (folder / "chesslm.json").is_file() else {}
    tensors = _tensors(folder)
    yield "checkpoint", str(folder)
    yield "notation", str(about.pop("notation", "not said (no chesslm.json); name it with --notation"))
    yield "architecture", ", ".join(config.get("architectures") or [str(config.get("model_type", "not said"))])
    yield from ((f"  {name}", str(config[name])) for name in ARCHITECTURE if name in config)
    counted = sum(prod(shape) for shape, _ in tensors.values())
    yield "parameters", f"{about.pop('parameters', counted):,}"
    yield "weights", ", ".join(sorted({dtype for _, dtype in tensors.values()}))
    # Resume state in run/ is not part of the checkpoint.
    yield "size on disk", _size(file.stat().st_size for file in folder.iterdir() if file.is_file())
    yield from _curves(folder)
    # The longest part last.
    recipe = about.pop("recipe", None)
    yield from _flat(about if recipe is None else {**about, "recipe": recipe})


def _run(folder: Path) -> Lines:
    yield "run", f"{folder}, not finished; go on with chesslm train --resume"
    yield from _curves(folder)
    yield from _flat({"recipe": files.read_json(folder / "run" / "recipe.json")["recipe"]})


CURVES = ("loss", "bits_per_move", "val_bits_per_move", "val_legal_argmax", "val_bits_per_byte", "val_bits_per_target")
BARS, POINTS = "▁▂▃▄▅▆▇█", 40


def _curves(folder: Path) -> Lines:
    """What the log of a run says: the first figure, bars over the logarithm of the steps, the last one."""
    log = folder / "run" / "metrics.csv"
    rows = read_log(log) if log.is_file() else []
    if rows:
        reached = {"step": "steps", "tokens": "tokens", "games": "games", "minutes": "minutes"}
        yield (
            "trained",
            ", ".join(f"{round(rows[-1][key]):,} {name}" for key, name in reached.items() if key in rows[-1]),
        )
    for name in CURVES:
        points = [(row["step"], row[name]) for row in rows if {"step", name} <= row.keys()]
        if len(points) > 1:
            bars = _bars(*zip(*points, strict=True))
            yield f"  {name}", f"{points[0][1]:7.3g} {bars} {points[-1][1]:.3g}"


def _bars(steps: Sequence[float], values: Sequence[float]) -> str:
    """A curve as one line of characters; steps are 1 or more."""
    lowest, highest, places = min(values), max(values), np.log2(steps)
    between = np.interp(np.linspace(places[0], places[-1], POINTS), places, values)
    heights = (between - lowest) / ((highest - lowest) or 1) * (len(BARS) - 1)
    return "".join(BARS[round(height)] for height in heights.tolist())


def _dataset(folder: Path) -> Lines:
    from chesslm.shards import open_dataset

    meta = dict(open_dataset(folder).meta)
    listed = meta.pop("files")
    yield "dataset", str(folder)
    yield "notation", str(meta.pop("notation", "not said"))
    yield "sha256", str(meta.pop("sha256", "not said"))
    for split, counts in meta.pop("splits").items():
        yield split, ", ".join(f"{number:,} {what}" for what, number in counts.items())
    yield "size on disk", f"{_size(entry['bytes'] for entry in listed.values())} in {len(listed)} files"
    yield from _flat(meta)


def _flat(content: Any, name: str = "", depth: int = 0) -> Lines:
    """JSON as lines, nested objects indented under their names."""
    indent = "  " * depth
    if isinstance(content, dict) and (content or not name):
        if name:
            yield indent + name, ""
        for key, value in content.items():
            yield from _flat(value, str(key), depth + bool(name))
    elif isinstance(content, list) and any(isinstance(value, dict) for value in content):
        for number, value in enumerate(content, 1):
            yield from _flat(value, f"{name} {number}", depth)
    else:
        yield indent + name, _value(content)


def _value(content: Any) -> str:
    match content:
        case None | [] | {}:
            return "-"
        case bool():
            return "yes" if content else "no"
        case int():
            return f"{content:,}" if content >= 10_000 else str(content)
        case float():
            return f"{content:.6g}"
        case list():
            return ", ".join(map(_value, content))
    return " ".join(str(content).split())


def _size(sizes: Iterator[int]) -> str:
    return f"{sum(sizes) / 1e6:.1f} MB"


def _tensors(folder: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of each tensor in the weights, from the files' headers.

    Raises:
        InputError: there are none, or a file is cut short.
    """
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, tuple[tuple[int, ...], str]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118  (no dict)
                    part = file.get_slice(name)
                    tensors[name] = tuple(part.get_shape()), str(part.get_dtype())
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not whole ({error}); copy or train it again") from error
    if not tensors:
        raise InputError(f"{folder}: config.json but no safetensors weights")
    return tensors
