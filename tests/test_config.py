"""Recipes: strict keys, types and ranges; what is not set keeps its default."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from chesslm.card import model_card
from chesslm.config import (
    SIZES,
    ModelConfig,
    Recipe,
    TrainConfig,
    changed,
    check_init,
    differences,
    read_recipe,
    with_settings,
    with_size,
)
from chesslm.errors import InputError
from chesslm.study import PLAIN, read_study


def test_a_recipe_is_read_from_toml(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text("""
        [model]
        layers = 2
        dropout = 0

        [train]
        optimizer = "adamw"
        learning_rate = 1e-3
        max_minutes = 5
    """)
    expected = Recipe(
        ModelConfig(layers=2, dropout=0.0), TrainConfig(optimizer="adamw", learning_rate=1e-3, max_minutes=5.0)
    )
    recipe = read_recipe(path)
    assert recipe == expected
    # An integer where a fraction belongs is read as one, so that equal recipes are equal in chesslm.json too.
    assert isinstance(recipe.train.max_minutes, float) and isinstance(recipe.model.dropout, float)


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_that_are_released_can_be_read(path: Path):
    if path.stem.startswith("transfer-") and path.stem != "transfer-probe":
        assert all(arm.recipe.init.model == "" or Path(arm.recipe.init.model).is_dir() for arm in read_study(path).arms)
    else:
        assert read_recipe(path).train.optimizer == "muon"


@pytest.mark.parametrize("path", sorted((ROOT / "checkpoints").glob("chesslm-*")), ids=lambda path: path.stem)
def test_released_models_are_what_their_recipes_and_cards_say(path: Path):
    about = json.loads((path / "chesslm.json").read_text())
    chain, _, leg = path.name.partition("-leg-")
    recipe = next(
        each for name in (chain, chain.removeprefix("chesslm-"))
        if (each := ROOT / "recipes" / f"{name}.toml").is_file()
    )  # fmt: skip
    kept, wanted = about["recipe"]["train"], json.loads(json.dumps(asdict(read_recipe(recipe).train)))
    if legs := wanted["legs"]:  # without a number, the last one made it
        wanted |= {"max_minutes": legs[int(leg or 0) - 1], "decay": float(not leg)}
        # Of a leg in the middle those after it are plans, which may have changed since.
        wanted["legs"], kept["legs"] = (each[: int(leg or len(each))] for each in (legs, kept["legs"]))
    # The oldest of them did not record settings that came later.
    assert kept == {name: value for name, value in wanted.items() if name in kept}
    figures = path / "figures.json"
    measured = json.loads(figures.read_text()) if figures.is_file() else None
    assert (path / "README.md").read_text() == model_card(about, measured)
    assert sum(file.stat().st_size for file in path.iterdir() if file.is_file()) < 30e6


def test_an_empty_recipe_is_the_default(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text("")
    assert read_recipe(path) == Recipe()


def test_what_is_taken_of_a_model_may_be_said_before_it_is_named(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text("[init]\nkeep_layers = 2\nmodel = 'some'")
    check_init(read_recipe(path))
    with pytest.raises(InputError, match="name it with --init"):
        check_init(with_settings(Recipe(), ["init.shuffle=true"]))


@pytest.mark.parametrize("section", ["model", "train", "init"])
def test_every_setting_is_documented_with_its_default(section: str):
    text = (ROOT / "docs" / "recipes.md").read_text().split(f"\n## `[{section}]`\n")[1].split("\n## ")[0]
    shown = {key: json.loads(value) for key, value in re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE)}
    assert shown == json.loads(json.dumps(Recipe().as_dict()[section]))


def test_every_key_of_a_study_is_documented():
    text = (ROOT / "docs" / "recipes.md").read_text().split("| `[study]` |")[1]
    assert {key for key in PLAIN if f"\n| `{key}` | " in text} == set(PLAIN)


def test_a_recipe_survives_its_own_writing(tmp_path: Path):
    recipe = with_settings(with_size(Recipe(), "base"), ["train.seed=7", "train.clip=0.5", "train.precision=fp32"])
    lines = []
    for section, values in recipe.as_dict().items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    path = tmp_path / "recipe.toml"
    path.write_text("\n".join(lines))
    assert read_recipe(path) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nlearning_rte = 1e-3", "unknown setting 'train.learning_rte'; train has .*learning_rate"),
        ("[modle]\nlayers = 2", "unknown setting 'modle.layers'; settings are init.NAME, model.NAME and train.NAME"),
        ("layers = 2", "layers stands outside a section"),
        ("[model]\nlayers = 2.5", "setting model.layers takes int, not 2.5"),
        ("[model]\nlayers = true", "setting model.layers takes int, not True"),
        ("[model]\nlayers = 0", "setting model.layers must be 1 or more"),
        ("[model]\nlayers = [2]", r"setting model.layers takes int, not \[2\]"),
        ("[train]\noptimizer = 3", "setting train.optimizer takes str, not 3"),
        ("[train]\noptimizer = 'sgd'", "setting train.optimizer is one of muon, adamw"),
        ("[train]\nlearning_rate = 'fast'", "setting train.learning_rate takes float, not 'fast'"),
        ("[train]\nlearning_rate = 0", "setting train.learning_rate must be above 0"),
        ("[train]\nlearning_rate = nan", "setting train.learning_rate must be above 0"),
        ("[train]\nmax_minutes = -1", "setting train.max_minutes must be 0 or more"),
        ("[train]\nval_games = 0", "setting train.val_games must be above 0"),
        ("[model]\ncontext = -5", "setting model.context must be 2 or more, or 0"),
        ("[model]\ncontext = 1", "setting model.context must be 2 or more, or 0"),
        ("[train]\nwarmup = 2", "setting train.warmup is a share, from 0 to 1"),
        ("[train]\ndecay = -0.1", "setting train.decay is a share, from 0 to 1"),
        ("[train]\nseed = 9223372036854775808", r"setting train.seed must be below 2\^63"),
        ("[trian]", "unknown section 'trian'; sections are init, model and train"),
        ("[model]\ndropout = 1.5", "setting model.dropout is a share"),
        ("[train", r"recipe.toml: not TOML"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(tmp_path: Path, text: str, message: str):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_recipe(path)


def test_a_missing_recipe_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"nowhere\.toml: no such recipe"):
        read_recipe(tmp_path / "nowhere.toml")


def test_settings_are_converted_to_their_types():
    recipe = with_settings(Recipe(), ["train.learning_rate=1e-4", " model.layers = 3 ", "train.optimizer=adamw"])
    assert recipe.train.learning_rate == 1e-4
    assert recipe.model.layers == 3
    assert recipe.train.optimizer == "adamw"
    unchanged = asdict(Recipe().train) | {"learning_rate": 1e-4, "optimizer": "adamw"}
    assert asdict(recipe.train) == unchanged


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.learning_rate", "--set takes KEY=VALUE"),
        ("learning_rate=1", "unknown setting 'learning_rate'"),
        ("train.=1", "unknown setting 'train.'"),
        ("model.layers=2.5", "setting model.layers takes int, not '2.5'"),
        ("model.layers=", "setting model.layers takes int, not ''"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(setting: str, message: str):
    with pytest.raises(InputError, match=message):
        with_settings(Recipe(), [setting])


def test_sizes_are_known_by_name():
    assert {name: with_size(Recipe(), name).model for name in SIZES} == SIZES
    with pytest.raises(InputError, match="unknown size 'huge'; sizes are tiny, small, base, gpt2"):
        with_size(Recipe(), "huge")


def test_a_size_leaves_the_rest_of_a_recipe_alone():
    recipe = with_settings(Recipe(), ["model.tied=false", "model.context=100", "model.dropout=0.2"])
    small = with_size(recipe, "small").model
    assert (small.layers, small.tied, small.context, small.dropout) == (8, False, 100, 0.2)
    assert with_size(recipe, "gpt2").model.dropout == SIZES["gpt2"].dropout > 0


@pytest.mark.parametrize(
    ("setting", "differ"), [("model.context=64", True), ("model.context=0", False), ("model.layers=3", False)]
)
def test_of_a_shape_that_is_taken_over_the_context_counts(setting: str, differ: bool):
    kept = with_settings(Recipe(), ["init.model=some", "model.context=128"])
    asked = with_settings(kept, [setting])
    assert [key for key, *_ in differences(kept, asked)] == (["model.context"] if differ else [])


def test_changing_a_recipe_leaves_the_old_one_alone():
    old = Recipe()
    assert changed(old, "model.layers", 3).model.layers == 3
    assert old == Recipe()
