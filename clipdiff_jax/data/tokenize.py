"""Text to token ids as CLIP does it: lower-cased byte-level BPE between two marks, fixed length.

A tokenizer is loaded from a folder (`tokenizer.json`, or `vocab.json` and `merges.txt`) or trained
on the captions of a data set. What a row looks like: start mark, the text, end mark, padding.
"""

import dataclasses
import functools
import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from clipdiff_jax.core.files import json_bytes
from clipdiff_jax.core.json_files import MAX_BYTES, read_json

START, END = "<|startoftext|>", "<|endoftext|>"
TOKENIZER_NAME = "tokenizer.json"
DEFAULT_CONTEXT = 77

# Contractions, runs of letters, single digits, runs of anything else: the pieces BPE merges within.
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_SHOWN = 20  # unknown words that a warning names
_WORD_END = "</w>"
_TOKEN_OPTIONS = ("single_word", "lstrip", "rstrip", "normalized", "special")


class TokenizerError(ValueError):
    """A tokenizer that cannot be read; the message names the file and what was expected."""


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows, and what it knows, for a warning."""

    words: frozenset[str]
    about: str


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Callable: texts -> int32 ids [len(texts), context_length].

    Two that make the same ids of every text are equal, so that a model may have one among its
    static fields.

    Attributes:
      backend: the BPE.
      context_length: tokens per row, marks included.
      pad_id: what rows are filled up with; the end mark in most CLIPs, which pool at the first.
      vocabulary: the words that the model was trained on, where these are few; else None.
    """

    backend: Backend
    context_length: int
    pad_id: int
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        for mark in (START, END):
            if self.backend.token_to_id(mark) is None:
                raise TokenizerError(f"not a CLIP tokenizer: its vocabulary lacks '{mark}'")
        if self.context_length < 3:
            raise ValueError(f"context_length is {self.context_length}, expected at least 3")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and (self is other or self._value == other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    @functools.cached_property
    def _value(self) -> tuple[str, int, int]:
        """What makes it the tokenizer it is; computed once, for the BPE is long."""
        digest = hashlib.sha256(self.backend.to_str().encode()).hexdigest()
        return digest, self.context_length, self.pad_id

    @property
    def start_id(self) -> int:
        """The id every row starts with."""
        return _id(self.backend, START)

    @property
    def end_id(self) -> int:
        """The id that ends the text; CLIP pools there."""
        return _id(self.backend, END)

    @property
    def vocab_size(self) -> int:
        """The number of ids, marks included."""
        return self.backend.get_vocab_size()

    def __call__(self, texts: str | Sequence[str]) -> Int[np.ndarray, "n t"]:
        """Token ids, one row per text, see `encode`."""
        return self.encode(texts)[0]

    def encode(
        self, texts: str | Sequence[str]
    ) -> tuple[Int[np.ndarray, "n t"], Int[np.ndarray, " n"]]:
        """Token ids, one row per text, and how many of each are not padding.

        A mark that is written inside of a text is a token of it. Warns of a text that is too long,
        which is cut, and of what the vocabulary does not have.
        """
        texts = as_texts(texts)
        rows = np.full((len(texts), self.context_length), self.pad_id, np.int32)
        counts = np.zeros(len(texts), np.int32)
        self._warn_of_unknown(texts)
        encoded = self.backend.encode_batch(texts, add_special_tokens=False)
        for i, (text, encoding) in enumerate(zip(texts, encoded, strict=True)):
            ids, room = encoding.ids, self.context_length - 2
            if len(ids) > room:
                warnings.warn(
                    f"text of {len(ids)} tokens cut to the {room} that fit: '{text}'", stacklevel=3
                )
            ids = [self.start_id, *ids[:room], self.end_id]
            rows[i, : len(ids)] = ids
            counts[i] = len(ids)
        return rows, counts

    @property
    def silent(self) -> "Tokenizer":
        """The same without warnings of unknown words: for captions that are learned from."""
        return dataclasses.replace(self, vocabulary=None)

    def _warn_of_unknown(self, texts: Sequence[str]) -> None:
        """Of words that the captions it was learned from did not have, where those are known."""
        if self.vocabulary is None:
            return
        words = dict.fromkeys(word for text in texts for word in words_of(text))
        unknown = [word for word in words if word not in self.vocabulary.words]
        if unknown:
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            warnings.warn(
                f"unknown words: {', '.join(unknown[:_SHOWN])}{more}. {self.vocabulary.about}, by "
                f"these words: {', '.join(sorted(self.vocabulary.words))}",
                stacklevel=4,
            )

    def files(self) -> dict[str, bytes]:
        """The files, by name, that `load_tokenizer` reads back."""
        config = {
            "model_max_length": self.context_length,
            "pad_token": self.backend.id_to_token(self.pad_id),
            "tokenizer_class": "CLIPTokenizer",
        }
        return {
            TOKENIZER_NAME: self.backend.to_str(pretty=True).encode(),
            "tokenizer_config.json": json_bytes(config),
        }


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without marks and numbers."""
    return re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", text.replace(START, "").replace(END, "").lower())


def as_texts(texts: object, name: str = "texts") -> list[str]:
    """Texts as people hand them in: one is a list of one. name: of the argument, for messages.

    Raises `TypeError` for what is no text, `ValueError` for none.
    """
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, Iterable):
        raise TypeError(f"{name} are a {type(texts).__name__}, expected strings")
    found = list(texts)
    for one in found:
        if not isinstance(one, str):
            raise TypeError(f"{name} hold {str(one)[:60]!r}, a {type(one).__name__}, not a string")
    if not found:
        raise ValueError(f"there are no texts: {name} is empty")
    return found


def train_tokenizer(captions: Iterable[str], vocab_size: int, context: int) -> Tokenizer:
    """Learns byte-level BPE merges from captions (Sennrich et al., 2016).

    Any text can be written in the result: every byte is in its vocabulary, with and without the
    end of a word (512 ids, which with the two marks is the least `vocab_size`). The marks are ids
    0 and 1, so a model can know its `eos_token_id` before the captions are read.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    least = 2 + 2 * len(alphabet)
    if vocab_size < least:
        raise ValueError(f"vocab_size is {vocab_size}, expected at least {least}")
    learned = _backend({}, [])
    trainer = BpeTrainer(
        vocab_size=vocab_size,  # more merges than there is room for; the last are left out below
        initial_alphabet=alphabet,
        end_of_word_suffix=_WORD_END,
        show_progress=False,
    )
    learned.train_from_iterator(captions, trainer)
    state = json.loads(learned.to_str())["model"]
    fixed = [START, END, *alphabet, *(char + _WORD_END for char in alphabet)]
    learned_tokens = sorted(state["vocab"], key=state["vocab"].__getitem__)
    tokens = list(dict.fromkeys(fixed + learned_tokens))[:vocab_size]
    vocab = {token: i for i, token in enumerate(tokens)}
    merges: list[tuple[str, str]] = [
        (a, b) for a, b in map(tuple, state["merges"]) if {a, b, a + b} <= vocab.keys()
    ]
    backend = _backend(vocab, merges)
    return Tokenizer(backend, context, _id(backend, END))


def load_tokenizer(folder: str | Path, context_length: int | None = None) -> Tokenizer:
    """Reads `tokenizer.json`, or `vocab.json` + `merges.txt`, of a folder.

    Args:
      folder: may also hold `tokenizer_config.json`, for the padding token, the length and tokens
        that were added, and `added_tokens.json`.
      context_length: tokens per row; None takes the folder's `model_max_length`, 77 if it has none.

    Raises `TokenizerError` where the folder has no tokenizer or one that is not CLIP's.
    """
    folder = Path(folder)
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        settings |= _read_object(folder / name)
    try:
        backend = _read_backend(folder)
    except TokenizerError:
        raise
    except Exception as error:  # tokenizers raises bare Exception for a file it cannot read
        raise TokenizerError(f"cannot read the tokenizer in '{folder}': {error}") from error
    except BaseException as error:  # and what is none where it panics
        if type(error).__name__ != "PanicException":
            raise
        raise TokenizerError(f"cannot read the tokenizer in '{folder}': {error}") from error
    _add_tokens(backend, folder, settings)
    length = context_length or settings.get("model_max_length") or DEFAULT_CONTEXT
    if isinstance(length, bool) or not isinstance(length, int | float) or not length >= 3:
        raise TokenizerError(f"'{folder}' has model_max_length {length!r}, expected at least 3")
    if length > 100_000:  # transformers' "no limit" is 1e30
        length = DEFAULT_CONTEXT
    pad = settings.get("pad_token") or END
    pad = pad.get("content") if isinstance(pad, dict) else pad
    pad_id = backend.token_to_id(pad) if isinstance(pad, str) else None
    if pad_id is None:
        raise TokenizerError(f"the padding token '{pad}' is not in the vocabulary of '{folder}'")
    return Tokenizer(backend, int(length), pad_id)


def _read_backend(folder: Path) -> Backend:
    file = folder / TOKENIZER_NAME
    if file.is_file():
        if file.stat().st_size > MAX_BYTES:
            raise TokenizerError(f"'{file}' is larger than {MAX_BYTES:,} bytes")
        backend = Backend.from_file(str(file))
        backend.no_padding()
        backend.no_truncation()
        return backend
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    if vocab.is_file() and merges.is_file():
        for one in (vocab, merges):
            if one.stat().st_size > MAX_BYTES:
                raise TokenizerError(f"'{one}' is larger than {MAX_BYTES:,} bytes")
        lines = merges.read_text(encoding="utf-8").splitlines()
        lines = lines[1:] if lines and lines[0].startswith("#version") else lines
        pairs: list[Any] = [tuple(line.split()) for line in lines if line.strip()]
        ids = _read_object(vocab)
        if lacking := [mark for mark in (START, END) if mark not in ids]:
            raise TokenizerError(f"not CLIP's vocabulary: '{vocab}' lacks '{lacking[0]}'")
        return _backend(ids, pairs)
    raise TokenizerError(
        f"no '{TOKENIZER_NAME}' and no 'vocab.json' with 'merges.txt' in '{folder}'"
    )


def _read_object(file: Path) -> dict[str, Any]:
    """The object in a JSON file, {} where there is no file."""
    if not file.is_file():
        return {}
    try:
        found = read_json(file)
    except ValueError as error:
        raise TokenizerError(str(error)) from error
    if not isinstance(found, dict):
        raise TokenizerError(f"'{file}' holds a {type(found).__name__}, expected an object")
    return found


def _add_tokens(backend: Backend, folder: Path, settings: Mapping[str, Any]) -> None:
    """Adds the tokens that were added to the vocabulary, as transformers keeps them: in
    `added_tokens.json`, and in `added_tokens_decoder` of `tokenizer_config.json`.

    Raises `TokenizerError` for a token whose id is another's or leaves a gap.
    """
    decoder = settings.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise TokenizerError(f"the added tokens in '{folder}' are a {type(decoder).__name__}")
    added: dict[int, AddedToken] = {}
    try:
        for token, number in _read_object(folder / "added_tokens.json").items():
            added[int(number)] = AddedToken(token, normalized=False)
        for number, options in decoder.items():
            known = {k: bool(options[k]) for k in _TOKEN_OPTIONS if k in options}
            added[int(number)] = AddedToken(options["content"], **known)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise TokenizerError(f"the added tokens in '{folder}' are damaged: {error!r}") from error
    for number in sorted(added):
        one = added[number]
        if backend.token_to_id(one.content) is None:
            add = backend.add_special_tokens if one.special else backend.add_tokens
            add([one])
        found = backend.token_to_id(one.content)
        if found != number:
            raise TokenizerError(
                f"the added token '{one.content}' in '{folder}' has the id {number}, but is "
                f"number {found} of the vocabulary"
            )


def _id(backend: Backend, token: str) -> int:
    """The id of a token that the vocabulary is known to have."""
    found = backend.token_to_id(token)
    assert found is not None
    return found


def _backend(vocab: dict[str, int], merges: list[tuple[str, str]]) -> Backend:
    backend = Backend(
        BPE(vocab=vocab, merges=merges, end_of_word_suffix=_WORD_END, unk_token=END)
        if vocab
        else BPE(end_of_word_suffix=_WORD_END)
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    if vocab:
        backend.add_special_tokens([START, END])
    return backend
