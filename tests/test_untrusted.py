"""A folder that anybody may have made: nothing in it runs, leads elsewhere, or takes more room than it has."""

import base64
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from chesslm import files, hashes, weights
from chesslm.checkpoint import conditions_of, find_model
from chesslm.config import ModelConfig
from chesslm.errors import InputError
from chesslm.inside import probe as probes
from chesslm.inside import store
from chesslm.meta import digest_of
from chesslm.model import load_model, new_gpt2, save_checkpoint
from chesslm.shards import open_dataset
from chesslm.text_tokenizer import learn_text_tokenizer, read_text_tokenizer
from chesslm.tokenizer import get_tokenizer
from chesslm.tokenizer_files import load_tokenizer

DEEP = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
ROOM = 1 << 30
"""Bytes that a hostile folder may cost: what it asks for is more by far."""


class Runs:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {os.environ['TOUCHED']}",)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A whole folder that anybody may have made: chesslm's, without hashes, as they can be left out."""
    tokenizer = get_tokenizer("uci-move")
    save_checkpoint(new_gpt2(ModelConfig(layers=1, width=16, heads=2), tokenizer, 1), tokenizer, tmp_path / "model", {})
    (tmp_path / "model" / "chesslm.json").write_text('{"notation": "uci-move"}')
    return tmp_path / "model"


def set_config(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def shard(folder: Path, name: str) -> None:
    """The weights under another name, which an index gives."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def lie(folder: Path, **changed: Any) -> None:
    """Say something else of the embeddings in the header of the weights."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["transformer.wte.weight"] |= changed
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def lie_of_length(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:])


def only_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Runs()))


def code(folder: Path) -> None:
    (folder / "evil.py").write_text(f"open({os.environ['TOUCHED']!r}, 'w')\n")
    names = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model", "AutoTokenizer": "evil.Tokenizer"}
    set_config(folder, auto_map=names, model_type="evil")


def code_to_generate(folder: Path) -> None:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(f"open({os.environ['TOUCHED']!r}, 'w')\n")


def linked(name: str) -> Callable[[Path], None]:
    def link(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if path.exists():
            path.rename(folder.parent / path.name)
        else:
            (folder.parent / path.name).write_text("{}")
        path.symlink_to(folder.parent / path.name)

    return link


def linked_probe(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder / "probe").symlink_to(folder.parent / "elsewhere")


def linked_below(folder: Path) -> None:
    """A listed file, whose folder is a link: what its hash is would be told."""
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "secret").write_text("42")
    (folder / "sub").symlink_to(folder.parent / "elsewhere")
    listed = {"sub/secret": {"bytes": 2, "sha256": "0" * 64}}
    (folder / "chesslm.json").write_text(json.dumps({"notation": "uci-move", "files": listed}))


def circle(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("config.json")


def pipe(folder: Path) -> None:
    (folder / "chesslm.json").unlink()
    os.mkfifo(folder / "chesslm.json")


def grown(name: str, limit: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, limit + 1)


def wrote(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "pickle": (only_a_pickle, r"pytorch_model\.bin is a pickle, which can run code, and is not read"),
    "code": (code, "needs code of its own"),
    "adapter": (wrote("adapter_config.json", "{}"), "an adapter lies beside the weights"),
    "quantized": (lambda folder: set_config(folder, quantization_config={"a": 1}), "quantized"),
    "other weights": (
        lambda folder: set_config(folder, transformers_weights="../x.safetensors"),
        "names other weights",
    ),
    "other config": (lambda folder: set_config(folder, configuration_files=["../config.9.json"]), "names other files"),
    "shard elsewhere": (lambda folder: shard(folder, "../part.safetensors"), "is no name of a file in it"),
    "shard anywhere": (lambda folder: shard(folder, "/etc/passwd"), "is no name of a file in it"),
    "shard that is a pickle": (lambda folder: shard(folder, "part.bin"), "is no safetensors file here"),
    "shard that is missing": (lambda folder: shard(folder, "other.safetensors"), "is no safetensors file here"),
    "shards of nothing": (
        lambda folder: shard(folder, "x") or wrote("model.safetensors.index.json", '{"weight_map": [1]}')(folder),
        "does not say where the weights are",
    ),
    "long header": (lie_of_length, "not whole"),
    "huge shape": (lambda folder: lie(folder, shape=[10**9, 10**9]), "not whole"),
    "huge offsets": (lambda folder: lie(folder, data_offsets=[0, 10**18]), "not whole"),
    "negative shape": (lambda folder: lie(folder, shape=[-1, 16]), "not whole"),
    "wide": (lambda folder: set_config(folder, n_embd=10**6), r"it asks for 12,0\d\d,\d\d\d,\d\d\d,\d\d\d"),
    "long": (lambda folder: set_config(folder, n_positions=10**11), "do not fit"),
    "many words": (lambda folder: set_config(folder, vocab_size=10**12), "do not fit"),
    "too many words to count": (lambda folder: set_config(folder, vocab_size=10**30), "cannot be loaded"),
    "deep": (lambda folder: set_config(folder, n_layer=10**12), "asks for n_layer = 1000000000000"),
    "fewer": (lambda folder: set_config(folder, n_positions=8), "mismatched keys"),
    "no number": (lambda folder: set_config(folder, n_embd="wide"), "cannot be loaded"),
    "nested config": (wrote("config.json", DEEP), "nested too deeply"),
    "nested facts": (wrote("chesslm.json", DEEP), "nested too deeply"),
    "nested tokenizer": (wrote("tokenizer.json", DEEP), "nested too deeply"),
    "large config": (grown("config.json", files.JSON_BYTES), "are too much"),
    "large facts": (grown("chesslm.json", files.JSON_BYTES), "are too much"),
    "large tokenizer": (grown("tokenizer.json", files.JSON_BYTES), "are too much"),
    "linked weights": (linked("model.safetensors"), "a link out of its folder"),
    "linked tokenizer": (linked("tokenizer.json"), "a link out of its folder"),
    "linked facts": (linked("probe/board.json"), "a link out of its folder"),
    "linked probe": (linked_probe, "a link out of its folder"),
    "linked log": (linked("run/metrics.csv"), "a link out of its folder"),
    "hashes through a link": (linked_below, "a link out of its folder"),
    "link to itself": (circle, r"config\.json"),
    "pipe": (pipe, "not a file"),
    "hashes of elsewhere": (
        wrote("chesslm.json", '{"notation": "uci-move", "files": {"../x": {"bytes": 1, "sha256": "0"}}}'),
        "is no name of a file in it",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_refused(model: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHED", str(tmp_path / "touched"))
    spoil, says = HOSTILE[name]
    spoil(model)
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    # What asks for more than this fails otherwise than it should.
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    try:
        with pytest.raises(InputError, match=says) as refused:
            load_model(str(model), device="cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "touched").exists()


def test_code_that_is_not_needed_is_not_run(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of a kind that transformers knows: its own code is passed by."""
    monkeypatch.setenv("TOUCHED", str(tmp_path / "touched"))
    code(model)
    code_to_generate(model)
    set_config(model, model_type="gpt2")
    config = json.loads((model / "tokenizer_config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Runs()))
    assert load_model(str(model), device="cpu").context == 512
    (model / "chesslm.json").unlink()
    assert load_model(str(model), "uci-move", device="cpu").context == 512
    assert not (tmp_path / "touched").exists()


def test_shards_and_links_within_a_folder_are_read(model: Path) -> None:
    expected = load_model(str(model), device="cpu").model.state_dict()
    shard(model, "part.safetensors")
    (model / "part.safetensors").rename(model / "real.safetensors")
    (model / "part.safetensors").symlink_to("real.safetensors")
    (model.parent / "link").symlink_to(model)
    found = load_model(str(model.parent / "link"), device="cpu").model.state_dict()
    assert all(bool((found[name] == each).all()) for name, each in expected.items())


@pytest.fixture
def hub(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model in a cache as the hub's library lays it out; the folder of its snapshot."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    home = tmp_path / "hub" / "models--somebody--model"
    snapshot = home / "snapshots" / ("0" * 40)
    for folder in (home / "refs", home / "blobs", snapshot):
        folder.mkdir(parents=True)
    (home / "refs" / "main").write_text(snapshot.name)
    for number, path in enumerate(sorted(model.iterdir())):
        path.rename(home / "blobs" / f"{number:064}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:064}")
    return snapshot


def test_the_cache_of_the_hub_is_read_by_its_links(hub: Path) -> None:
    loaded = load_model("somebody/model", device="cpu")
    assert (loaded.name, loaded.path, loaded.context) == ("somebody/model", "somebody/model", 512)
    assert load_model(str(hub), device="cpu").context == 512
    (hub / "chesslm.json").unlink()
    (hub / "chesslm.json").symlink_to(hub.parents[1] / "refs" / "main")
    with pytest.raises(InputError, match="a link out of its folder"):
        load_model("somebody/model", device="cpu")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """The folder of a tokenizer of text."""
    learn_text_tokenizer(["1. e4 e5 2. Nf3 and the knight goes home. " * 20], 300).save(tmp_path / "text")
    return tmp_path / "text"


def set_tokenizer(folder: Path, **parts: Any) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


def one_large_id(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["zzz"] = 2**32 - 1
    path.write_text(json.dumps(content))


# Its first number says how much room to make.
MAP = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(b"\xff" * 12).decode()}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (one_large_id, r"an id of 4,294,967,295 for \d+ tokens"),
        (lambda folder: set_tokenizer(folder, normalizer=MAP), "precompiled_charsmap is cut short"),
        (
            lambda folder: set_tokenizer(folder, normalizer={"type": "Sequence", "normalizers": [MAP]}),
            "precompiled_charsmap is cut short",
        ),
        (
            # The library panics at it.
            lambda folder: set_tokenizer(folder, normalizer=MAP | {"precompiled_charsmap": "AQAAAGFi"}),
            "no tokenizer that can be loaded",
        ),
        (wrote("tokenizer.json", DEEP), "nested too deeply"),
        (wrote("tokenizer_config.json", DEEP), "nested too deeply"),
        (grown("tokenizer.json", files.TOKENIZER_BYTES), "are too much"),
        (linked("tokenizer.json"), "a link out of its folder"),
        (linked("tokenizer_config.json"), "a link out of its folder"),
    ],
)
def test_a_hostile_tokenizer_is_refused(text: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(text)
    with pytest.raises(InputError, match=says) as refused:
        read_text_tokenizer(str(text))
    assert "\n" not in str(refused.value)


def test_a_tokenizer_neither_cuts_nor_fills(text: Path) -> None:
    expected = read_text_tokenizer(str(text)).encode("1. e4 e5 2. Nf3")[0].tolist()
    padding = {
        "strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "<pad>",
    }  # fmt: skip
    set_tokenizer(
        text,
        truncation={"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        padding=padding,
    )
    assert read_text_tokenizer(str(text)).encode("1. e4 e5 2. Nf3")[0].tolist() == expected
    assert len(expected) > 2


def test_what_asks_a_tokenizer_for_little_passes_over_a_hostile_one(model: Path) -> None:
    (model / "tokenizer.json").write_text(DEEP)
    assert conditions_of(model) == ()
    with pytest.raises(InputError, match="nested too deeply"):
        load_tokenizer(model, "uci-move")


def damaged(path: Path) -> None:
    path.write_bytes(b"\xff" * 100)


def other_arrays(path: Path) -> None:
    save_file({"weight": load_file(path)["weight"][:, :3].contiguous()}, path)


def in_a_type_that_numpy_lacks(path: Path) -> None:
    save_file({"weight": load_file(path)["weight"].bfloat16()}, path)


@pytest.mark.parametrize("spoil", [damaged, other_arrays, in_a_type_that_numpy_lacks, Path.unlink])
def test_a_hostile_probe_is_refused(model: Path, spoil: Callable[[Path], None]) -> None:
    store.save(model, "board", {"weight": np.ones((17, 832))}, {"layer": 1})
    assert probes.load(model)
    facts = json.loads((model / "probe" / "board.json").read_text())
    (model / "probe" / "board.json").write_text(json.dumps({"model": facts["model"], "layer": 1}))
    spoil(model / "probe" / "board.safetensors")
    with pytest.raises(InputError, match="not a readable probe") as refused:
        probes.load(model)
    assert "\n" not in str(refused.value)


def objects(path: Path) -> None:
    np.save(path, np.array([Runs()], dtype=object), allow_pickle=True)


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, np.zeros(3, np.uint16))


def square(path: Path) -> None:
    np.save(path, np.zeros((3, 3), np.uint16))


def beyond(path: Path) -> None:
    """A header of a larger array than the file holds."""
    np.save(path, np.zeros(3, np.uint16))
    path.write_bytes(path.read_bytes().replace(b"(3,), }       ", b"(999999999,), }"))


@pytest.mark.parametrize("spoil", [objects, archive, square, beyond, damaged])
def test_a_hostile_shard_is_refused(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    """Though its meta.json says that it is as it should be."""
    monkeypatch.setenv("TOUCHED", str(tmp_path / "touched"))
    folder = shutil.copytree(tiny_dataset, tmp_path / "data")
    spoil(folder / "train-00000.ids.npy")
    meta = json.loads((folder / "meta.json").read_text())
    meta["files"]["train-00000.ids.npy"] = hashes.entry(folder / "train-00000.ids.npy")
    (folder / "meta.json").write_text(json.dumps(meta | {"sha256": digest_of(meta["files"])}))
    with pytest.raises(InputError, match=r"train-00000\.ids\.npy: not .*; run chesslm prepare again") as refused:
        open_dataset(folder)
    assert "\n" not in str(refused.value) and not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"splits": {"../x": {"shards": 1}}}, "not the splits"),
        ({"splits": {"train": {"shards": 10**12}}}, "not the splits"),
        ({"splits": {"train": {"shards": "1"}}}, "not the splits"),
        ({"splits": {"train": {"shards": 2}}}, "not the splits"),
        ({"splits": [1]}, "not the splits"),
        ({"files": {}}, "not the splits"),
        ({"files": [1]}, "no sizes and hashes"),
        ({"files": {"../x": {"bytes": 1, "sha256": "0"}}, "splits": {}}, "is no name of a file in it"),
    ],
)
def test_a_hostile_meta_is_refused(tiny_dataset: Path, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    folder = shutil.copytree(tiny_dataset, tmp_path / "data")
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | changes))
    with pytest.raises(InputError, match=says):
        open_dataset(folder)


def test_only_headers_are_read_to_know_shapes(model: Path) -> None:
    """Weights of 10^12 numbers cost nothing to look at: a file with a hole, as long as its header says."""
    numbers = 10**12
    text = json.dumps({"a": {"dtype": "U8", "shape": [numbers], "data_offsets": [0, numbers]}}).encode()
    path = model / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + numbers)
    assert weights.tensors(model) == {"a": ((numbers,), "U8")}
    assert find_model(str(model)) == str(model)


def test_looking_at_a_model_loads_no_torch(model: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from chesslm import weights
from chesslm.checkpoint import find_model
assert weights.tensors(Path(find_model({str(model)!r})))
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
