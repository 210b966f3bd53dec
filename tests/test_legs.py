"""A chain of legs: real runs, one stopped, one continued by hand, and what the last checkpoint says of them all."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_train import RECIPE, SETTINGS, rows, start, wait_for

from chesslm import legs
from chesslm.config import InitConfig, changed
from chesslm.errors import InputError
from chesslm.legs import train_recipe
from chesslm.model import load_weights
from chesslm.train import train

LEGS = replace(
    RECIPE,
    model=replace(RECIPE.model, tied=False),
    train=replace(RECIPE.train, max_steps=0, legs=(0.03, 0.03, 0.03)),
)


def about(folder: Path) -> dict:
    return json.loads((folder / "chesslm.json").read_text())


def test_each_leg_goes_on_where_the_one_before_stopped(tiny_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    options = [*SETTINGS, "--set", "train.legs=0.03,600,0.03", "--set", "train.val_every=10", "--quiet"]
    with start(tiny_dataset, out, *options) as process:
        wait_for(tmp_path / "model-leg-2" / "run" / "metrics.csv", process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    first, kept = about(tmp_path / "model-leg-1"), tmp_path / "model-leg-2"
    assert not (kept / "chesslm.json").exists() and not out.exists()
    # The rate was held to the end, and the second leg began with these weights and a warm-up.
    assert rows(tmp_path / "model-leg-1")[-1]["learning_rate"] == "0.02"
    state = torch.load(kept / "run" / "last.ckpt", weights_only=True)
    batches = state["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]
    steps = first["trained"]["steps"] + state["counters"]["steps"]
    assert state["counters"]["steps"] > 0 and (batches["epoch"] > 0 or batches["batch"] == steps)


def test_the_last_checkpoint_sums_up_all_legs(tiny_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    train_recipe(tiny_dataset, out, LEGS, None, False, device="cpu", quiet=True)
    each = [about(tmp_path / name) for name in ("model-leg-1", "model-leg-2", "model")]
    assert [one["trained"].get("legs") for one in each] == [None, 2, 3]
    for name in ("steps", "tokens", "games", "minutes"):
        assert each[0]["trained"][name] < each[1]["trained"][name] < each[2]["trained"][name]
    own = int(rows(out)[-1]["step"])
    assert each[2]["trained"]["steps"] == each[1]["trained"]["steps"] + own
    assert each[2]["curve"][: len(each[1]["curve"])] == each[1]["curve"]
    tokens = [point["tokens"] for point in each[2]["curve"]]
    assert tokens == sorted(set(tokens)) and tokens[-1] == each[2]["trained"]["tokens"]
    assert each[1]["init"]["model"] == "model-leg-1" and str(tmp_path) not in json.dumps(each[2])
    # Not far from 0; but a step of a slow machine is a good part of so short a leg.
    assert float(rows(out)[-1]["learning_rate"]) < 0.02 * 0.5
    assert each[2]["recipe"]["model"]["tied"] is False and "lm_head.weight" in load_file(out / "model.safetensors")
    card = (out / "README.md").read_text()
    assert "in 3 legs" in card and card.count("\n| ") > len(tokens)
    with pytest.raises(InputError, match="all legs are finished"):
        train_recipe(tiny_dataset, out, LEGS, None, True, device="cpu", quiet=True)
    with pytest.raises(InputError, match="exists"):
        train_recipe(tiny_dataset, out, LEGS, None, False, device="cpu", quiet=True)


def test_a_checkpoint_alone_is_enough_to_go_on(tiny_dataset: Path, tmp_path: Path) -> None:
    """As after a clone: the run folder is gone."""
    recipe = changed(LEGS, "train.legs", (0.03, 0.03))
    train(
        tiny_dataset, tmp_path / "model-leg-1", replace(recipe, train=replace(recipe.train, max_steps=20)), quiet=True
    )
    (tmp_path / "model-leg-1" / "run").rename(tmp_path / "elsewhere")
    train_recipe(tiny_dataset, tmp_path / "model", recipe, None, True, device="cpu", quiet=True)
    assert about(tmp_path / "model")["trained"]["steps"] > 20
    start_weights = load_weights(tmp_path / "model-leg-1").state_dict()
    assert not torch.equal(
        next(iter(start_weights.values())), next(iter(load_weights(tmp_path / "model").state_dict().values()))
    )


def test_later_legs_take_nothing_away_again(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that were shuffled for the first leg are not shuffled again for the second."""
    begun: list[InitConfig] = []
    monkeypatch.setattr(legs, "train", lambda data, out, recipe, *rest, **options: begun.append(recipe.init))
    first = InitConfig("some", keep_layers=2, freeze="embeddings", shuffle=True)
    train_recipe(tiny_dataset, tmp_path / "model", replace(LEGS, init=first))
    assert begun[0] == first
    later = [InitConfig(str(tmp_path / f"model-leg-{n}"), freeze="embeddings", goes_on=True) for n in (1, 2)]
    assert begun[1:] == later


@pytest.mark.parametrize("key", ["train.seed", "train.batch_tokens"])
def test_there_is_no_going_on_in_another_order(tiny_dataset: Path, tiny_model: Path, tmp_path: Path, key: str) -> None:
    recipe = changed(changed(RECIPE, "init.model", str(tiny_model)), "init.goes_on", True)
    with pytest.raises(InputError, match="in another order"):
        train(tiny_dataset, tmp_path / "out", changed(recipe, key, 77), device="cpu", quiet=True)
    assert not (tmp_path / "out").exists()


def test_two_processes_take_all_legs(tiny_dataset: Path, tmp_path: Path) -> None:
    """The second one is started anew in the first leg, whose folder is there by then, and goes on to the next."""
    options = [*SETTINGS, "--set", "train.legs=0.03,0.03", "--devices", "2", "--quiet"]
    with start(tiny_dataset, tmp_path / "model", *options) as process:
        said = process.communicate(timeout=240)[1].decode()
    assert process.returncode == 0 and not said
    assert about(tmp_path / "model")["trained"]["legs"] == 2
