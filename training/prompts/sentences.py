"""Labelled prompts put together from ``phrases.txt`` and ``frames.txt``, and those of ``sentences.txt``."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vsanimup.prompts.classifier import ADDED, DEGREES, LABELS
from vsanimup.prompts.text import FILLERS, Span, spans_of, words
from vsanimup.tasks import TASKS

FOLDER = Path(__file__).parent
HELDOUT = ("heldout.tsv", "heldout_second.tsv", "heldout_third.tsv", "heldout_fourth.tsv", "heldout_fifth.tsv")
"""Files of prompts that nothing is trained on."""
_AROUND = (
    "{0} in the {1}",
    "{0} on the {1} {2}",
    "{0} when the {1} {2}s",
    "{0} during the {1}",
    "{0} for the {1}",
    "{0} behind the {1}",
    "{0}, {1} {2}",
    "{0}. {1} {2} {3}",
    "{0} ({1} {2})",
    "the {1}: {0}",
    "{1} {2}: {0}",
    "{1}, {0}",
    "the {1} {2} is {3}, {0}",
    "in the {1} {2}, {0}",
    "my {1} {2}. {0}",
    "{0} of {1} {2}",
    "{1} {0}",
    "{0} {1}",
    "{0} so that the {1} {2}s",
    "{0} because the {1} is {2}",
    "{1} {2} {3}. {0}",
    "{0} by {1} {2}",
    "{0} on every {1}",
    "{0} since the {1} {2}",
    "i {1} my {2}, {0}",
    "{0} at the {1} of the {2}",
)
EACH = 5
"""Prompts that are made of each frame by itself."""
_SLOT = re.compile(r"\{(\w+)(-?)(?:/([023+]))?\}")
_TAGGED = re.compile(r"\[([^]|]+)\|(\w+)(?:/([023+]))?\]")
_DEGREE = {tag: DEGREES.index(degree) for tag, degree in (("", 1.0), ("2", 0.5), ("0", 0.0), ("3", 0.75), ("+", ADDED))}
_NOT_ADDED = re.compile("sharp|detail|focus|missing|lack|loss|definition|crisp")
"""Phrases for what is too little of something: to add that is to remove a degradation."""
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


def heldout(name: str) -> list[tuple[str, dict[str, float] | None]]:
    """The prompts of one of HELDOUT, each with the mix that is meant.

    An empty mix is an unclear prompt, ``None`` one that asks to add something.
    """
    prompts: list[tuple[str, dict[str, float] | None]] = []
    for line in lines(name):
        mix, prompt = line.split("\t")
        parts = [part.partition("/") for part in mix.split()]
        weights = {task: 0.5 if weight == "2" else float(weight or 1) for task, _, weight in parts}
        meant = {task: weights[task] for task in TASKS if task in weights}
        prompts.append((prompt, None if mix == "+" else meant))
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
        self.neutral = [word for line in lines("neutral.txt") for word in line.split()]
        self.plain = [line for line in lines("sentences.txt") if not _TAGGED.search(line)]

    def _pick(self, language: str, place: str) -> str:
        return self.random.choice(self.random.choice(self.frames[language, place]))

    def _phrase(self, language: str, kind: str, added: bool = False) -> tuple[str, str]:
        """A phrase and its task; one that can be added."""
        of_kind = self.phrases[language, kind]
        while True:
            task = self.random.choice(list(of_kind))
            phrase = self.random.choice(of_kind[task])
            if not (added and _NOT_ADDED.search(phrase)):
                return phrase, task

    def clause(self, language: str, frame: str) -> str:
        """A frame, its slots filled."""

        def fill(match: re.Match[str]) -> str:
            kind, bare, degree = match[1], match[2], match[3]
            count = 1
            if kind == "faults":
                kind, count = "fault", self.random.choice((1, 1, 2, 3))
            parts = []
            for _ in range(count):
                phrase, task = self._phrase(language, kind, degree == "+")
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
        if language == "en" and chance() < 0.4:
            place = self.random.choice(("mixed", "mixed", "mixed", "most", "add", "add", "addmixed"))
        text += self.clause(language, self._pick(language, place))
        if place in ("add", "addmixed"):
            return text + (" please" if chance() < 0.1 else "")
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

    def surrounded(self, prompt: str) -> str:
        """The prompt with words before or after it that name nothing."""
        around = self.random.choice(_AROUND)
        return around.format(prompt, *self.random.choices(self.neutral, k=3))

    def talk(self) -> str:
        """Words that name nothing."""
        return " ".join(self.random.choices(self.neutral, k=self.random.randint(1, 7)))

    def nonsense(self) -> str:
        """Words of random letters."""
        letters = self.random.choice(("abcdefghijklmnopqrstuvwxyz", "eeaaooiutnrshldcmbpk", "asdfghjkl", "qwertyuiop"))
        sizes = [self.random.randint(1, 9) for _ in range(self.random.randint(1, 4))]
        return " ".join("".join(self.random.choices(letters, k=size)) for size in sizes)

    def mistyped(self, prompt: Labelled, rate: float) -> Labelled:
        """The prompt with a letter wrong in some of its words."""
        tokens = list(prompt.tokens)
        for i, token in enumerate(tokens):
            if len(token) >= 4 and token.isascii() and token.isalpha() and self.random.random() < rate:
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
    prompts = [*written, *(writer.mistyped(prompt, 0.1) for _ in range(3) for prompt in written)]
    for of_kind in writer.phrases.values():
        alone = [
            labelled(f"[{phrase}|{task}]") for task, texts in of_kind.items() if task in LABELS for phrase in texts
        ]
        prompts += [*alone, *(writer.mistyped(prompt, 0.5) for _ in range(2) for prompt in alone)]
    every = [
        labelled(writer.clause(language, frame))
        for (language, place), groups in writer.frames.items()
        if not place.startswith(("join", "start", "end"))
        for frame in (frame for group in groups for frame in group)
        for _ in range(EACH)
    ]
    prompts += [writer.mistyped(prompt, 0.03) for prompt in every]
    for i in range(count):
        language = "en" if i % 6 else writer.random.choice(("de", "fr", "es", "ja"))
        prompt = writer.prompt(language)
        if language == "en" and writer.random.random() < 0.35:
            prompt = writer.surrounded(prompt)
        prompts.append(writer.mistyped(labelled(prompt), 0.08))
    prompts += [labelled(writer.talk()) for _ in range(count // 10)]
    prompts += [labelled(writer.nonsense()) for _ in range(count // 20)]
    out = {tuple(words(prompt)) for name in HELDOUT for prompt, _ in heldout(name)}
    return [prompt for prompt in prompts if prompt.tokens and prompt.tokens not in out]
