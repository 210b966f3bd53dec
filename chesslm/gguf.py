"""Models of text in GGUF files, as llama.cpp uses them: read by transformers, with the packages of the extra ``gguf``.

A path in, weights in fp32 or the tokenizer out.
"""

from pathlib import Path
from typing import Any

from chesslm.checkpoint import verified
from chesslm.errors import InputError, first_line
from chesslm.text_tokenizer import TextTokenizer, named, read_text_tokenizer
from chesslm.weights import MOST_LAYERS, check_size

SUFFIX = ".gguf"


def text_tokenizer_of(source: str) -> TextTokenizer:
    """The tokenizer of a folder, a hub id or a GGUF file.

    Raises:
        InputError: there is none, it is not what was saved, or it has no token to begin a text with.
    """
    if not source.endswith(SUFFIX):
        if Path(source).is_dir():
            verified(Path(source))
        return read_text_tokenizer(source)
    from transformers import AutoTokenizer

    read = _read(AutoTokenizer, source)
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    config |= {name: token for name in names if (token := getattr(read, name)) is not None}
    return named(read.backend_tokenizer, config, source)


def load_gguf(path: str) -> Any:
    """The model in a GGUF file, its weights turned back into fp32.

    Raises:
        InputError: it is not there, cannot be read, or asks for more than it holds.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    # The coarsest of its types have two bits a weight.
    check_size(_read(AutoConfig, path), 4 * Path(path).stat().st_size, MOST_LAYERS, path)
    model = _read(AutoModelForCausalLM, path, dtype=torch.float32)
    # It says how the weights lay in the file, and with it a model cannot be saved.
    del model.config.quantization_config
    return model


def _read(kind: Any, path: str, **options: Any) -> Any:
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return kind.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False, **options)
    except Exception as error:
        raise InputError(f"{path}: not readable ({first_line(error)})") from error
