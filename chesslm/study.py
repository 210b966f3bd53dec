"""A study of transfer as its file describes it: arms x game counts x seeds -> cells, each a recipe.

An arm is where a model starts from; a cell is one training run of it on so many games.

    [study]
    data = "data/masters"           # a dataset folder: training games, validation, test; paths are from this file on
    games = [500, 2000, 8000]       # nested samples of the training games, the same for all arms by seed
    seeds = [1, 2, 3]
    rates = [0.5, 1.0, 2.0]         # times the recipe's rates
    rate_games = 2000
    test_games = 300
    random_games = 100

    [model]                         # the recipe of every cell
    [train]

    [arms.scratch]                  # what the others are compared with
    [arms.text]
    init.model = "text-tiny"
    [arms.frozen]
    init = {model = "text-tiny", freeze = "body"}
    differs = "only embeddings are trained"
    games = [2000]                  # for this arm alone; so may be seeds, rates, data, model and train
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chesslm import config
from chesslm.config import Recipe
from chesslm.errors import InputError

SCRATCH = "scratch"
LISTS = {"games": int, "seeds": int, "rates": float}
PLAIN = {"data": "", "games": [], "seeds": [1], "rates": [1.0], "rate_games": 0, "test_games": 300, "random_games": 100}


@dataclass(frozen=True)
class Arm:
    """Where models start from.

    Attributes:
        name: ``scratch`` is the one that the others are compared with.
        recipe: of its cells, but for the games, the seed and the rate.
        data: dataset folder.
        games: sizes of its training sets.
        seeds: of its cells.
        rates: to choose from, times the recipe's.
        differs: what else than the initial weights tells it from the other arms, in words.
    """

    name: str
    recipe: Recipe
    data: Path
    games: tuple[int, ...]
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    differs: str = ""


@dataclass(frozen=True)
class Study:
    """A study as its file describes it.

    Attributes:
        data: the dataset whose test games all cells are measured on.
        arms: what is compared.
        rate_games: the game count at which rates are tried.
        test_games, random_games: to measure on.
    """

    data: Path
    arms: tuple[Arm, ...]
    rate_games: int
    test_games: int
    random_games: int

    @property
    def smallest(self) -> int:
        """The smallest game count of all."""
        return min(games for arm in self.arms for games in arm.games)


@dataclass(frozen=True)
class Cell:
    """One training run."""

    arm: Arm
    games: int
    seed: int
    rate: float

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.arm.name}-{self.games}-seed{self.seed}-rate{self.rate:g}"

    def recipe(self, smallest: int) -> Recipe:
        """All that is needed to run it with ``chesslm train``.

        Validations come at the recipe's pace at the smallest game count and more rarely as the root of the count: looks
        that differ by more than their noise take more steps where there is more to learn, but not in proportion.
        """
        train = self.arm.recipe.train
        changes: dict[str, Any] = {"max_games": self.games, "seed": self.seed}
        changes["val_every"] = round(train.val_every * (self.games / smallest) ** 0.5)
        changes |= {name: getattr(train, name) * self.rate for name in ("learning_rate", "muon_learning_rate")}
        return replace(self.arm.recipe, train=replace(train, **changes))


def read_study(path: Path) -> Study:
    """Read a study.

    Raises:
        InputError: no such file, bad TOML, an unknown key, no arm called scratch, or a value of the wrong type.
    """
    table = config.read_toml(path, "study")
    _check_tables(path, table)
    about, arms = table.pop("study", {}), table.pop("arms", {})
    recipe = config.from_dict(table)
    if unknown := set(about) - set(PLAIN):
        raise InputError(f"{path}: unknown key {sorted(unknown)[0]!r} in [study]; it has {', '.join(PLAIN)}")
    if SCRATCH not in arms:
        raise InputError(f"{path}: no [arms.{SCRATCH}], which the other arms are compared with")
    about = PLAIN | about
    for name, least in (("rate_games", 0), ("test_games", 1), ("random_games", 1)):
        if not isinstance(about[name], int) or about[name] < least:
            raise InputError(f"{path}: [study] {name} is a number of games, {least} or more")
    read = tuple(_arm(path, name, values, recipe, about) for name, values in arms.items())
    rate_games = about["rate_games"] or min(read[0].games)
    return Study(path.parent / str(about["data"]), read, rate_games, about["test_games"], about["random_games"])


def _check_tables(path: Path, table: dict[str, Any]) -> None:
    """Find what should be a section, and what the cells set themselves."""
    arms = table.get("arms", {})
    sections = {key: value for key, value in table.items() if key != "arms"} | {"arms": arms}
    for name, arm in arms.items() if isinstance(arms, dict) else ():
        sections[f"arms.{name}"] = arm
        if isinstance(arm, dict):
            sections |= {f"arms.{name}.{key}": arm[key] for key in ("init", "model", "train") if key in arm}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise InputError(f"{path}: {name} is a section with keys, [{name}], not {section!r}")
        for key, instead in (("seed", "seeds"), ("max_games", "games")):
            if name.rpartition(".")[2] == "train" and key in section:
                raise InputError(f"{path}: {key} in [{name}]; a study says {instead} in [study] or in its arms")


def _model(path: Path, arm: str, model: str) -> str:
    """A model that an arm starts from: a folder or file, or else a hub id, which has one slash at most."""
    found = path.parent / model
    if not found.exists() and (model.count("/") > 1 or model[:1] in "./~"):
        raise InputError(f"{path}: {found} of [arms.{arm}]: no such model")
    return str(found) if found.exists() else model


def _arm(path: Path, name: str, values: dict[str, Any], recipe: Recipe, about: dict[str, Any]) -> Arm:
    keys = ("data", "differs", "games", "init", "model", "rates", "seeds", "train")
    if unknown := set(values) - set(keys):
        raise InputError(f"{path}: unknown key {sorted(unknown)[0]!r} in [arms.{name}]; it has {', '.join(keys)}")
    for section in ("init", "model", "train"):
        for key, value in values.get(section, {}).items():
            if (section, key) == ("init", "model"):
                value = _model(path, name, str(value))
            recipe = config.changed(recipe, f"{section}.{key}", value)
    config.check_init(recipe)
    lists = {key: values.get(key, about[key]) for key in LISTS}
    for key, each in lists.items():
        kind = int | float if LISTS[key] is float else int
        if not isinstance(each, list) or not each or not all(isinstance(v, kind) and v > 0 for v in each):
            raise InputError(f"{path}: {key} of [arms.{name}] is a list of numbers above 0")
    data = path.parent / str(values.get("data", about["data"]))
    return Arm(
        name, recipe, data, tuple(lists["games"]), tuple(lists["seeds"]), tuple(map(float, lists["rates"])),
        str(values.get("differs", "")),
    )  # fmt: skip
