"""Noun phrases of a caption, by tables of short words: which adjective belongs to which noun.

Captions are plain. Between two words of the closed classes (articles, prepositions, conjunctions,
pronouns, auxiliaries), verbs or marks stands a phrase, as in "a [red car] next to two [old
benches]". Its last word is the head, the others are modifiers. Adjectives joined by "and" stay
together ("a red and blue table"), and what is said of a noun ("a car that is red") is its modifier.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from clipdiff_jax.core.config import nearest


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words(
    "a an the this that these those some any each every no another both all its his her their my "
    "our your one two three four five six seven eight nine ten several many few"
)
_PREPOSITIONS = _words(
    "about above across after against along among around as at atop before behind below beneath "
    "beside besides between beyond by down during except for from in inside into like near next of "
    "off on onto out outside over past per through throughout to toward towards under underneath "
    "until up upon via with within without top front"
)
_CONJUNCTIONS = _words("and or but nor so yet while when where if because than then")
_PRONOUNS = _words(
    "i you he she it we they me him us them who whom whose which what there here itself himself "
    "herself themselves someone something other others"
)
_COPULAS = _words("is are was were")
_AUXILIARIES = _COPULAS | _words(
    "be been being am do does did has have had can could will would may might must shall should "
    "not very just also too only"
)
_VERBS = _words(
    "sits sit sat stands stand stood lies lay lays laid walks walked runs ran rides rode eats ate "
    "holds held looks looked plays played flies flew jumps jumped hangs hung hold wears wore worn "
    "sleeps slept shows showed shown gets got goes went gone takes took taken makes made contains "
    "contained filled covered parked seated surrounded topped placed attached mounted decorated "
    "dressed pulled pulls pushes rests rested leans leaned waits waited carries carried uses used "
    "grazes grazed swims swam drives drove driven cuts poses posed floats floated travels traveled "
    "moves moved comes came sees saw seen throws threw catches caught faces crosses crossed passes "
    "passed reads smiles smiled talks talked turns turned kneels drinks drank reaches reached "
    "feeds fed swings hits prepares prepared"
)
# Between two of these "and" and a comma join adjectives.
_ADJECTIVES = _words(
    "red green blue yellow purple cyan orange pink brown black white gray grey golden gold silver "
    "beige tan teal turquoise violet magenta maroon navy cream blond blonde wooden wood metal "
    "metallic plastic glass leather stone brick concrete paper striped spotted checkered plaid big "
    "small large little tall short long old young new bright dark light round square"
)
_BOUNDARIES = _PREPOSITIONS | _CONJUNCTIONS | _PRONOUNS | _AUXILIARIES
_TOKEN = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*|[^\w\s]")
_MOST_GERUND = 4  # letters: a shorter word that ends in "ing" ("ring", "king") is a noun


class Piece(NamedTuple):
    """A word of a phrase, in lower case, and where it stands in the text."""

    text: str
    start: int
    end: int


class Phrase(NamedTuple):
    """A noun and what is said of it.

    Attributes:
      head: the noun. modifiers: its adjectives and the like, in order.
      start, end: where it stands in the text, its article included; what is said of it after a verb
        stands elsewhere.
    """

    head: Piece
    modifiers: tuple[Piece, ...]
    start: int
    end: int


def noun_phrases(text: str) -> list[Phrase]:
    """The noun phrases of a caption, in order."""
    words = [Piece(m.group().lower(), m.start(), m.end()) for m in _TOKEN.finditer(text)]
    phrases: list[Phrase] = []
    run: list[Piece] = []
    start: int | None = None  # of an article before the run
    said = False  # whether the run follows a copula and so is about the last phrase

    def close() -> None:
        nonlocal run, start, said
        content = [word for word in run if word.text not in ("and", ",")]
        if content and said and start is None and phrases:
            phrases[-1] = phrases[-1]._replace(modifiers=(*phrases[-1].modifiers, *content))
        elif content:
            first = run[0].start if start is None else start
            head = content[-1]
            phrases.append(Phrase(head, tuple(content[:-1]), first, head.end))
        run, start, said = [], None, False

    for i, word in enumerate(words):
        if word.text in ("and", ",") and _joins(words, i, run):
            run.append(word)
        elif word.text in _COPULAS:
            close()
            said = True
        elif word.text == "that" and i + 1 < len(words) and words[i + 1].text in _COPULAS:
            close()
        elif word.text in DETERMINERS:
            if run:
                close()
            said = False
            start = word.start if start is None else start
        elif _is_boundary(words, i, bool(run) or start is None):
            close()
        else:
            run.append(word)
    close()
    return phrases


def given_phrases(text: str, wanted: Sequence[str]) -> list[Phrase]:
    """Phrases that a user names; each must occur in the text, and its last word is the head.

    Raises `ValueError`, with the nearest phrase found, for one that does not occur.
    """
    found = []
    for phrase in wanted:
        match = re.search(rf"(?<!\w){re.escape(phrase.strip())}(?!\w)", text, re.IGNORECASE)
        if not phrase.strip() or match is None:
            known = [text[one.start : one.end] for one in noun_phrases(text)]
            raise ValueError(f"no phrase '{phrase}' in '{text}'.{nearest(phrase, known)}")
        pieces = [
            Piece(m.group().lower(), m.start() + match.start(), m.end() + match.start())
            for m in _TOKEN.finditer(match.group())
        ]
        content = [p for p in pieces if p.text not in DETERMINERS and p.text[0].isalnum()]
        content = [p for p in content if p.text != "and"]
        if not content:
            raise ValueError(f"the phrase '{phrase}' has no noun")
        found.append(Phrase(content[-1], tuple(content[:-1]), match.start(), match.end()))
    return found


def _joins(words: Sequence[Piece], i: int, run: Sequence[Piece]) -> bool:
    """Whether "and" or a comma stands between two adjectives of one phrase."""
    if not run or run[-1].text not in _ADJECTIVES or i + 1 == len(words):
        return False
    return words[i + 1].text in _ADJECTIVES


def _is_boundary(words: Sequence[Piece], i: int, may_be_verb: bool) -> bool:
    """Whether a word ends a phrase. may_be_verb: whether no article stands right before it."""
    word = words[i].text
    if not word[0].isalnum() or word in _BOUNDARIES:
        return True
    if word in _VERBS:
        return may_be_verb
    if not word.endswith("ing") or len(word) <= _MOST_GERUND or not may_be_verb:
        return False
    after = words[i + 1].text if i + 1 < len(words) else "."
    return not after[0].isalnum() or after in DETERMINERS | _PREPOSITIONS | _PRONOUNS
