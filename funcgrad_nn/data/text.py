"""Characters as numbers, for small language models."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class CharTokenizer:
    """Each character of a vocabulary as its number, in the order given.

    `CharTokenizer.fit(text)` takes the sorted characters of a text. With `unknown`, a character of
    the vocabulary, others are read as that one; without, they raise `ValueError`.

    >>> tokens = CharTokenizer.fit("hello")
    >>> tokens.vocabulary, tokens.encode("hole").tolist(), tokens.decode([1, 0, 2])
    ('ehlo', [1, 3, 2, 0], 'hel')
    """

    def __init__(self, vocabulary: str, unknown: str | None = None):
        if len(set(vocabulary)) != len(vocabulary) or not vocabulary:
            raise ValueError("CharTokenizer: the vocabulary must be distinct characters.")
        if unknown is not None and (len(unknown) != 1 or unknown not in vocabulary):
            raise ValueError("CharTokenizer: unknown must be one character of the vocabulary.")
        self.vocabulary, self.unknown = vocabulary, unknown
        self._numbers = {character: i for i, character in enumerate(vocabulary)}

    @classmethod
    def fit(cls, text: str) -> CharTokenizer:
        """The tokenizer of the characters that occur in a text."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> np.ndarray:
        """The numbers of a text, int32 (length,)."""
        if self.unknown is not None:
            other = self._numbers[self.unknown]
            return np.array([self._numbers.get(c, other) for c in text], np.int32)
        try:
            return np.array([self._numbers[c] for c in text], np.int32)
        except KeyError as error:
            raise ValueError(
                f"CharTokenizer: {error.args[0]!r} is not in the vocabulary of {len(self)} "
                "characters. Fit it on more text, or give unknown=."
            ) from None

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of a sequence of numbers."""
        numbers = [int(number) for number in numbers]
        if numbers and not 0 <= min(numbers) <= max(numbers) < len(self):
            raise ValueError(f"CharTokenizer: numbers must be 0 to {len(self) - 1}.")
        return "".join(self.vocabulary[number] for number in numbers)


def windows(numbers, length: int, stride: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (n, length) for predicting the next token: targets are one later.

    Windows begin every `stride` tokens (`length` if None) and are views of one array, so that even
    `stride=1` costs no memory. Raises `ValueError` for a text without a whole window.

    >>> inputs, targets = windows([1, 2, 3, 4, 5], 2)
    >>> inputs.tolist(), targets.tolist()
    ([[1, 2], [3, 4]], [[2, 3], [4, 5]])
    """
    numbers, stride = np.asarray(numbers), length if stride is None else stride
    if length < 1 or stride < 1 or numbers.ndim != 1 or len(numbers) <= length:
        raise ValueError(
            f"windows: needs more tokens than length={length}, in one row, and stride >= 1, but "
            f"got shape {numbers.shape} and stride={stride}."
        )
    view = np.lib.stride_tricks.sliding_window_view(numbers, length + 1)[::stride]
    return view[:, :-1], view[:, 1:]
