"""Postal addresses in a text: chains of capitalised words and numbers that hold an anchor.

A chain is what people write between commas and line ends: ``Flat 2, The Old Creamery``, ``Hauptstr.
12a, 79098 Freiburg``. It is an address when something in it is only found in one: a postcode with
its place, a number with a word for street, a post box. Weak signs (``12 Moss Green``) count beside
words about delivery alone. Text without capitals is searched by number, street word and postcode.
"""

from __future__ import annotations

from collections.abc import Iterator

import regex  # type: ignore[import-untyped, unused-ignore]

from course_lib.finetune.text.names import find_names

# --- words of addresses ----------------------------------------------------------------------
# After a number these are streets; the second list holds words that products bear as well.
_STREET = (
    "Road|Rd|Street|St|Lane|Ln|Avenue|Ave|Close|Cl|Drive|Dr|Terrace|Ter|Crescent|Cres|Court|Ct"
    "|Place|Pl|Square|Sq|Gardens|Gdns|Grove|Row|Mews|Parade|Quay|Wharf|Yard|Alley|Wynd|Boulevard"
    "|Blvd|Highway|Hwy|Parkway|Pkwy|Embankment|Esplanade|Cottages?|Villas|Buildings|Mansions"
    "|Causeway|Vennel|Brae|Croft|Circle|Cir|Turnpike|Trl|Broadway|Promenade|Almshouses"
)
_MAYBE_STREET = (
    "Way|Walk|Hill|Rise|Bank|Steps|View|Green|Reach|Gate|Approach|Vale|Park|Path|Passage|End"
    "|Fields?|Meadows?|Loan|Slip|Drove|Trail|Loop|Hollow|Pike|Plaza|Heights|Bend|Ridge|Run"
    "|Crossing|Landing|Point|Common|Mount|Chase|Piece|Fold|Garth|Dell|Dale|Copse|Orchard|Paddock"
    "|Lea|Mead|Staithe|Strand|Circus|Bridge|Mill|Spinney|Wood|Corner|Garden|Level|Nook|Brow|Flats"
)
_UNIT = (
    "Flat|Apt|Apartment|Unit|Room|Rm|Suite|Ste|Mooring|Berth|Plot|Lot|Pitch|Cottage|Lodge|Cabin"
    "|Chalet|Caravan|Hut|House|Block|Blk|Building|Bldg|Studio|Loft|Bungalow|Barn|Workshop|Floor"
    "|Level|Villa|Stall|Arch|Pier|Number|Wohnung|Appartement|Appt|Apto|Dpto|Byt|Lgh"
)
_HOUSE = (
    "Cottage|House|Farm|Farmhouse|Lodge|Barn|Hall|Manor|Mill|Rectory|Vicarage|Croft|Bothy|Villa"
    "|Bungalow|Grange|Mansions|Lighthouse|Inn|Hotel|Hostel|Guesthouse|Boathouse|Steading|Manse"
)
# Streets of other countries: as the end of a word before the number, or as a word of their own.
_ENDING = (
    r"\p{L}{2,}(?:stra(?:ß|ss)e|str\.?|gasse|weg|platz|allee|damm|ufer|steig|graben|chaussee|pfad"
    r"|(?<=\p{L}{3})ring|tie|katu|kuja|polku|kaari|puistikko|gatan|gata|gatu|vägen|stigen|gränd"
    r"|torget|vej|gade|allé|stræde|bakken|vænget|veien|vegen|vei|veg|straat|laan|gracht|plein"
    r"|kade|dijk|singel|dreef|vegur|stígur|braut)|\p{L}+(?:-ro|-gil|-dong|-daero)"
)
_BEFORE = (
    r"(?i:rue|ruelle|all[ée]es?|impasse|chemin|boulevard|bd|quai|calle|carrer|avenida|avda|rua"
    r"|travessa|praça|piazza|piazzale|viale|vicolo|corso|ulica|ulice|ul|strada|str|calea|aleea"
    r"|plaza|paseo|camino|ronda|náměstí|jalan)\b\.?|(?:Via|Largo|Place|Route|Cours|Avenue|Loc\."
    r"|Località|Frazione|Fraz\.|Laan|al\.|os\.|pl\.|Aleja|Osiedle)|[Cc]/"
)
_AFTER = r"(?:utca|u\.|út|tér|krt\.|körút|köz|ulica|ulice|Cad\.?|Caddesi|Sok\.?|Sokak|Mah\.?)"
_GERMAN = (
    r"(?:Am|Im|Zum|Zur|Beim|An de[rn]|Auf de[rm]|In de[rn]|Unter de[rn]|Vor de[rm]|Hinter de[rm])"
)
_UK = r"[A-Z]{1,2}\d[A-Z\d]?\s{0,2}\d[A-Z]{2}"
_SURE_CODE = (  # enough alone: British, Canadian and Irish codes, American ones with their state
    rf"(?:\b(?:{_UK}|[A-Z]\d[A-Z]\s{{0,2}}\d[A-Z]\d|(?:[AC-FHKNPRTV-Y]\d\d|D6W)\s?[\dAC-FHKNPRTV-Y]"
    r"{4}|(?:A[AEKLPRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA"
    r"|PR|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY])\s\d{5}(?:-\d{4})?"
    r"|(?:NSW|VIC|QLD|WA|SA|TAS|ACT|NT)\s\d{4})\b)"
)
_CODE = (  # enough before a place, as in "79098 Freiburg"
    r"(?:(?:[A-Z]{1,2}-)?(?:\d{5,6}|\d\d-\d{3}|\d{3} \d\d|\d{4}-\d{3}|\d{5}-\d{3}"
    r"|(?!19\d\d\b|20\d\d\b(?! [A-Z]{2}\b))\d{4}(?: [A-Z]{2})?)|[A-Z]{2}-\d{4})"
)
_BOX = (
    r"\bP\.? ?O\.? ?Box \w+|\b(?:GPO Box|Private Bag|Locked Bag|Postfach|Postbus|Postboks|Casilla"
    r"|Casella Postale|Apartado|Boîte Postale|BFPO|RR|RMB|RD|Rural Route|CMR|PSC|HC) \d+"
    r"|\bGeneral Delivery\b|\bPoste Restante\b"
)
_COUNTRY = (
    r"England|Scotland|Wales|Northern Ireland|Ireland|UK|U\.K\.|United Kingdom|Great Britain|USA"
    r"|U\.S\.A\.|US|United States|Canada|Australia|Isle of Man|Jersey|Guernsey"
)

# --- chains ----------------------------------------------------------------------------------
_SMALL = (  # words in lower case that stand between others, and some that begin a part
    r"of|on(?! (?:\d|Mon|Tue|Wed|Thu|Fri|Sat|Sun))|upon|the|and(?! \d)|under|sur|sous|lès|les|las"
    r"|los|de|del|della|dei|degli|des|der|den|dem|du|la|le|da|do|das|dos|van|von|het|ter|ten|te"
    r"|am|im|zum|zur|an der|auf der|m\.|n[.o]"
)
_LOWER_WORD = (
    r"(?:rue|ruelle|allées?|impasse|chemin|boulevard|bd|quai|calle|carrer|avenida|rua|travessa"
    r"|ulica|ulice|utca|strada|apto|lgh|(?:ul|al|os|av|avda|nr|bl|sc|et|ap|lok|kv|bât|esc|u|krt)\."
    r"|(?:avenue|place|route|via)(?= (?:\p{Lu}|d[eu]))|(?:flat|apt|unit|room)(?= \d)|út|tér"
    r"|(?<=\d )(?:bis|ter)\b|(?<=\d )bus(?= \d))(?!\w)"
)
_WORD = (
    r"(?:#?\d+\.(?:[ºª°]| (?:tv|th|mf|OG|Stock|em|sal|etg)\b\.?)|#?\d[\w/-]*(?: ?[ºª°])?"
    r"|(?:\p{Lu}\.)+|\p{Lu}\p{L}{1,2}\.(?=\s)|\p{L}+(?:str|gt)\.(?=\s\d)"
    r"|(?:Rd|Ave?|Avda|Dr|St|Ste|Blvd|Ln|Ct|Pl|Sq|Apt|Cad|Sok|Mah|No|Nr|Hwy|Cres|Esq|Co|Bldg)\."
    r"(?=[\s,])|No:|D:|[Cc]/|\p{Lu}[\p{L}\p{M}\d'\u2019/-]*|" + _LOWER_WORD + r")"
)
_SEGMENT = rf"{_WORD}(?:[ \u00a0]{{1,2}}(?:(?:{_SMALL})[ ]){{0,2}}{_WORD})*(?: \(\p{{Lu}}{{2}}\))?"
_CHAIN = regex.compile(
    rf"(?<![\w/.£$€-]){_SEGMENT}"
    rf"(?:(?:,[ ]?\n?|[ ]?\n|;[ ]|[ ][-\u2013][ ](?=[A-Z]{{2}}\b))"
    rf"(?:\p{{Ll}}+(?: \p{{Ll}}+){{0,2}},[ ]|(?:by|near|nr|off|opp|behind|above|via)\.?[ ])?"
    rf"{_SEGMENT})*"
)
_NUMBER = r"\d+\w?(?:[-/]\d*\w?)?"
_NAMES = r"(?:\p{Lu}[\p{L}\p{M}'\u2019.-]+\s){1,3}"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_ANCHORS = [
    regex.compile(_SURE_CODE),
    regex.compile(rf"\b{_NUMBER},?\s{_NAMES}(?:{_STREET})\b(?!-)"),
    regex.compile(rf"\b{_NUMBER} The (?:\p{{Lu}}\p{{L}}+ )?(?:{_STREET}|{_MAYBE_STREET})\b"),
    regex.compile(_BOX, regex.I),
    regex.compile(rf"\b(?:{_UNIT})\.? (?:No\.? )?#?[A-Z]?\d+\w?[,\n]\s?[\p{{Lu}}\d]"),
    regex.compile(rf"(?i)\b(?:{_ENDING})\s\d"),
    regex.compile(
        rf"(?:(?<!\p{{L}})(?:{_BEFORE})\s(?:\p{{L}}[\p{{L}}.'\u2019-]*\s){{0,4}}"
        rf"\p{{L}}[\p{{L}}\p{{M}}.'\u2019-]*,?\s(?:nr\.? |n\.? ?|No\. )?\d"
        rf"|\b\d+\w?(?: bis| ter)?,? (?:{_BEFORE})\s\p{{L}})"
    ),
    regex.compile(rf"\p{{Lu}}[\p{{L}}\p{{M}}]+ {_AFTER},? (?:No:? ?)?\d"),
    regex.compile(rf"\b{_GERMAN} (?:\p{{Lu}}[\p{{L}}-]+ ){{1,2}}\d{{1,3}}\w?(?:[,\n]|$)"),
    regex.compile(rf"\d\S{{0,4}},?[^,\n]{{0,12}}[,\n]\s?(?:[^,\n]{{1,25}}[,\n]\s?){{0,2}}{_CODE}\s\p{{Lu}}"),
    regex.compile(r"\p{L}[,\n]\s?(?:[A-Z]{1,2}-)?(?:\d{5}|\d\d-\d{3}|\d{3} \d\d)\s\p{Lu}\p{Ll}"),
    regex.compile(r"^(?:[A-Z]{1,2}-)?\d{4,6} \p{Lu}\p{Ll}+, .*\p{L}{3}.*\d"),
    regex.compile(r"\d.*[,\n]\s?(?:\p{Lu}[\p{L}\p{M}.'-]+[ ,-]+)*\p{Lu}\p{Ll}[\p{L}\p{M}.'-]*"
                  r"[ ,-]+(?:[A-Z]{2},? )?\d{5,6}(?:-\d{3,4})?$"),
    regex.compile(r"\d.*[,\n]\s?\p{Lu}[\p{L} ,-]+,? \d{3}-\d{4}$"),
    regex.compile(r"[,\n].*\b(?:Road|Rd|Street|Lane|Avenue|Close|Terrace|Crescent|Drive)\b[,\n]"),
]  # fmt: skip
_WORTH = regex.compile(r"[\d,\n]|General Delivery|Poste Restante")
_STREETS = regex.compile(
    rf"\b(?:{_STREET}|{_MAYBE_STREET})$|(?i)\b(?:{_ENDING})$|^(?:{_BEFORE}) | {_AFTER}$"
)
_PLACE = regex.compile(rf"[,\n]\s?{_CODE} \p{{Lu}}\p{{L}}+")
_WEAK = regex.compile(
    rf"^(?:{_NUMBER},?\s(?!{_MONTH}){_NAMES}(?:{_MAYBE_STREET})\b(?:[,\n]\s*\p{{Lu}}|$)"
    rf"|{_NUMBER},? (?!{_MONTH})(?:\p{{Lu}}[\p{{L}}'\u2019-]{{2,}}(?: |(?=,))){{1,3}}, ?\p{{Lu}}"
    rf"|{_NAMES}(?:{_HOUSE}), \p{{Lu}})"
)
_PLACED = regex.compile(rf"^{_NUMBER},?\s(?!{_MONTH}){_NAMES}(?:{_MAYBE_STREET})[,\n]\s*\p{{Lu}}")
_ABOUT = regex.compile(
    r"(?i)\b(?:addr\w*|deliver\w*|sen[dt]\w*|ship\w*|post\w*|re-?direct\w*|re-?rout\w*|forward\w*"
    r"|live[sd]?|living|mov(?:ed?|ing)|stay\w*|house|home|flat|door\w*|courier\w*|driver|van|parcel"
    r"|collect\w*|neighbou?rs?|resid\w*|drop\w*|pick\w*|label\w*|return\w*|bring|went|I['\u2019]?m)\b"
)
_AT = regex.compile(r"(?:\b(?:at|to|from|in|is|it'?s|into|for|outside|be|[Aa]ddr\w*)|:)\s*$")
_TAIL = regex.compile(
    r"(?:[,;]\s*(?:I|\d\d?|\p{Lu}\p{L}*['\u2019]\p{L}+|He|She|We|They|It|My|But|And|Not|Please"
    r"|Then|If|So|Or|Can))+$"
)
_LEAD = regex.compile(
    r"(?:(?:It'?s|It|Is|I|To|At|In|From|And|But|My|We|Our|Address|Addr|Deliver|Send|Ship|Please|New"
    r"|Now|Courier|Lives|Lady|Cust|Caller|Label|Wants|Post|Mine|Moved|Parcel|Return|Use|Collect"
    r"|Delivery|Home|Write|Correct|Yes|No|Not|Still|Also|Since|For|Hello|Hi|Thanks|LO-\d+)[ ,]+)+"
)
_END = regex.compile(rf"{_SURE_CODE}(?:,? (?:{_COUNTRY})\b)?")

# --- without capitals, or with nothing else --------------------------------------------------
_LOWER = regex.compile(
    r"(?i)\b(?:(?:flat|apt|unit|room) )?\d+\w?,? [^.?!()\n]{3,60}?"
    r"\b(?:[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] \d[A-Z]\d)\b"
)
_ZIP = r"(?:\.?,? (?:\p{L}+ ?){1,2},? [A-Za-z]{2} \d{5}\b)"
_LOWER_STREET = regex.compile(
    r"(?:\b(?:flat|apt|unit) \d+\w?,? )?(?<![\w.,-])\d{1,4}[a-z]?,? "
    r"(?:(?!(?:i|m|km|min|mins|cm|mm|mile|hour|day|week|year|a|the|my|our|your|of|each|per)\b)"
    r"\p{L}[\p{L}'\u2019]* ){1,3}"
    rf"(?:(?:road|rd|street|lane|avenue|crescent|terrace)\b(?!-){_ZIP}?"
    rf"|(?:close|drive|gardens|grove|court|place|st|ave|dr|ln|blvd){_ZIP})"
)


def find_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Yield the places ``(start, end)`` of postal addresses in ``text``.

    Capitals are needed but where a number, a street word and a postcode stand together. Two
    places may overlap: take the first.
    """
    shouted = sum(map(str.isupper, text)) > sum(map(str.islower, text))
    if not shouted:
        yield from _chains(text)
    low = text.lower() if shouted and len(text.lower()) == len(text) else text
    for pattern in (_LOWER, _LOWER_STREET):
        for m in pattern.finditer(low):
            yield m.span()


def _chains(text: str) -> Iterator[tuple[int, int]]:
    for m in _CHAIN.finditer(text):
        start, end = m.span()
        if not _WORTH.search(m.group()):
            continue
        if lead := _LEAD.match(text, start, end):
            start = lead.end()
        chain = _TAIL.sub("", text[start:end]).rstrip(".'\u2019 ")
        sure = any(a.search(chain) for a in _ANCHORS)
        if not (sure or _PLACED.match(chain) or _WEAK.search(chain)):
            continue
        first = _after_name(chain)
        chain, start = _to_code(chain[first:]), start + first
        if sure:
            if len(chain) > 10 or regex.match(_BOX, chain):
                yield start, start + len(chain)
        elif _PLACED.match(chain) or (_WEAK.match(chain) and _likely(text, start)):
            yield start, start + len(chain)


def _is_name(part: str) -> bool:
    """Say whether a part of a chain is the name of who lives there."""
    if any(c.isdigit() for c in part) or _STREETS.search(part):
        return False
    return len(part) in (end for _, end in find_names(part))


def _after_name(chain: str) -> int:
    """Give where a chain goes on after the name of who lives there."""
    start = 0
    for part in regex.finditer(r"[^,\n]+[,\n]\s*", chain):
        if part.start() != start or not _is_name(part.group().rstrip(" ,\n")):
            break
        start = part.end()
    return start


def _to_code(chain: str) -> str:
    """Leave out what follows a complete address: all after a sure code, names after another."""
    if code := _END.search(chain):
        return chain[: code.end()]
    if code := _PLACE.search(chain):
        head, _, last = chain.rpartition(",")
        if code.end() <= len(head) and _is_name(last.strip()):
            return head
    return chain


def _likely(text: str, start: int) -> bool:
    """Say whether words about delivery or living somewhere lead up to ``start``."""
    before = text[max(0, start - 60) : start]
    return bool(_AT.search(before[-15:]) and _ABOUT.search(before))
