"""Names of persons in a text: by gazetteer, by cues and by words that no dictionary knows.

A run of capitalised words is a name when it starts with a first name (Faker's lists, all
languages) or with a word no English dictionary knows (symspellpy's), and ends in a surname or in
another unknown word. After a cue such as "my name is", "Mrs" or a closing, less is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import cache

import regex  # type: ignore[import-untyped, unused-ignore]

HOUSE_LEAST = 5  # texts in which a word no dictionary knows must stand to be a house word
_STOP_WORDS = (
    "a an the and or but if so no not now then to of in on at by for from with as is are was were"
    " be been am do does did has have had can could will would shall should may might must i me my"
    " we us our you your he him his she her they them their it its this that these those there"
    " here what who when where why how which also just only please thanks thank dear hello hi hey"
    " re fwd monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thurs"
    " fri sat sun january february march april june july august september october november"
    " december jan feb mar apr jun jul aug sep sept oct nov dec mum mother dad father wife husband"
    " sister brother son daughter caller customer cust lady regards best kind cheers love"
    " sincerely faithfully order card ok vielen dank guten tag merci bonjour grazie gracias sent"
    " subject christmas easter god lord english french german italian spanish dutch sir madam"
    " mr mrs ms miss dr prof name road street lane avenue close"
)
_STOP = frozenset(_STOP_WORDS.split())
_TITLE = r"(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sir|Herr|Frau|Mme|Madame|Señora?|Rev|Capt)\.?\s+"
_PARTICLE = r"(?:van|von|der|den|de|del|della|di|da|du|la|le|y|bin|al|ibn|ter|ten|af|av|dos|das|do)"
_TOKEN = r"\p{Lu}[\p{L}\p{M}]*(?:['\u2019-]\p{L}[\p{L}\p{M}]*)*"
_RUN = regex.compile(
    rf"(?<![\p{{L}}\d@._/-])(?:\p{{Lu}}\.(?= )|{_TOKEN})"
    rf"(?:[ ]{{0,2}}[ \n](?:{_PARTICLE} )*(?:\p{{Lu}}\.(?= )|{_TOKEN}))*(?![\w@\uff20-])"
)
_WORD = regex.compile(rf"\p{{Lu}}\.|{_TOKEN}")
_CUE = regex.compile(
    r"\b(?i:my name is|my name's|name is|name's|name on it:?|(?:in|on) the name of|name of|name:"
    r"|named|called|i am|i'm|she's|he's|this is|it's|attn\.?|c/o|contact:?|signed,?"
    r"|(?:bell|buzzer|door|letter ?box|gate|sign) (?:says|reads|is)|asks? for"
    r"|sp(?:oke|eak)(?: to| with))\s$"
)
# "the Pennine Way", "at Mill House": things and places
_THING = regex.compile(r"\b(?i:the|your|these|those|per|in|at|near|via|up|around|past)\s$")
_TITLED = regex.compile(rf"\b{_TITLE}$")
_CLOSED = regex.compile(
    r"(?i)(?:^|[\n.!?,] *)(?:(?:kind|best|warm|many) )?(?:regards|wishes|thanks|thank you"
    r"|cheers|yours(?: \w+)?|love|sincerely)[ ]*[,.!]?\s+$"
)
_LAST = regex.compile(r"[ ]*[.!]?[ ]*(?:\n|$)")  # what may follow a name after a closing
_LOWER_CUE = regex.compile(
    r"(?i:\bmy (?:full )?name(?:'s| is)) (\p{Ll}[\p{Ll}-]+)(?: (\p{Ll}[\p{Ll}-]+))?"
)
_SHORT = regex.compile(r"['\u2019](?:s|m|re|ve|ll|d|t)$")
_LINE = regex.compile(
    r"(\p{L}[\p{L}\p{M}.'\u2019-]*(?: \p{L}[\p{L}\p{M}.'\u2019-]*){0,3})\s*"
    r"(?=$|[,(·|•\u2013\u2014])"
)


@cache
def english() -> dict[str, int]:
    """Give symspellpy's English words (lower case) with their counts in a large corpus."""
    from importlib.resources import files

    path = files("symspellpy") / "frequency_dictionary_en_82_765.txt"
    pairs = (line.split() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return {word: int(count) for word, count in pairs}


def _faker(*kinds: str) -> frozenset[str]:
    import importlib
    import pkgutil

    from faker.providers import person

    found: set[str] = set()
    for module in pkgutil.iter_modules(person.__path__):
        provider = importlib.import_module(f"{person.__name__}.{module.name}").Provider
        for kind in kinds:
            values = getattr(provider, kind, ())
            if not isinstance(values, property):
                found.update(str(value).lower() for value in values)
    return frozenset(name for name in found if len(name) > 2)


@cache
def given_names() -> frozenset[str]:
    """Give some 30,000 first names in lower case, of all the languages Faker knows."""
    return _faker("first_names", "first_names_male", "first_names_female")


@cache
def surnames() -> frozenset[str]:
    """Give the surnames Faker knows, in lower case."""
    return _faker("last_names")


def _parts(word: str) -> list[str]:
    plain = _SHORT.sub("", word.lower().rstrip("."))
    return [part for part in plain.split("-") if part]


def unknown(word: str) -> bool:
    """Say whether a part of ``word`` has three letters or more and is in no English dictionary."""
    words = english()

    def known(part: str) -> bool:
        bare = regex.sub(r"['\u2019]", "", part)
        return len(bare) < 3 or bare in words or bare.removesuffix("s") in words

    return not all(known(part) for part in _parts(word))


def house_words(texts: Iterable[str], *, least: int = HOUSE_LEAST) -> frozenset[str]:
    """Give the unknown words that ``least`` texts or more hold, in lower case.

    Brands, products and places of the house: they stand in many texts, a customer's name
    in few. First names of the gazetteer are never among them.
    """
    counts = Counter(
        word for text in set(texts) for word in {t.lower() for t in regex.findall(r"\p{L}+", text)}
    )
    return frozenset(
        w for w, n in counts.items() if n >= least and unknown(w) and w not in given_names()
    )


def _given(word: str) -> bool:
    parts = _parts(word)
    return bool(parts) and parts[0] in given_names()


def _pieces(text: str, house: Collection[str]) -> Iterator[list[regex.Match[str]]]:
    """Yield runs of capitalised words, cut where a function word or house word stands."""
    cuts = _STOP.union(house)
    for run in _RUN.finditer(text):
        piece: list[regex.Match[str]] = []
        for word in _WORD.finditer(text, run.start(), run.end()):
            plain = "-".join(_parts(word.group()))
            initial = word.group().endswith(".")
            if not initial and {plain, plain.removesuffix("s")} & cuts:
                yield piece
                piece = []
            else:
                piece.append(word)
        yield piece


def _person(words: list[str]) -> bool:
    if len(words) < 2 or len(words[-1].rstrip(".")) < 2:
        return False
    first, last = words[0], words[-1]
    if unknown(last) and english().get(first.lower(), 0) < 1_000_000:
        return True
    if unknown(last) or _parts(last)[-1] in surnames():
        return _given(first) or unknown(first) or (len(first) == 2 and first.endswith("."))
    return _given(first) and english().get(first.lower(), 0) < 5_000_000


def _runs(text: str, house: Collection[str]) -> Iterator[tuple[int, int]]:
    shouted = sum(map(str.isupper, text)) > sum(map(str.islower, text))
    for piece in _pieces(text, house):
        if not piece:
            continue
        before = text[max(0, piece[0].start() - 40) : piece[0].start()]
        if _THING.search(before):
            continue
        closed = _CLOSED.search(before) and _LAST.match(text, piece[-1].end())
        titled, cued = _TITLED.search(before), _CUE.search(before) or closed
        words = [w.group() for w in piece]
        namely = len(words) > 1 or _given(words[0]) or unknown(words[0])
        if len(words[-1]) > 2 and (titled or (cued and namely and not shouted)):
            yield piece[0].start(), piece[-1].end()
            continue
        for first in range(len(words) - 1):
            if not shouted and _person(words[first : first + 4]):
                yield piece[first].start(), piece[min(first + 3, len(words) - 1)].end()
                break


def _signature(text: str, house: Collection[str]) -> Iterator[tuple[int, int]]:
    """Yield the name that a last paragraph of its own begins with."""
    at = max(text.rfind("\n\n"), 0)
    lines = [m for m in regex.finditer(r"[^\n]+", text, pos=at)] if at else []
    for line in lines[:2]:
        found = _LINE.match(regex.sub(rf"^{_TITLE}", "", line.group()))
        if not found or len(lines) > 4:
            continue
        words = found.group(1).split()
        if any("-".join(_parts(w)) in _STOP | set(house) for w in words):
            continue
        cased = all(w[0].isupper() for w in words if not regex.fullmatch(_PARTICLE, w))
        if any(unknown(w) or (cased and _given(w)) for w in words) and (cased or len(words) > 1):
            start = line.end() - len(line.group()) + line.group().index(found.group(1))
            yield start, start + len(found.group(1).rstrip(" .-"))


def find_names(text: str, house: Collection[str] = ()) -> list[tuple[int, int]]:
    """Give the places ``(start, end)`` of persons' names in ``text``, without their titles.

    Args:
        house: words in lower case that are no names here, see :func:`house_words`.
    """
    found = [*_signature(text, house), *_runs(text, house)]
    for cue in _LOWER_CUE.finditer(text):  # "my name is anna smith"
        first, second = cue.group(1), cue.group(2) or "and"
        if first not in _STOP and (_given(first) or unknown(first)):
            last = unknown(second) or (second in surnames() and second not in _STOP)
            found.append((cue.start(1), cue.end(2) if last else cue.end(1)))
    kept: list[tuple[int, int]] = []
    for start, end in sorted(found, key=lambda span: (span[0], -span[1])):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept
