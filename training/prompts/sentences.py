"""Labelled prompts put together from ``phrases.txt`` and ``frames.txt``, and those of ``sentences.txt``."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vsanimup.prompts.classifier import DEGREES, LABELS
from vsanimup.prompts.text import FILLERS, Span, spans_of, words
from vsanimup.tasks import TASKS

FOLDER = Path(__file__).parent
HELDOUT = ("heldout.tsv", "heldout_second.tsv")
"""Files of prompts that nothing is trained on."""
_SLOT = re.compile(r"\{(\w+)(-?)(?:/([02]))?\}")
_TAGGED = re.compile(r"\[([^]|]+)\|(\w+)(?:/([02]))?\]")
_DEGREE = {"": DEGREES.index(1.0), "2": DEGREES.index(0.5), "0": DEGREES.index(0.0)}
_KEYS = dict(zip("abcdefghijklmnopqrstuvwxyz", "snvfrdghjklömnbiepwatyucxt", strict=True))
"""A letter and one that fingers mistake for it."""


@dataclass(frozen=True)
class Labelled:
    """A prompt of which is known what each word names."""

    tokens: tuple[str, ...]
    labels: tuple[int, ...]
    """Index into LABELS of each token."""
    degrees: tuple[int, ...]
    """Index into DEGREES of each token; of no meaning where the label is 0."""

    def spans(self) -> list[tuple[Span, int]]:
        """What it names, with the degree of each."""
        return [(span, self.degrees[span.start]) for span in spans_of(self.tokens, self.labels)]


def lines(name: str) -> Iterator[str]:
    """The lines of a file of this folder that are not empty and no comments."""
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def labelled(tagged: str) -> Labelled:
    """The prompt in a text such as ``remove [noise|denoise/2]``."""
    tokens: list[str] = []
    labels: list[int] = []
    degrees: list[int] = []
    position = 0
    for match in [*_TAGGED.finditer(tagged), None]:
        plain = words(tagged[position : match.start() if match else len(tagged)])
        tokens += plain
        labels += [0] * len(plain)
        degrees += [0] * len(plain)
        if match:
            label, degree = LABELS.index(match[2]), _DEGREE[match[3] or ""]
            for token in words(match[1]):
                tokens.append(token)
                labels.append(0 if token in FILLERS else label)
                degrees.append(degree)
            position = match.end()
    return Labelled(tuple(tokens), tuple(labels), tuple(degrees))


def heldout(name: str) -> list[tuple[str, dict[str, float]]]:
    """The prompts of one of HELDOUT, each with the mix that is meant; an empty mix is an unclear prompt."""
    prompts = []
    for line in lines(name):
        mix, prompt = line.split("\t")
        weights = dict((name, 0.5 if half else 1.0) for name, _, half in (t.partition("/") for t in mix.split()))
        weights.pop("-", None)
        prompts.append((prompt, {task: weights[task] for task in TASKS if task in weights}))
    return prompts


class Writer:
    """Writes random tagged prompts."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.phrases: dict[tuple[str, str], dict[str, list[str]]] = {}
        """Language and kind; task; phrases."""
        for line in lines("phrases.txt"):
            language, task, kind, text = (part.strip() for part in line.split("|", 3))
            of_kind = self.phrases.setdefault((language, kind), {})
            of_kind.setdefault(task, []).extend(phrase.strip() for phrase in text.split(";"))
        self.frames: dict[tuple[str, str], list[list[str]]] = {}
        """Language and place; groups of clauses."""
        for line in lines("frames.txt"):
            language, place, text = line.split("|", 2)
            pieces = text.split(";")
            if place.strip().startswith("join"):
                pieces = [f"{piece.rstrip()} " for piece in pieces] + [" ; "] * (" ; ; " in text)
            else:
                pieces = [piece.strip() for piece in pieces]
            self.frames.setdefault((language.strip(), place.strip()), []).append([p for p in pieces if p.strip()])
        self.plain = [line for line in lines("sentences.txt") if not _TAGGED.search(line)]

    def _pick(self, language: str, place: str) -> str:
        return self.random.choice(self.random.choice(self.frames[language, place]))

    def _phrase(self, language: str, kind: str) -> tuple[str, str]:
        """A phrase and its task."""
        of_kind = self.phrases[language, kind]
        task = self.random.choice(list(of_kind))
        return self.random.choice(of_kind[task]), task

    def clause(self, language: str, frame: str) -> str:
        """A frame, its slots filled."""

        def fill(match: re.Match[str]) -> str:
            kind, bare, degree = match[1], match[2], match[3]
            count = 1
            if kind == "faults":
                kind, count = "fault", self.random.choice((1, 1, 2, 3))
            parts = []
            for _ in range(count):
                phrase, task = self._phrase(language, kind)
                parts.append(phrase if bare else f"[{phrase}|{task}{f'/{degree}' if degree else ''}]")
            text = parts[0]
            for i, part in enumerate(parts[1:], 2):
                text += (self._pick(language, "join") if i == len(parts) else ", ") + part
            return text

        return _SLOT.sub(fill, frame)

    def prompt(self, language: str) -> str:
        """A tagged prompt of one to four clauses."""
        chance = self.random.random
        text = self._pick(language, "start") + " " if (language, "start") in self.frames and chance() < 0.25 else ""
        place = "do" if chance() < 0.8 else "half" if chance() < 0.7 else "keep"
        if (language, "mixed") in self.frames and chance() < 0.2:
            place = "mixed"
        text += self.clause(language, self._pick(language, place))
        for _ in range(self.random.choice((0, 0, 0, 1, 1, 2, 3))):
            before, place = place, "do" if chance() < 0.6 else "half" if chance() < 0.5 else "keep"
            turn = (place == "keep") != (before == "keep") and chance() < 0.8
            text += self._pick(language, "join/0" if turn else "join") + self.clause(
                language, self._pick(language, place)
            )
        if chance() < 0.2:
            text += " " + self._pick(language, "end")
        elif language == "en" and chance() < 0.07:
            text += ". " + self.random.choice(self.plain)
        return text

    def nonsense(self) -> str:
        """Words of random letters."""
        letters = self.random.choice(("abcdefghijklmnopqrstuvwxyz", "eeaaooiutnrshldcmbpk", "asdfghjkl", "qwertyuiop"))
        sizes = [self.random.randint(1, 9) for _ in range(self.random.randint(1, 4))]
        return " ".join("".join(self.random.choices(letters, k=size)) for size in sizes)

    def mistyped(self, prompt: Labelled, rate: float) -> Labelled:
        """The prompt with a letter wrong in some of its words."""
        tokens = list(prompt.tokens)
        for i, token in enumerate(tokens):
            if len(token) >= 5 and token.isascii() and self.random.random() < rate:
                at = self.random.randrange(1, len(token) - 1)
                head, letter, after, tail = token[:at], token[at], token[at + 1], token[at + 2 :]
                tokens[i] = self.random.choice(
                    (
                        head + after + letter + tail,
                        head + after + tail,
                        head + letter * 2 + after + tail,
                        head + _KEYS.get(letter, letter) + after + tail,
                    )
                )
        return Labelled(tuple(tokens), prompt.labels, prompt.degrees)


def corpus(seed: int, count: int) -> list[Labelled]:
    """``count`` prompts from the frames, and the written sentences thrice; none that is held out."""
    writer = Writer(seed)
    written = [labelled(line) for line in lines("sentences.txt")]
    prompts = [*written, *(writer.mistyped(prompt, 0.1) for _ in range(2) for prompt in written)]
    for of_kind in writer.phrases.values():
        prompts += [
            labelled(f"[{phrase}|{task}]") for task, texts in of_kind.items() if task in LABELS for phrase in texts
        ]
    for i in range(count):
        language = "en" if i % 6 else writer.random.choice(("de", "fr", "es", "ja"))
        prompts.append(writer.mistyped(labelled(writer.prompt(language)), 0.05))
    prompts += [labelled(writer.nonsense()) for _ in range(count // 20)]
    out = {tuple(words(prompt)) for name in HELDOUT for prompt, _ in heldout(name)}
    return [prompt for prompt in prompts if prompt.tokens and prompt.tokens not in out]
