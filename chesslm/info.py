"""What a folder is: a checkpoint, a run or a dataset, said from its JSON files, its log and the header of its weights.

Needs no torch: the answer is there in a fraction of a second. Whether the files are still what was written takes longer
(``verify``), as all of them have to be read.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chesslm import checkpoint, files, hashes, meta, weights
from chesslm.errors import FailureError, InputError
from chesslm.logs import read_log
from chesslm.run import recipe_file

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
    if recipe_file(path).is_file():
        return _run(path)
    raise InputError(f"{path}: neither a checkpoint (no config.json), a run nor a finished dataset (no meta.json)")


ARCHITECTURE = ("vocab_size", "n_positions", "n_layer", "n_embd", "n_head")


def verify(path: Path) -> None:
    """Compare the files of a checkpoint or a dataset with the hashes that were kept of them, and print each.

    Raises:
        InputError: it is neither, or does not say what its files should be.
        FailureError: a file is not what was written.
    """
    if (path / "config.json").is_file():
        checks, hint = _checks_of_checkpoint(path), checkpoint.CHANGED
    else:
        checks, hint = _checks_of_dataset(path), f"copy it again, or {meta.AGAIN}"
    present = (each for pattern in ("*", "tokenizer/*", "probe/*") for each in path.glob(pattern) if each.is_file())
    names = sorted({*checks, *(str(each.relative_to(path)) for each in present)})
    width, wrong = max(map(len, names)), []
    for name in names:
        what = checks[name]() if name in checks else "no hash"
        print(f"{_value(name):<{width}}  {what or 'as written'}", flush=True)
        wrong += [name] if name in checks and what else []
    print(f"{len(checks) - len(wrong)} of {len(checks)} files with a hash are as written")
    if wrong and all(name.startswith("probe/") for name in wrong):
        hint = "make the probe again with chesslm probe"
    if wrong:
        raise FailureError(f"{path}: {', '.join(wrong)}: not as written; {hint}")


Checks = dict[str, Callable[[], str | None]]
"""What says what is wrong with a file, if anything is, by the file's name."""


def _checks_of_checkpoint(folder: Path) -> Checks:
    checkpoint.check_links(folder)
    about = folder / checkpoint.ABOUT
    checks = _checks(folder, checkpoint.listed(folder, files.read_json(about) if about.is_file() else {}))
    for facts in sorted(folder.glob("probe/*.json")):
        found, arrays = files.read_json(facts), facts.with_suffix(".safetensors")
        name = str(arrays.relative_to(folder))
        if isinstance(found.get("sha256"), str):
            checks[name] = lambda name=name, found=found: hashes.wrong_hash(folder, name, found["sha256"])
        checks[str(facts.relative_to(folder))] = lambda found=found: _other_weights(folder, found)
    return checks


def _other_weights(folder: Path, probe: dict[str, Any]) -> str | None:
    if hashes.OWN in probe and not hashes.has_own(probe):
        return "changed: not what its own hash was taken of"
    same = probe.get("model") == files.sha256(folder / weights.SINGLE)
    return None if same else "made for other weights; make it again with chesslm probe"


def _checks_of_dataset(folder: Path) -> Checks:
    about = meta.read_meta(folder)
    own = None if about["sha256"] == meta.digest_of(about["files"]) else "not the hash of the files that it lists"
    return {"meta.json": lambda: own, **_checks(folder, about["files"])}


def _checks(folder: Path, listed: hashes.Listed) -> Checks:
    return {name: lambda name=name, each=each: hashes.wrong(folder, name, each) for name, each in listed.items()}


def _checkpoint(folder: Path) -> Lines:
    checkpoint.check_links(folder)
    config = files.read_json(folder / "config.json")
    about = files.read_json(folder / "chesslm.json") if (folder / "chesslm.json").is_file() else {}
    listed = checkpoint.listed(folder, about)
    about.pop("files", None)
    tensors = weights.tensors(folder)
    yield "checkpoint", str(folder)
    yield "notation", str(about.pop("notation", "not said (no chesslm.json); name it with --notation"))
    yield "architecture", _value(config.get("architectures") or config.get("model_type", "not said"))
    yield from ((f"  {name}", str(config[name])) for name in ARCHITECTURE if name in config)
    yield "parameters", _value(about.pop("parameters", weights.held_in(tensors)))
    yield "weights", ", ".join(sorted({dtype for _, dtype in tensors.values()}))
    if weights.SINGLE in listed:
        yield "  sha256", str(listed[weights.SINGLE]["sha256"])
    # Resume state in run/ is not part of the checkpoint.
    yield "size on disk", _size(file.stat().st_size for file in folder.iterdir() if file.is_file())
    yield from _curves(folder)
    # The longest part last.
    recipe = about.pop("recipe", None)
    yield from _flat(about if recipe is None else {**about, "recipe": recipe})


def _run(folder: Path) -> Lines:
    checkpoint.check_links(folder)
    yield "run", f"{folder}, not finished; go on with chesslm train --resume"
    yield from _curves(folder)
    yield from _flat({"recipe": files.read_json(recipe_file(folder))["recipe"]})


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

    about = dict(open_dataset(folder).meta)
    listed = about.pop("files")
    yield "dataset", str(folder)
    yield "notation", str(about.pop("notation", "not said"))
    yield "sha256", str(about.pop("sha256", "not said"))
    for split, counts in about.pop("splits").items():
        yield split, ", ".join(f"{number:,} {what}" for what, number in counts.items())
    yield "size on disk", f"{_size(entry['bytes'] for entry in listed.values())} in {len(listed)} files"
    yield from _flat(about)


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
    # A folder that anybody may have made does not get to steer the terminal.
    return "".join(each for each in " ".join(str(content).split()) if each.isprintable())


def _size(sizes: Iterator[int]) -> str:
    return f"{sum(sizes) / 1e6:.1f} MB"
