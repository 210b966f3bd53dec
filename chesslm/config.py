"""Settings of a training run: frozen dataclasses, read from a TOML recipe, changed by ``--set key=value``.

    [model]      what is trained       [train]      how       [init]      from which weights

recipes/*.toml are examples.

Keys are strict: a name that is not a field here is an error that lists the names that are.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from chesslm.errors import InputError


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a GPT-2 from scratch.

    Attributes:
        layers: transformer blocks.
        width: of the residual stream.
        heads: attention heads a block; must divide the width.
        context: positions; 0 takes the notation's own.
        dropout: everywhere that GPT-2 has it.
        sinusoids: the embeddings of positions begin as sinusoids, and not at random; they are trained all the same.
        tied: tokens are scored by the table that embeds them, as GPT-2 has it, and not by one of their own.
    """

    layers: int = 8
    width: int = 256
    heads: int = 8
    context: int = 0
    dropout: float = 0.0
    sinusoids: bool = True
    tied: bool = True


SIZES = {
    "tiny": ModelConfig(layers=4, width=128, heads=4),
    "small": ModelConfig(layers=8, width=256, heads=8),
    "base": ModelConfig(layers=10, width=320, heads=10),
    "gpt2": ModelConfig(layers=12, width=768, heads=12, dropout=0.1),
}
"""About 1.1 M, 7.0 M, 13.1 M and 87 M parameters with the vocabulary of uci-move."""


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        optimizer: ``muon`` (Muon on the matrices of the blocks, AdamW on all else) or ``adamw``.
        learning_rate: peak, of AdamW.
        muon_learning_rate: peak, of Muon.
        weight_decay: of matrices and embeddings.
        spelling: whether tokens share what is learned of the pieces of text in them (``spelling``); text never does.
        batch_tokens: a batch holds at most this many tokens, padding included; gradients are averaged over it.
        accumulate: parts in which a batch passes through the model, for less memory; what is learned is the same.
        warmup: share of the budget during which the rate rises linearly from 0.
        decay: share of the budget, at its end, during which it falls linearly to ``final``.
        final: share of the peak rate that is left at the end.
        clip: largest norm of the gradient.
        strays: how likely a game is left at any ply for a random legal move, 0 to 1: the targets tell of every way to
            (``chances``), and in games of random legal moves, known by their Event, of nothing else. 0: of the move
            played alone, everywhere.
        legality: weight of a second loss: minus the log of what the model gives all legal moves together.
        hints: share of the moves before which the moved piece is named, in a dataset prepared with ``--hints``.
        max_games: train on a seeded sample of so many games; 0: on all. Smaller samples of a seed lie in larger ones.
        patience: validations without a better one after which the rate is quartered, and the second time the
            run ends; the best weights are kept. 0: never.
        max_steps, max_tokens, max_minutes: the budget; 0 is none, and the first one reached ends the run. Tokens
            are real ones, without padding.
        legs: minutes of each leg of a long training, instead of a budget (``legs``): the rate is held in all but the
            last one, and falls all through that.
        precision: auto, fp32 or bf16.
        compile: the body of the model, by torch.compile.
        val_every: steps between two measurements on the validation games; 0: only at the end.
        val_games: validation games used, at most.
        track: what is measured at steps evenly spaced in their logarithm: ``sinks``, as the suite of that name does;
            ``target``, the targets of pairs; empty: nothing.
        seed: of weights and order.
    """

    optimizer: str = "muon"
    learning_rate: float = 2e-3
    muon_learning_rate: float = 0.02
    weight_decay: float = 0.0
    spelling: bool = True
    batch_tokens: int = 4096
    accumulate: int = 1
    warmup: float = 0.02
    decay: float = 0.5
    final: float = 0.01
    clip: float = 1.0
    strays: float = 0.0
    legality: float = 0.0
    hints: float = 0.0
    max_games: int = 0
    patience: int = 0
    max_steps: int = 0
    max_tokens: int = 0
    max_minutes: float = 0.0
    legs: tuple[float, ...] = ()
    precision: str = "auto"
    compile: bool = False
    val_every: int = 500
    val_games: int = 200
    track: str = ""
    seed: int = 1

    @property
    def has_budget(self) -> bool:
        """Whether anything but legs says when it ends."""
        return bool(self.max_steps or self.max_tokens or self.max_minutes)


@dataclass(frozen=True)
class InitConfig:
    """Which weights a model starts from (``transplant``).

    Attributes:
        model: folder, hub id or GGUF file; empty: from scratch.
        embeddings: ``random``, ``mean`` or ``pieces``: how tokens that the other model lacks begin.
        keep_layers: the first so many; 0: all.
        freeze: ``none``, ``body`` or ``embeddings``: what is not trained.
        shuffle: permute the weights within each tensor, as a control.
        goes_on: that model's training goes on: in the same data, where it stopped (``legs``).
    """

    model: str = ""
    embeddings: str = "pieces"
    keep_layers: int = 0
    freeze: str = "none"
    shuffle: bool = False
    goes_on: bool = False


@dataclass(frozen=True)
class Recipe:
    """All that determines a training run apart from its data."""

    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    init: InitConfig = field(default_factory=InitConfig)

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dicts, as in TOML and ``chesslm.json``."""
        return asdict(self)


def read_recipe(path: Path) -> Recipe:
    """Read a TOML recipe.

    Raises:
        InputError: no such file, bad TOML, an unknown key, or a value of the wrong type or range.
    """
    table = read_toml(path, "recipe")
    for section, values in table.items():
        if not isinstance(values, dict):
            raise InputError(f"{path}: {section} stands outside a section; sections are [model], [train] and [init]")
    return from_dict(table)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        path: of the file.
        what: it should be.

    Raises:
        InputError: no such file, or bad TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error})") from None


def from_dict(sections: dict[str, dict[str, Any]]) -> Recipe:
    """A recipe from nested dicts; what they leave out keeps its default.

    Raises:
        InputError: as for a recipe's file.
    """
    recipe = Recipe()
    for section, values in sections.items():
        for key, value in values.items():
            recipe = changed(recipe, f"{section}.{key}", value)
        if section not in (f.name for f in fields(recipe)):
            raise InputError(f"unknown section {section!r}; sections are init, model and train")
    return recipe


def changed(recipe: Recipe, key: str, value: Any) -> Recipe:
    """A recipe with one setting changed; a string is converted to the setting's type.

    Raises:
        InputError: an unknown key, or a value of the wrong type or range.
    """
    section, _, name = key.partition(".")
    sections = {f.name for f in fields(recipe)}
    if section not in sections or not name:
        raise InputError(f"unknown setting {key!r}; settings are init.NAME, model.NAME and train.NAME")
    part = getattr(recipe, section)
    known = {f.name: f.type for f in fields(part)}
    if name not in known:
        raise InputError(f"unknown setting {key!r}; {section} has {', '.join(known)}")
    wanted = type(getattr(part, name))
    try:
        if wanted is bool and isinstance(value, str):
            new = {"true": True, "false": False}.get(value.lower())
        elif wanted is tuple:
            new = tuple(float(part) for part in (value.split(",") if isinstance(value, str) else value))
        else:
            new = wanted(value) if isinstance(value, str) or wanted is float else value
    except (TypeError, ValueError):
        new = None
    if type(new) is not wanted:
        kind = "a list of numbers" if wanted is tuple else wanted.__name__
        raise InputError(f"setting {key} takes {kind}, not {value!r}")
    result = replace(recipe, **{section: replace(part, **{name: new})})
    _check(result)
    return result


def with_size(recipe: Recipe, size: str) -> Recipe:
    """A recipe whose model has one of the named sizes: layers, width and heads, and dropout where the size has some.

    Raises:
        InputError: no such size.
    """
    if size not in SIZES:
        raise InputError(f"unknown size {size!r}; sizes are {', '.join(SIZES)}")
    named = SIZES[size]
    shape = {"layers": named.layers, "width": named.width, "heads": named.heads}
    return replace(recipe, model=replace(recipe.model, **shape, dropout=named.dropout or recipe.model.dropout))


def with_settings(recipe: Recipe, settings: list[str]) -> Recipe:
    """A recipe changed by ``key=value`` strings (``--set``)."""
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set takes KEY=VALUE, such as train.learning_rate=1e-3, not {setting!r}")
        recipe = changed(recipe, key.strip(), value.strip())
    return recipe


def differences(kept: Recipe, asked: Recipe) -> Iterator[tuple[str, Any, Any]]:
    """The settings in which two recipes differ: key, value in the one, value in the other.

    Models go by their names, not their places. What starts from one has its shape, so there only the dropout counts,
    and the context where one is asked for.
    """
    for section in fields(kept):
        had, wanted = (asdict(getattr(recipe, section.name)) for recipe in (kept, asked))
        for name, value in had.items():
            new, by_name = wanted[name], (section.name, name) == ("init", "model")
            counts = name == "dropout" or (name == "context" and new)
            if section.name == "model" and kept.init.model and not counts:
                continue
            if (Path(value).name != Path(new).name) if by_name else value != new:
                yield f"{section.name}.{name}", value, new


def check_init(recipe: Recipe) -> None:
    """Check that a recipe which says what to take of another model names one. Asked once it is complete: settings come
    in any order.

    Raises:
        InputError: it does not.
    """
    if not recipe.init.model and recipe.init != InitConfig():
        raise InputError("settings of [init] say what to take of another model; name it with --init")


def _check(recipe: Recipe) -> None:
    train = recipe.train
    for name in ("learning_rate", "muon_learning_rate", "batch_tokens", "accumulate", "clip", "val_games"):
        if not getattr(train, name) > 0:
            raise InputError(f"setting train.{name} must be above 0")
    for name in (
        "weight_decay",
        "legality",
        "max_games",
        "patience",
        "max_steps",
        "max_tokens",
        "max_minutes",
        "val_every",
        "seed",
    ):
        if not getattr(train, name) >= 0:
            raise InputError(f"setting train.{name} must be 0 or more")
    if any(not minutes > 0 for minutes in train.legs):
        raise InputError("setting train.legs is the minutes of each leg, above 0")
    if train.seed >= 1 << 63:
        raise InputError("setting train.seed must be below 2^63")
    for name in ("hints", "strays", "warmup", "decay", "final"):
        if not 0 <= getattr(train, name) <= 1:
            raise InputError(f"setting train.{name} is a share, from 0 to 1")
    for name, known in (("optimizer", ("muon", "adamw")), ("precision", ("auto", "fp32", "bf16"))):
        if getattr(train, name) not in known:
            raise InputError(f"setting train.{name} is one of {', '.join(known)}")
    if train.track not in ("", "sinks", "target"):
        raise InputError(f"setting train.track (--track) is sinks, target or nothing, not {train.track!r}")
    init = recipe.init
    for name, known in (("embeddings", ("random", "mean", "pieces")), ("freeze", ("none", "body", "embeddings"))):
        if getattr(init, name) not in known:
            raise InputError(f"setting init.{name} is one of {', '.join(known)}")
    if init.keep_layers < 0:
        raise InputError("setting init.keep_layers must be 0 or more")
    for name in ("layers", "width", "heads"):
        if getattr(recipe.model, name) < 1:
            raise InputError(f"setting model.{name} must be 1 or more")
    if recipe.model.context < 0 or recipe.model.context == 1:
        raise InputError("setting model.context must be 2 or more, or 0 for what the notation takes")
    if not 0 <= recipe.model.dropout < 1:
        raise InputError("setting model.dropout is a share, from 0 to below 1")
