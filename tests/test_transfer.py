"""The study of transfer: cells are ordinary runs, done once; what is said of them follows from their figures."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli
from safetensors.torch import load_file, save_file
from scipy import stats

from chesslm import parallel
from chesslm.errors import FailureError, InputError
from chesslm.loader import GameBatches
from chesslm.run import RunFolder
from chesslm.seeds import Spread, pooled
from chesslm.shards import open_dataset
from chesslm.study import Cell, read_study
from chesslm.transfer import threads_of, transfer
from chesslm.transferred import FIGURES, effective_games, markdown, summarize

STUDY = """
[study]
data = "{data}"
games = [40]
rates = [0.5, 1.0]
test_games = 3
random_games = 2
[model]
layers = 1
width = 16
heads = 1
[train]
batch_tokens = 512
val_every = 4
val_games = 4
patience = 2
max_steps = 12
precision = "fp32"
[arms.scratch]
[arms.control]
init.model = "{model}"
rates = [1.0]
differs = "a larger body"
"""


@pytest.fixture
def study(tiny_dataset: Path, tiny_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(data=tiny_dataset, model=tiny_model))
    return path


def test_a_study_killed_in_the_middle_finishes_with_the_missing_cells(study: Path, tmp_path: Path) -> None:
    broken, first = tmp_path / "broken", "scratch-40-seed1-rate0.5"
    command = [sys.executable, "-m", "chesslm", "transfer", str(study), "--out", str(broken), "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        while not (broken / "cells" / f"{first}.json").exists():
            assert process.poll() is None, process.communicate()[1].decode()
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (broken / "study.json").exists()
    before = (broken / "cells" / f"{first}.json").stat().st_mtime_ns
    resumed, whole = (
        transfer(study, broken, workers=1, quiet=True),
        transfer(study, tmp_path / "whole", workers=1, quiet=True),
    )
    assert (broken / "cells" / f"{first}.json").stat().st_mtime_ns == before
    assert resumed["rows"] == whole["rows"]
    assert resumed == transfer(study, broken, workers=1, quiet=True) == json.loads((broken / "study.json").read_text())
    assert {cell["arm"] for cell in whole["cells"]} == {"scratch", "control"}
    tried = {cell["rate"]: cell["validation"]["val_bits_per_move"] for cell in whole["trials"]}
    assert tried[whole["rates"]["scratch"]] == min(tried.values())

    study.write_text(study.read_text().replace("val_every = 4", "val_every = 3"))
    with pytest.raises(InputError, match="another recipe"):
        transfer(study, broken, workers=1, quiet=True)


def test_a_study_goes_on_from_its_results_alone_but_not_with_other_weights(
    study: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """The models of cells may be left behind; the one that an arm starts from must not have changed since."""
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(tiny_model, model)
    study.write_text(study.read_text().replace(str(tiny_model), str(model)).replace("[40]", "[40, 50]"))
    whole = transfer(study, out, workers=1, quiet=True)
    for cell in (out / "cells").glob("*/"):
        shutil.rmtree(cell)
    (out / "cells/control-50-seed1-rate1.json").unlink()
    again = transfer(study, out, workers=1, quiet=True)
    assert again["rows"] == whole["rows"]
    assert [cell.name for cell in (out / "cells").glob("*/")] == ["control-50-seed1-rate1"]

    weights = load_file(model / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="other initial weights"):
        transfer(study, out, workers=1, quiet=True)


def test_a_cell_that_was_begun_otherwise_does_not_go_on(study: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    arm, out = read_study(study).arms[0], tmp_path / "out"
    recipe = Cell(arm, 40, seed=1, rate=0.25).recipe(smallest=40)
    (out / "cells").mkdir(parents=True)
    RunFolder(out / "cells/scratch-40-seed1-rate0.5/run", recipe, None).create(open_dataset(tiny_dataset).sha256)
    with pytest.raises(InputError, match=r"rate0\.5 was begun with another recipe"):
        transfer(study, out, workers=1, quiet=True)


def test_workers_share_the_cores_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda workers=0: workers or 8)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [threads_of(workers) for workers in (0, 1, 2, 16)] == [1, 8, 4, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_of(2) is None
    assert threads_of("dask://127.0.0.1:8786") is None


def test_a_cell_ends_with_its_best_weights(study: Path, tmp_path: Path) -> None:
    """At an absurd rate the loss rises at once; patience cuts it once, then ends the run, with the best validation."""
    text = (
        study.read_text().replace("rates = [0.5, 1.0]", "rates = [30.0]").replace("max_steps = 12", "max_steps = 900")
    )
    study.write_text(text.split("[arms.control]")[0])
    found = transfer(study, tmp_path / "out", workers=1, quiet=True)["cells"][0]
    log = np.genfromtxt(tmp_path / "out/cells/scratch-40-seed1-rate30/run/metrics.csv", delimiter=",", names=True)
    bits = log["val_bits_per_move"][~np.isnan(log["val_bits_per_move"])]
    assert found["trained"]["steps"] < 900
    assert found["validation"]["val_bits_per_move"] == pytest.approx(bits.min(), rel=1e-4)
    assert load_file(tmp_path / "out/cells/scratch-40-seed1-rate30/model.safetensors")


def test_a_rate_that_diverges_is_not_chosen(study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Tried again it would diverge again; so it is a result, unless there is no other rate."""
    text = study.read_text().split("[arms.control]")[0].replace("precision", "clip = 1e30\nprecision")
    study.write_text(text.replace("rates = [0.5, 1.0]", "rates = [1.0, 1e30]"))
    found, again = (transfer(study, tmp_path / "out", workers=1) for _ in range(2))
    assert found == again and found["rates"] == {"scratch": 1.0} and len(found["cells"]) == 1
    assert ["diverged" in trial for trial in found["trials"]] == [False, True]
    assert capfd.readouterr().err.count("rate1e+30: diverged") == 1
    study.write_text(text.replace("rates = [0.5, 1.0]", "rates = [1e30]"))
    with pytest.raises(FailureError, match=r"rate1e\+30 diverged"):
        transfer(study, tmp_path / "other", workers=1, quiet=True)


def test_smaller_samples_lie_in_larger_ones(tiny_dataset: Path) -> None:
    split = open_dataset(tiny_dataset).splits["train"]

    def chosen(games: int, seed: int, epoch: int = 0) -> set[int]:
        batches = GameBatches(split, 512, 512, seed, games=games)
        return {int(game) for batch in batches.plan(epoch) for game in batch}

    assert len(chosen(20, 1)) == 20
    assert chosen(20, 1) == chosen(20, 1, epoch=3) < chosen(50, 1) < chosen(0, 1)
    assert chosen(20, 1) != chosen(20, 2)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[arms.scratch]", "[arms.plain]", "no [arms.scratch]"),
        ("games = [40]", "games = 40", "games of [arms.scratch] is a list"),
        ("games = [40]", "games = [40000]", "wants 40000 games"),
        ("rates = [0.5, 1.0]", "rate = 1.0", "unknown key 'rate' in [study]"),
        ("[arms.control]", "[arms.control]\nlayers = 1", "unknown key 'layers' in [arms.control]"),
        ("test_games = 3", "test_games = -3", "test_games is a number"),
        ("random_games = 2", "random_games = 0", "random_games is a number of games, 1 or more"),
        ("[arms.control]", '[arms.t]\ninit = "x"\n[arms.control]', "arms.t.init is a section"),
        ("[arms.scratch]", "[arms]\nt = 3\n[arms.scratch]", "arms.t is a section"),
        ("[model]", "[[model]]", "model is a section"),
        ("[train]", "[train]\nseed = 7", "a study says seeds"),
        ("[arms.scratch]", "[arms.scratch]\ntrain.max_games = 7", "a study says games"),
        ("[arms.control]", '[arms.t]\ninit.model = "./typo"\n[arms.control]', "no such model"),
        ("layers = 1", "layers = ", "not TOML"),
        ('differs = "a larger body"', 'data = "{other}"', "must hold the games"),
    ],
)
def test_bad_studies(
    cli: Cli, study: Path, text_dataset_with_other_split: Path, tmp_path: Path, old: str, new: str, says: str
) -> None:
    study.write_text(study.read_text().replace(old, new.replace("{other}", str(text_dataset_with_other_split))))
    ended = cli("transfer", study, "--out", tmp_path / "out", "--quiet")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert says in ended.err
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def text_dataset_with_other_split(tiny_pgn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from chesslm.prepare import prepare

    folder = tmp_path_factory.mktemp("other") / "data"
    prepare([str(tiny_pgn)], folder, val=0.1, test=0.1, seed=2, workers=1, quiet=True)
    return folder


def test_validations_come_more_rarely_with_more_games(study: Path) -> None:
    arm = read_study(study).arms[0]
    recipes = [Cell(arm, games, 1, 0.5).recipe(smallest=40).train for games in (40, 160)]
    assert [(each.max_games, each.val_every) for each in recipes] == [(40, 4), (160, 8)]
    assert recipes[0].learning_rate == 0.5 * arm.recipe.train.learning_rate


def test_effective_games_lie_on_scratchs_curve() -> None:
    counts, losses = [100, 400, 1600], np.array([8.0, 4.0, 2.0])
    assert effective_games(4.0, counts, losses) == pytest.approx(400)
    # halfway in log loss is halfway in log games
    assert effective_games(32**0.5, counts, losses) == pytest.approx(200)
    assert effective_games(1.9, counts, losses) == float("inf")
    assert effective_games(8.1, counts, losses) == 0
    # a larger count that came out worse is taken for noise
    assert effective_games(4.0, counts, np.array([8.0, 4.0, 4.5])) == pytest.approx(1600)


def cell(
    arm: str, games: int, seed: int, bits: float, steps: int = 9, differs: str = "", shuffle: bool = False
) -> dict[str, Any]:
    values = {**dict.fromkeys(FIGURES, 0.5), "bits_per_move": bits}
    figures = {key: {"value": value} for key, value in values.items()}
    suites = {"legality": figures, "legality-random": figures}
    recipe = {
        "train": {"patience": 2, "max_steps": 10, "max_tokens": 0, "max_minutes": 0.5},
        "init": {"shuffle": shuffle},
    }
    trained = {"steps": steps, "tokens": 99, "minutes": 0.1}
    about = {"arm": arm, "games": games, "seed": seed, "rate": 1.0, "differs": differs}
    return {**about, "recipe": recipe, "trained": trained, "suites": suites}


def test_the_smallest_effect_that_could_have_been_seen() -> None:
    """Four of five studies with two degrees of freedom see it, as drawing such studies says."""
    spread, draw = Spread(0.5, 2), np.random.default_rng(1)
    means = draw.normal(spread.detectable(3), 0.5 / 3**0.5, 100_000)
    deviations = 0.5 * (draw.chisquare(2, 100_000) / 2) ** 0.5
    seen = means - stats.t.ppf(0.975, 2) * deviations / 3**0.5 > 0
    assert seen.mean() == pytest.approx(0.8, abs=0.005)
    assert np.isnan(Spread(0.0, 0).detectable(3))


def test_arms_that_differ_in_more_are_marked_and_widen_no_interval() -> None:
    """So are runs that ended with their budget."""
    cells = [cell(arm, 10, seed, 5 + 0.1 * seed) for arm in ("scratch", "text") for seed in (1, 2, 3)]
    alone = {row["arm"]: row for row in summarize(cells)}
    wild = [cell("frozen", 10, seed, 5.0 + seed**2, steps=7 + seed, differs="less is trained") for seed in (1, 2, 3)]
    rows = {row["arm"]: row for row in summarize([*cells, *wild])}
    assert rows["text"]["bits_per_move"] == alone["text"]["bits_per_move"]
    assert rows["text"]["less"]["scratch"] == alone["text"]["less"]["scratch"]
    table = markdown(list(rows.values()))
    assert any(line.startswith("| frozen * | 10 | 3, 1 cut short | 1 |") for line in table)
    assert any(line.startswith("| text | 10 | 3 | 1 |") for line in table)


def test_permuted_weights_have_a_spread_of_their_own() -> None:
    """Each seed draws others: the interval of a difference from them is that of the paired t test."""
    cells = [cell(arm, 10, seed, 5 + 0.1 * seed) for arm in ("scratch", "text") for seed in (1, 2, 3)]
    alone = {row["arm"]: row for row in summarize(cells)}
    drawn = {1: 6.0, 2: 7.0, 3: 5.0}
    rows = {row["arm"]: row for row in summarize([*cells, *(cell("p", 10, s, drawn[s], shuffle=True) for s in drawn)])}
    assert rows["text"]["bits_per_move"] == alone["text"]["bits_per_move"]
    assert rows["text"]["less"]["scratch"] == alone["text"]["less"]["scratch"]
    low, high = stats.ttest_rel([5.1, 5.2, 5.3], list(drawn.values())).confidence_interval()
    less = rows["text"]["less"]["p"]
    assert (less["low"], less["high"]) == pytest.approx((low, high))
    mean = stats.t.interval(0.95, 2, loc=6, scale=stats.sem(list(drawn.values())))
    assert (rows["p"]["bits_per_move"]["low"], rows["p"]["bits_per_move"]["high"]) == pytest.approx(mean)


def test_what_a_study_says() -> None:
    noise = {1: -0.02, 2: 0.0, 3: 0.02}
    cells = [
        cell(arm, games, seed, bits + off)
        for arm, worth in (("scratch", 1), ("helped", 2), ("harmed", 0.5), ("far", 40))
        for games, bits in ((g, 10 * (g * worth) ** -0.1) for g in (100, 400, 1600))
        for seed, off in noise.items()
    ]
    rows = {(row["arm"], row["games"]): row for row in summarize(cells)}
    helped = rows["helped", 400]
    assert helped["effective_games"]["value"] == pytest.approx(800, rel=1e-6)
    assert helped["effective_games"]["low"] < 800 < helped["effective_games"]["high"]
    assert helped["transferred"]["value"] == pytest.approx(400, rel=1e-6)
    # Seeds move all arms together, so differences are known better than the figures are.
    assert helped["less"]["scratch"]["high"] < 0 < rows["harmed", 400]["less"]["scratch"]["low"]
    assert rows["scratch", 400]["less"]["helped"]["value"] == -helped["less"]["scratch"]["value"]
    assert helped["less"]["scratch"]["detectable"] == pytest.approx(0, abs=1e-9)
    assert pooled([np.array([-0.02, 0.0, 0.02])] * 4).half(3) == pytest.approx(
        helped["bits_per_move"]["high"] - helped["bits_per_move"]["value"]
    )
    assert rows["harmed", 100]["below"]["value"]
    assert rows["harmed", 400]["transferred"]["value"] == pytest.approx(-200, rel=1e-6)
    assert rows["far", 400]["beyond"]["value"] and rows["far", 400]["effective_games"]["value"] is None
    assert "effective_games" not in rows["scratch", 100]

    # Two arms alone: the interval of a difference is that of the paired t test.
    two = [
        cell(arm, 100, seed, bits)
        for arm, each in (("a", [5, 6, 8]), ("scratch", [6, 6.5, 9.5]))
        for seed, bits in enumerate(each)
    ]
    less = next(row for row in summarize(two) if row["arm"] == "a")["less"]["scratch"]
    low, high = stats.ttest_rel([5, 6, 8], [6, 6.5, 9.5]).confidence_interval()
    assert (less["low"], less["high"]) == pytest.approx((low, high))
    table = "\n".join(markdown(list(rows.values())))
    assert "> 1,600" in table and "< 100" in table and "| 800 (" in table


def test_the_interval_of_effective_games_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies simulated from a known power law: the truth lies within about 95 % of the intervals."""
    monkeypatch.setattr("chesslm.transferred.DRAWS", 400)
    draw, inside, studies = np.random.default_rng(5), 0, 60
    for n in range(studies):
        cells = [
            cell(arm, games, seed, 10 * (games * worth) ** -0.1 + draw.normal(0, 0.03))
            for arm, worth in (("scratch", 1), ("a", 2), ("b", 1.5))
            for games in (500, 2000, 8000)
            for seed in (1, 2, 3)
        ]
        row = next(row for row in summarize(cells, seed=n) if (row["arm"], row["games"]) == ("a", 2000))
        low, high = (row["effective_games"][end] for end in ("low", "high"))
        low = low or (float("inf") if row["beyond"]["low"] else 0.0)
        high = high or (float("inf") if row["beyond"]["high"] else 0.0)
        inside += low <= 4000 <= high
    assert inside >= 53
