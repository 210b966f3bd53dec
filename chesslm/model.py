"""Models: a GPT-2 from scratch, checkpoints on disk, and anything that transformers loads, ready to be asked.

A checkpoint folder is what ``AutoModelForCausalLM`` and ``AutoTokenizer`` load without chesslm, plus
``chesslm.json`` (how it was made) and README.md (the model card).
"""

import copy
import ctypes
import json
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from chesslm import files, hashes, weights
from chesslm.card import model_card
from chesslm.checkpoint import fetched, find_model, verified
from chesslm.config import ModelConfig
from chesslm.errors import InputError, first_line
from chesslm.notation import PAIRS, PROSE
from chesslm.spelling import spell
from chesslm.text_tokenizer import TextTokenizer
from chesslm.tokenizer import GameTokenizer
from chesslm.tokenizer_files import load_tokenizer, save_tokenizer


def new_gpt2(
    shape: ModelConfig, tokenizer: GameTokenizer | TextTokenizer, seed: int, pieces: torch.Tensor | None = None
) -> GPT2LMHeadModel:
    """A GPT-2 with fresh weights.

    Args:
        shape: of the model.
        tokenizer: whose vocabulary, special tokens and context it has.
        seed: of the weights.
        pieces: of the tokens (``spelling.pieces_of``), for embeddings that are alike where tokens share them.

    Raises:
        InputError: the heads do not divide the width.
    """
    if shape.width % shape.heads:
        raise InputError(f"setting model.width ({shape.width}) must be a multiple of model.heads ({shape.heads})")
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=shape.context or tokenizer.context,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        # GPT-2's own formula ("gelu_new") in one fused kernel.
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=shape.dropout,
        embd_pdrop=shape.dropout,
        attn_pdrop=shape.dropout,
        bos_token_id=tokenizer.bos,
        eos_token_id=tokenizer.eos,
        pad_token_id=tokenizer.pad,
        use_cache=True,
        tie_word_embeddings=shape.tied,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
    if shape.sinusoids:
        positions = model.transformer.wpe.weight
        positions.data = sinusoids(*positions.shape) * math.sqrt(2) * config.initializer_range
    if pieces is not None:
        spell(model.transformer.wte.weight, pieces, config.initializer_range, seed)
    if not shape.tied:
        model.lm_head.weight.data = model.transformer.wte.weight.detach().clone()
    return model


def sinusoids(positions: int, width: int, longest: float = 2000.0) -> torch.Tensor:
    """Sines and cosines of positions, of wavelengths from 2 pi to 2 pi ``longest`` (Vaswani et al. 2017, section 3.5).

    Late positions are in few games; this way a model need not learn each of them by itself.

    Returns:
        Shape (positions, width).
    """
    frequencies_F = longest ** (-torch.arange(0, width, 2) / width)
    angles_TF = torch.arange(positions)[:, None] * frequencies_F
    return torch.stack((angles_TF.sin(), angles_TF.cos()), -1).flatten(1)[:, :width]


def parameters(model: torch.nn.Module) -> int:
    """Number of parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters())


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be asked, with its tokenizer.

    Attributes:
        model: in evaluation mode, on its device.
        tokenizer: the notation that it writes, with ids.
        name: what to call it in tables.
        path: its folder, or the hub id.
        about: ``chesslm.json``, or empty for a model that chesslm did not make.
        precision: torch.bfloat16 or torch.float32, in which the forward pass runs.
        seed: of its weights where they are random (``inside.origin``); None: they are those at its path.
    """

    model: PreTrainedModel
    tokenizer: GameTokenizer
    name: str
    path: str
    about: dict[str, Any]
    precision: torch.dtype
    seed: int | None = None

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.model.device

    @property
    def context(self) -> int:
        """Tokens that it can look back at, <bos> included."""
        return int(self.model.config.max_position_embeddings)

    @property
    def sha256(self) -> str | None:
        """Of its weights; None where they are not in one file of a folder."""
        found = sorted(Path(self.path).glob("*.safetensors"))
        return files.sha256(found[0]) if len(found) == 1 else None

    def autocast(self) -> torch.autocast:
        """The context in which to run it."""
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32)


def resolve_device(device: str) -> torch.device:
    """auto, cpu, cuda or mps to a device.

    Raises:
        InputError: not known, or not there.
    """
    if device == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(best)
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device not in available:
        raise InputError(f"unknown device {device!r}; devices are auto, cpu, cuda and mps")
    if not available[device]:
        raise InputError(f"no {device} here; leave --device out to take the best there is")
    return torch.device(device)


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """auto, fp32 or bf16 to a dtype; auto takes bf16 where the hardware multiplies it natively.

    A CPU without bf16 instructions emulates them, several times slower than fp32.

    Raises:
        InputError: not known.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise InputError(f"unknown precision {precision!r}; precisions are auto, fp32 and bf16")
    if precision == "auto":
        if device.type == "cpu":
            native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        else:
            native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if native else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def load_model(
    name: str | None,
    notation: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    default: str | None = None,
) -> LoadedModel:
    """Load a checkpoint folder, or a hub id.

    Args:
        name: folder or hub id; None is the released model.
        notation: how it writes moves; by default its chesslm.json says so.
        device: auto, cpu, cuda or mps.
        precision: auto, fp32 or bf16.
        default: how it writes moves where neither it nor ``notation`` says.

    Raises:
        InputError: not there, not whole, changed since it was saved, or of another notation.
    """
    path = find_model(name)
    where = resolve_device(device)
    tune_memory()
    dtype = resolve_precision(precision, where)
    folder = fetched(path)
    about = verified(folder)
    own = about.get("notation")
    if own is None or own in (PROSE, PAIRS):
        notation = notation or default
    if own in (PROSE, PAIRS) and notation:
        # Games written in a text model's tokens, or letter by letter, are text to it.
        own = None
    elif own in (PROSE, PAIRS):
        raise InputError(f"{path} writes {own}, not games; name a --notation, such as text, to ask it for games anyway")
    if own and notation and own != notation:
        raise InputError(f"{path} writes {own}, not {notation}; leave --notation out")
    if not (own or notation):
        raise InputError(f"{path} does not say how it writes moves; name it with --notation")
    tokenizer = load_tokenizer(folder, str(own)) if own else _tokenizer_of_others(path, str(notation))
    model = load_weights(folder, path)
    if model.config.vocab_size < len(tokenizer):
        raise InputError(
            f"{path}: {model.config.vocab_size} embeddings, but {tokenizer.notation.name} has {len(tokenizer)} tokens"
        )
    model.eval().to(where)  # pyright: ignore[reportArgumentType]
    return LoadedModel(model, tokenizer, folder.resolve().name if Path(path).exists() else path, path, about, dtype)


def _tokenizer_of_others(path: str, notation: str) -> GameTokenizer:
    """The tokenizer of a checkpoint that does not say how it was made: ours where it has our tokens, or its own."""
    try:
        return load_tokenizer(Path(path), notation)
    except InputError:
        from chesslm.foreign import foreign_tokenizer

        return foreign_tokenizer(path, notation)


def tune_memory() -> None:
    """Let this process keep the memory of its tensors, and not that of every shape they ever had.

    glibc keeps freed blocks instead of giving each large tensor back to the system: otherwise every forward pass faults
    the pages of its activations in anew, 12 % of the speed of training. Other C libraries have no such setting and are
    left alone.

    oneDNN, which multiplies in bf16, makes a kernel for each shape and keeps the last 1,024, of up to 3 MB each; hardly
    two batches of games have the same shape. Training ``small`` with Muon grew to 4.3 GB in 120 steps and to 9 GB in
    1,600. A step has fewer than 64 shapes, so no more are kept: 2.1 GB after 60 steps where it had been 3.2, at the
    same speed. It reads the number when it makes its first kernel.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    m_mmap_threshold, m_trim_threshold = -3, -1
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(m_mmap_threshold, 1 << 30)
    mallopt(m_trim_threshold, (1 << 31) - 1)


def quieten_transformers() -> None:
    """No progress bars and no advice on stderr, where errors are one line."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def load_weights(folder: Path, name: str = "") -> PreTrainedModel:
    """The model in fp32, from safetensors only and with no code from the folder, which anybody may have made.

    transformers warns about missing and misshapen tensors and fills them at random; here they are errors.

    Args:
        folder: where it is (``fetched``).
        name: by which errors call it; the folder's otherwise.

    Raises:
        InputError: it cannot be loaded, or asks for more than its weights.
    """
    quieten_transformers()
    name = name or str(folder)
    found, content = weights.tensors(folder), weights.read_config(folder)
    if "auto_map" in content and content.get("model_type") not in CONFIG_MAPPING:
        raise InputError(f"{name}: needs code of its own (auto_map in config.json), and none is run")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        weights.check_size(config, weights.held_in(found), len(found), name)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
            # Not to ignore them, but to be told which they are.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        model, loading = loaded
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: the model cannot be loaded ({first_line(error)})") from error
    wrong = {kind: sorted(map(_named, keys)) for kind, keys in loading.items() if keys and kind != "error_msgs"}
    if wrong or loading.get("error_msgs"):
        kind, keys = next(iter(wrong.items()), ("error", list(loading.get("error_msgs", ()))))
        raise InputError(f"{name}: weights do not fit config.json ({kind.replace('_', ' ')}: {', '.join(keys[:3])})")
    return model


def _named(key: Any) -> str:
    """A tensor as transformers reports it: its name, or (name, shape in the file, shape in the model)."""
    return key if isinstance(key, str) else f"{key[0]} is {list(key[1])} instead of {list(key[2])}"


def save_checkpoint(
    model: PreTrainedModel, tokenizer: GameTokenizer | TextTokenizer, folder: Path, about: dict[str, Any]
) -> None:
    """Write a checkpoint folder's files, weights in bf16, chesslm.json with their hashes last.

    Args:
        model: its weights are not changed.
        tokenizer: goes with it.
        folder: made if missing; files of the same name are replaced.
        about: content of chesslm.json but for the hashes, from which the model card is written too.
    """
    quieten_transformers()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as temporary:
        staging = Path(temporary)
        half = cast(torch.nn.Module, copy.deepcopy(model)).to(torch.bfloat16)
        cast(PreTrainedModel, half).save_pretrained(staging)
        save_tokenizer(tokenizer, staging)
        # The card is written anew when the model is measured, and has no hash.
        listed = {path.name: hashes.entry(path) for path in sorted(staging.iterdir())}
        (staging / "chesslm.json").write_text(json.dumps({**about, "files": listed}, indent=2, default=str) + "\n")
        (staging / "README.md").write_text(model_card(about))
        names = sorted(path.name for path in staging.iterdir() if path.name != "chesslm.json")
        for name in [*names, "chesslm.json"]:
            # safetensors lets nobody but the owner read what it writes.
            (staging / name).chmod(0o644)
            (staging / name).replace(folder / name)
