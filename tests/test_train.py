"""Training runs: what they learn, what they leave behind, and that killing one changes nothing."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from safetensors.torch import load_file
from transformers import PreTrainedModel

from chesslm import boards
from chesslm.config import ModelConfig, Recipe, TrainConfig, changed
from chesslm.errors import FailureError, InputError
from chesslm.eval.asking import Question, ask
from chesslm.eval.scorers import ModelScorer
from chesslm.learning import read_curve
from chesslm.model import load_model, new_gpt2
from chesslm.optim import Together, make_optimizer, rate
from chesslm.recorder import HIGH_NATS, Recorder, is_tracked
from chesslm.run import COLUMNS, RunFolder
from chesslm.shards import open_dataset
from chesslm.tokenizer import get_tokenizer
from chesslm.train import train
from chesslm.validation import spread, validate

SHAPE = ModelConfig(layers=2, width=32, heads=2)
RECIPE = Recipe(SHAPE, TrainConfig(max_steps=30, batch_tokens=512, val_every=10, val_games=4, precision="fp32"))
SETTINGS = [
    *("--set", "model.layers=2", "--set", "model.width=32", "--set", "model.heads=2", "--set", "model.dropout=0.1"),
    *("--set", "train.batch_tokens=512", "--set", "train.val_games=4", "--precision", "fp32", "--device", "cpu"),
]


def _logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    return model(ids).logits


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "run" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def start(data: Path, out: Path, *more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "chesslm", "train", "--data", str(data), "--out", str(out), *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.02)


def test_it_learns(tiny_model: Path, tiny_dataset: Path) -> None:
    about = json.loads((tiny_model / "chesslm.json").read_text())
    guess = math.log2(len(get_tokenizer("uci-move")))
    assert about["validation"]["val_bits_per_move"] < guess - 1.5
    log = rows(tiny_model)
    assert int(log[-1]["step"]) == about["trained"]["steps"] == 60
    assert int(log[-1]["tokens"]) == about["trained"]["tokens"]
    assert about["dataset"]["sha256"] == open_dataset(tiny_dataset).sha256
    assert float(log[-1]["loss"]) < float(log[0]["loss"])


def test_validation_agrees_with_the_loss_and_the_suite(
    tiny_models: Mapping[str, Path], tiny_datasets: Mapping[str, Path]
) -> None:
    for notation, folder in tiny_models.items():
        loaded = load_model(str(folder), device="cpu", precision="fp32")
        split = open_dataset(tiny_datasets[notation]).splits["val"]
        with torch.inference_mode():
            logits_of = partial(_logits, loaded.model)
            found = validate(logits_of, loaded.tokenizer, split, games=2, context=512)
            bits, moves = 0.0, 0
            for game in (split[i] for i in spread(len(split), 2)):
                ids = torch.tensor(game.ids.astype(int))[None]
                log2_probs = loaded.model(ids).logits[0].log_softmax(-1) / math.log(2)
                for at in range(1, len(game)):
                    # Not the end of the game, and no move number.
                    if not game.role[at] & (32 | 8):
                        bits -= float(log2_probs[at - 1, int(game.ids[at])])
                moves += int(game.ply.max()) + (0 if game.role[-1] & 32 else 1)
        assert found["val_bits_per_move"] == pytest.approx(bits / moves, rel=1e-4)
        games = [boards.to_codes(loaded.tokenizer.decode_moves(split[i].ids)) for i in spread(len(split), 2)]
        questions = [Question(g, ply, game[:0]) for g, game in enumerate(games) for ply in range(len(game))]
        greedy = iter([answer.greedy for answer in ask(ModelScorer(loaded), games, questions)])
        legal = [
            next(greedy) in boards.legal_codes(board)
            for game in games
            for _, board in zip(game, boards.replay(boards.to_moves(game)), strict=False)
        ]
        assert (found["val_plies"], found["val_legal_argmax"]) == (len(legal), pytest.approx(np.mean(legal)))


def test_validation_games_come_from_everywhere() -> None:
    assert spread(10, 3) == [0, 3, 6]
    assert spread(3, 10) == [0, 1, 2]
    assert spread(0, 3) == []


def test_killed_at_any_moment_and_resumed_it_ends_in_the_same_weights(
    tiny_dataset: Path, tmp_path: Path, cli: Cli
) -> None:
    options = [*SETTINGS, "--max-steps", "40", "--save-steps", "4", "--set", "train.val_every=16", "--track", "sinks"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert cli("train", "--data", tiny_dataset, "--out", whole, *options).code == 0
    with start(tiny_dataset, broken, *options) as killed:
        wait_for(broken / "run" / "last.ckpt", killed)
        killed.send_signal(signal.SIGKILL)
    assert not (broken / "config.json").exists()
    fourth = (broken / "run" / "step-0000004" / "model.safetensors").stat().st_mtime_ns
    with start(tiny_dataset, broken, "--resume", "--device", "cpu") as again:
        wait_for(broken / "run" / "step-0000020", again)
        again.send_signal(signal.SIGKILL)
    assert cli("train", "--data", tiny_dataset, "--out", broken, "--resume", "--device", "cpu").code == 0
    assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    # Gone on with, not begun anew.
    assert (broken / "run" / "step-0000004" / "model.safetensors").stat().st_mtime_ns == fourth
    states = [torch.load(out / "run" / "last.ckpt", weights_only=True)["state_dict"] for out in (whole, broken)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    kept = ("step", "tokens", "games", "loss", "val_bits_per_move")
    assert [[row[key] for key in kept] for row in rows(whole)] == [[row[key] for key in kept] for row in rows(broken)]
    curves = [read_curve(out / "sinks.csv") for out in (whole, broken)]
    assert curves[0]["step"].tolist() == [step for step in range(40) if is_tracked(step)] + [40]
    assert (
        (whole / "sinks.csv").read_text()
        == (broken / "sinks.csv").read_text()
        == (whole / "run" / "sinks.csv").read_text()
    )
    assert curves[0]["free_bits"][-1] < curves[0]["free_bits"][0]


def test_killed_before_it_has_begun_it_begins_anew(tiny_dataset: Path, tmp_path: Path, cli: Cli) -> None:
    """What a kill leaves of ``run`` then has a temporary name, and is passed over."""
    (tmp_path / "out" / ".run.123.tmp").mkdir(parents=True)
    (tmp_path / "out" / ".run.123.tmp" / "recipe.json").write_text("{")
    line = ("train", "--data", tiny_dataset, "--out", tmp_path / "out", *SETTINGS, "--max-steps", "1", "--quiet")
    assert cli(*line, "--resume").code == 2
    assert cli(*line).code == 0 and (tmp_path / "out" / "chesslm.json").is_file()
    ended = cli(*line)
    assert ended.code == 2 and "exists already" in ended.err


def test_a_signal_saves_and_says_how_to_go_on(tiny_dataset: Path, tmp_path: Path) -> None:
    """Ctrl-C; ``test_cli`` has the other one."""
    out = tmp_path / "out"
    process = start(tiny_dataset, out, *SETTINGS, "--max-steps", "1000000", "--save-steps", "log2", "--quiet")
    wait_for(out / "run" / "step-0000004", process)
    process.send_signal(signal.SIGINT)
    err = process.communicate()[1].decode()
    assert process.returncode == 130
    assert "--resume" in err and "Traceback" not in err
    state = torch.load(out / "run" / "last.ckpt", weights_only=True)
    assert state["counters"]["steps"] == state["global_step"] >= 4
    assert not (out / "chesslm.json").exists()


def test_asked_twice_it_does_not_finish_the_step(tiny_dataset: Path, tmp_path: Path) -> None:
    """All games are one batch, so that a step takes seconds; what is followed is measured before it."""
    out = tmp_path / "out"
    options = ["--max-steps", "3", "--size", "tiny", "--set", "train.batch_tokens=2000000", "--track", "sinks"]
    with start(tiny_dataset, out, *options, "--quiet") as process:
        wait_for(out / "run" / "sinks.csv", process)
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 143 and said == "", said
    assert not (out / "run" / "last.ckpt").exists()


def test_killed_before_the_checkpoint_was_whole(tiny_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(tiny_dataset, out, RECIPE, device="cpu", quiet=True)
    weights = (out / "model.safetensors").read_bytes()
    validation = json.loads((out / "chesslm.json").read_text())["validation"]
    for name in ("chesslm.json", "model.safetensors"):
        (out / name).unlink()
    train(tiny_dataset, out, RECIPE, resume=True, device="cpu", quiet=True)
    assert (out / "model.safetensors").read_bytes() == weights
    assert json.loads((out / "chesslm.json").read_text())["validation"] == validation
    with pytest.raises(InputError, match="finished"):
        train(tiny_dataset, out, RECIPE, resume=True, device="cpu", quiet=True)


def test_budgets_and_kept_checkpoints(tiny_dataset: Path, tmp_path: Path) -> None:
    by_tokens = replace(RECIPE, train=replace(RECIPE.train, max_steps=0, max_tokens=3000, val_every=0))
    train(tiny_dataset, tmp_path / "tokens", by_tokens, save_steps="log2", device="cpu", quiet=True)
    about = json.loads((tmp_path / "tokens" / "chesslm.json").read_text())
    assert 3000 <= about["trained"]["tokens"] < 3000 + 512
    steps = about["trained"]["steps"]
    kept = sorted(int(path.name.split("-")[1]) for path in (tmp_path / "tokens" / "run").glob("step-*"))
    assert kept == [2**i for i in range(10) if 2**i <= steps]
    first, final = (load_file(folder / "model.safetensors") for folder in (
        tmp_path / "tokens" / "run" / "step-0000001", tmp_path / "tokens"))  # fmt: skip
    assert any(not torch.equal(first[name], final[name]) for name in first)
    by_minutes = replace(RECIPE, train=replace(RECIPE.train, max_steps=0, max_minutes=0.03, val_every=0))
    train(tiny_dataset, tmp_path / "minutes", by_minutes, device="cpu", quiet=True)
    assert json.loads((tmp_path / "minutes" / "chesslm.json").read_text())["trained"]["steps"] >= 1


def test_bf16_and_adamw_learn_too(tiny_dataset: Path, tmp_path: Path) -> None:
    recipe = changed(changed(RECIPE, "train.precision", "bf16"), "train.optimizer", "adamw")
    train(tiny_dataset, tmp_path / "out", recipe, device="cpu", quiet=True)
    log = rows(tmp_path / "out")
    assert float(log[-1]["loss"]) < float(log[0]["loss"])


def test_a_loss_that_is_no_number_ends_the_run_with_the_last_good_state(tiny_dataset: Path, tmp_path: Path) -> None:
    wild = replace(
        RECIPE,
        train=replace(RECIPE.train, optimizer="adamw", learning_rate=1e30, clip=1e30, warmup=0.5, max_steps=400),
    )
    with pytest.raises(FailureError, match="learning_rate"):
        train(tiny_dataset, tmp_path / "out", wild, save_steps="1", device="cpu", quiet=True)
    state = torch.load(tmp_path / "out" / "run" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert not (tmp_path / "out" / "chesslm.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--max-steps", "0"], "no budget"),
        (["--max-steps", "5", "--save-steps", "often"], "--save-steps"),
        (["--max-steps", "5", "--set", "model.heads=3"], "multiple"),
        (["--max-steps", "5", "--size", "huge"], "unknown size"),
        (["--max-steps", "5", "--recipe", "nowhere.toml"], "no such recipe"),
        (["--max-steps", "5", "--device", "tpu"], "unknown device"),
        (["--max-steps", "5", "--precision", "int4"], "precision"),
        (["--max-steps", "5", "--track", "holes"], "--track"),
        (["--max-steps", "5", "--logger", "wandb"], "--logger is tensorboard"),
        (["--max-steps", "5", "--seed", "-1"], "train.seed must be 0 or more"),
        (["--set", "train.legs=1,1", "--set", "train.max_minutes=1"], "in place of a budget"),
        (["--resume"], "no run to resume"),
    ],
)
def test_bad_usage(cli: Cli, tiny_dataset: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    ended = cli("train", "--data", tiny_dataset, "--out", tmp_path / "out", *arguments)
    assert ended.code == 2
    assert ended.err.count("\n") == 1 and says in ended.err
    assert not (tmp_path / "out").exists()


def test_chances_are_refused_before_a_folder_is_made(
    cli: Cli, tiny_datasets: Mapping[str, Path], tmp_path: Path
) -> None:
    data = tiny_datasets["san"]
    ended = cli("train", "--data", data, "--out", tmp_path / "m", "--max-steps", "1", "--set", "train.legality=1")
    assert (ended.code, ended.err.count("\n")) == (2, 1) and "need a notation such as" in ended.err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "train.learning_rate=1e-4"], "begun with train.learning_rate = 0.01, not 0.0001"),
        (["--max-steps", "7"], "begun with train.max_steps = 5, not 7"),
        (["--size", "base"], "begun with model.layers = 1, not 10"),
        (["--save-steps", "3"], "begun with --save-steps log2"),
    ],
)
def test_a_run_goes_on_with_its_own_settings(
    cli: Cli, tiny_dataset: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    recipe = replace(Recipe(), model=replace(RECIPE.model, layers=1))
    recipe = replace(recipe, train=replace(recipe.train, learning_rate=0.01, max_steps=5))
    RunFolder(tmp_path / "out" / "run", recipe, "log2").create(open_dataset(tiny_dataset).sha256)
    ended = cli("train", "--data", tiny_dataset, "--out", tmp_path / "out", "--resume", *options)
    assert (ended.code, ended.err.count("\n")) == (2, 1) and says in ended.err


def test_bad_folders(cli: Cli, tiny_datasets: Mapping[str, Path], tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "thesis.txt").write_text("precious")
    ended = cli("train", "--data", tiny_datasets["uci-move"], "--out", there, "--max-steps", "1")
    assert (ended.code, ended.err.count("\n")) == (2, 1) and "exists" in ended.err
    assert [path.name for path in there.iterdir()] == ["thesis.txt"]
    ended = cli("train", "--data", tmp_path, "--out", tmp_path / "new", "--max-steps", "1")
    assert (ended.code, ended.err.count("\n")) == (2, 1) and "meta.json" in ended.err
    train(tiny_datasets["uci-move"], tmp_path / "run", replace(RECIPE, train=replace(RECIPE.train, max_steps=1)),
          device="cpu", quiet=True)  # fmt: skip
    (tmp_path / "run" / "chesslm.json").unlink()
    ended = cli("train", "--data", tiny_datasets["uci-square"], "--out", tmp_path / "run", "--resume")
    assert (ended.code, ended.err.count("\n")) == (2, 1) and "other data" in ended.err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits on file size are of POSIX")
def test_a_full_disk_is_one_line_and_nothing_half_written(tiny_dataset: Path, tmp_path: Path) -> None:
    # A limit on the size of files stands for the full disk: the system's error differs in its number alone.
    out = tmp_path / "out"
    options = f"--data {tiny_dataset} --out {out} --max-steps 3 --size tiny"
    limited = f"ulimit -f 100; exec {sys.executable} -m chesslm train {options}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("chesslm: ") and "Traceback" not in done.stderr
    assert not list(out.rglob("*.tmp")) and not (out / "run" / "last.ckpt").exists()


def test_the_schedule() -> None:
    settings = TrainConfig(warmup=0.1, decay=0.5, final=0.01)
    assert rate(0.0, settings) < 0.01
    assert rate(0.05, settings) == pytest.approx(0.5)
    assert [rate(p, settings) for p in (0.1, 0.3, 0.5)] == [1.0, 1.0, 1.0]
    assert rate(0.75, settings) == pytest.approx(0.505)
    assert rate(1.0, settings) == pytest.approx(0.01)


def test_every_parameter_has_one_optimizer() -> None:
    model = new_gpt2(SHAPE, get_tokenizer("uci-square"), seed=1)
    optimizer = make_optimizer(model, TrainConfig())
    assert isinstance(optimizer, Together)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    muon = {id(p) for group in optimizer.parts[0].param_groups for p in group["params"]}
    named = {name for name, p in model.named_parameters() if id(p) in muon}
    assert named == {
        f"transformer.h.{layer}.{part}.weight"
        for layer in range(2)
        for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }


def curve(out: Path) -> list[float]:
    """The loss in the log."""
    return [float(row["loss"]) for row in rows(out)]


def test_parts_of_a_batch_and_several_processes_learn_the_same(tiny_dataset: Path, tmp_path: Path) -> None:
    """One process, one whose batches come in three parts, and two processes under gloo: the same loss curve."""
    for name, parts in (("one", 1), ("parts", 3)):
        recipe = replace(RECIPE, train=replace(RECIPE.train, max_steps=60, accumulate=parts))
        train(tiny_dataset, tmp_path / name, recipe, device="cpu", quiet=True)
    options = [*SETTINGS, "--set", "model.dropout=0", "--set", "train.val_every=10", "--max-steps", "60"]
    with start(tiny_dataset, tmp_path / "two", *options, "--devices", "2") as process:
        said = process.communicate(timeout=240)[1].decode()
    assert process.returncode == 0, said
    expected = curve(tmp_path / "one")
    assert len(expected) == 6 and expected[-1] < expected[0]
    for name in ("parts", "two"):
        assert curve(tmp_path / name) == pytest.approx(expected, rel=1e-4)
        last = [rows(tmp_path / each)[-1] for each in ("one", name)]
        for column in ("step", "tokens", "games", "val_plies"):
            assert last[0][column] == last[1][column]
        # Sums in another order round otherwise; where two moves are level that shows in the greedy one.
        bits = [float(each["val_bits_per_move"]) for each in last]
        assert bits[1] == pytest.approx(bits[0], rel=1e-4)
        legal = [float(each["val_legal_argmax"]) * int(each["val_plies"]) for each in last]
        assert abs(legal[1] - legal[0]) <= 2
        about = json.loads((tmp_path / name / "chesslm.json").read_text())
        assert about["trained"]["games"] == int(last[0]["games"])


def test_two_processes_stop_and_one_goes_on(tiny_dataset: Path, tmp_path: Path, cli: Cli) -> None:
    """A batch is the same for any number of processes: no game is left out or comes twice."""
    options = [*SETTINGS, "--set", "model.dropout=0", "--max-steps", "200"]
    with start(tiny_dataset, tmp_path / "out", *options, "--devices", "2") as process:
        wait_for(tmp_path / "out/run/metrics.csv", process)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 143 and said.count("go on with") == 1, said
    steps = torch.load(tmp_path / "out/run/last.ckpt", weights_only=True)["counters"]["steps"]
    assert 20 <= steps < 200
    before = rows(tmp_path / "out")
    for name, how in (("out", ["--resume", "--device", "cpu"]), ("one", options)):
        assert cli("train", "--data", tiny_dataset, "--out", tmp_path / name, *how, "--quiet").code == 0
    # Gone on with, not begun anew: when and how fast steps were taken stands there as it did.
    assert rows(tmp_path / "out")[: len(before)] == before
    assert curve(tmp_path / "out") == pytest.approx(curve(tmp_path / "one"), rel=1e-3)
    assert [row["games"] for row in rows(tmp_path / "out")] == [row["games"] for row in rows(tmp_path / "one")]


def test_one_of_two_processes_dies(tiny_dataset: Path, tmp_path: Path) -> None:
    """It is one line, the other does not wait for ever, and what was saved is whole."""
    options = [*SETTINGS, "--max-steps", "30000", "--devices", "2", "--save-steps", "5", "--quiet"]
    with start(tiny_dataset, tmp_path / "out", *options) as process:
        wait_for(tmp_path / "out/run/step-0000010", process)
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
        children = [int(child) for child in found.stdout.split()]
        for child in children:
            if "--devices" in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(child, signal.SIGKILL)
        said = process.communicate(timeout=120)[1].decode()
    assert process.returncode != 0 and "one of the 2 processes died" in said and "Traceback" not in said, said
    saved = RunFolder.reopen(tmp_path / "out", open_dataset(tiny_dataset).sha256).state  # looks at its checksums
    assert torch.load(saved, weights_only=True)["counters"]["steps"] >= 5


def test_a_loss_that_rises_stops_the_run(tiny_dataset: Path, tmp_path: Path) -> None:
    """AdamW at an absurd rate, which it warms up to; the state that is kept is from before, though more were due."""
    bad = replace(RECIPE, train=replace(RECIPE.train, max_steps=2000, optimizer="adamw", learning_rate=30.0))
    with pytest.raises(FailureError, match=r"has risen from .*the last good state is in"):
        train(tiny_dataset, tmp_path / "out", bad, save_steps="5", device="cpu", quiet=True)
    log = rows(tmp_path / "out")
    assert len(log) < 100 and not (tmp_path / "out" / "chesslm.json").exists()
    losses = [float(row["loss"]) for row in log]
    rise = next(i for i, loss in enumerate(losses) if loss > min(losses[: i + 1]) + HIGH_NATS)
    kept = torch.load(tmp_path / "out" / "run" / "last.ckpt", weights_only=True)["counters"]["steps"]
    assert kept < int(log[rise]["step"]) < int(log[-1]["step"])


def test_stopped_while_the_loss_is_high_the_last_good_state_stays(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Recorder._log

    def interrupted(self: Recorder, module: Any, step: int, validation: Mapping[str, float]) -> None:
        log(self, module, step, dict(validation))
        if self._high:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Recorder, "_log", interrupted)
    bad = replace(RECIPE, train=replace(RECIPE.train, max_steps=2000, optimizer="adamw", learning_rate=30.0))
    with pytest.raises(KeyboardInterrupt):
        train(tiny_dataset, tmp_path / "out", bad, save_steps="5", device="cpu", quiet=True)
    assert "the loss has risen; a state from before is kept; go on with" in capsys.readouterr().err
    losses = [float(row["loss"]) for row in rows(tmp_path / "out")]
    kept = torch.load(tmp_path / "out" / "run" / "last.ckpt", weights_only=True)["counters"]["steps"]
    rise = next(i for i, loss in enumerate(losses) if loss > min(losses[: i + 1]) + HIGH_NATS)
    assert kept < int(rows(tmp_path / "out")[rise]["step"])


def test_weights_that_are_no_numbers_are_not_kept(tiny_dataset: Path, tmp_path: Path) -> None:
    """Nor do they make a finished model, though the loss of the only step, from before the update, is one."""
    wild = replace(RECIPE, train=replace(RECIPE.train, max_steps=1, optimizer="adamw", learning_rate=1e39, warmup=0.0))
    with pytest.raises(FailureError, match="weights are no longer numbers; begin anew"):
        train(tiny_dataset, tmp_path / "out", wild, save_steps="1", device="cpu", quiet=True)
    assert not (tmp_path / "out" / "run" / "last.ckpt").exists() and not (tmp_path / "out" / "chesslm.json").exists()


def test_tensorboard_has_the_log(tiny_dataset: Path, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tiny_dataset, tmp_path / "out", RECIPE, device="cpu", logger="tensorboard", quiet=True)
    accumulated = events.EventAccumulator(str(tmp_path / "out" / "run" / "tensorboard")).Reload()
    logged = rows(tmp_path / "out")
    assert [event.step for event in accumulated.Scalars("loss")] == [int(row["step"]) for row in logged]
    assert [event.value for event in accumulated.Scalars("loss")] == pytest.approx(curve(tmp_path / "out"), rel=1e-4)
    with pytest.raises(InputError, match="--logger is tensorboard"):
        train(tiny_dataset, tmp_path / "other", RECIPE, device="cpu", logger="wandb", quiet=True)


def test_the_log_is_cut_where_a_run_goes_on(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "out" / "run", RECIPE, None)
    run.create("hash")
    for step in (20, 40, 60):
        run.metrics.add({"step": step, "loss": step / 7})
    with run.metrics.path.open("a") as file:
        file.write("4")  # a row that the kill cut: of 480, say
    run.cut(40)
    assert [row["step"] for row in rows(tmp_path / "out")] == ["20", "40"]
    assert tuple(rows(tmp_path / "out")[0]) == COLUMNS
