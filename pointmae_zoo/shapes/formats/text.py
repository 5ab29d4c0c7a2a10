"""Text of any origin: its encoding and line ends, its lines, its numbers. For all text formats.

Numbers are read exactly (each is the float64 nearest to its digits) but by numpy as a whole. A word that is
no number is never skipped and never read as another number: either it has one meaning or there is a reason.
"""

import codecs
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.notes import note
from pointmae_zoo.shapes.surface import MeshError

MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
UNMARKED_SAMPLE = 512  # bytes that decide whether text without a mark is UTF-16
# 10**22 is the last power of ten that float64 holds exactly, 2**53 the last of its unbroken integers: a
# quotient or product of two exact numbers is rounded once, so it is the nearest float64.
POWERS = 10.0 ** np.arange(23)
EXACT = 2**53
BLANKS = bytes(code in b" \t\n\v\f\r" for code in range(256))
MOST_DIGITS = 16  # on average, signs and points included: with more, most numbers are beyond these limits
COMMA_DECIMAL = re.compile(rb"[+-]?\d*,\d+(?:[eEdD][+-]?\d+)?", re.ASCII)
THOUSANDS = re.compile(rb"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf|infinity)", re.ASCII | re.I)
FORTRAN = re.compile(rb"([+-]?(?:\d+\.?\d*|\.\d+))[dD]([+-]?\d+)(?=\s|$)", re.ASCII)
# What Microsoft's C library used to print for numbers that are none.
OLD_NAN = re.compile(rb"[+-]?(?:nan\((?:ind|snan)\)|\d\.#(?:IND|QNAN|SNAN)\w*)(?=\s|$)", re.ASCII | re.I)
OLD_INF = re.compile(rb"(?<!\S)([+-]?)\d\.#INF\w*(?=\s|$)", re.ASCII | re.I)


def plain_text(data: bytes) -> bytes:
    r"""The text with one byte per ASCII character, lines that end with \n, no mark and no padding.

    UTF-16 and UTF-32 become UTF-8. Anything else stays as it is: names may have any encoding, numbers are
    ASCII.
    """
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), None) or _unmarked_utf16(data)
    if encoding:
        data = data.decode(encoding, "replace").removeprefix("\ufeff").encode("utf-8", "replace")
    data = data.removeprefix(codecs.BOM_UTF8)
    if data[-1:] in (b"\0", b"\x1a", b"\n", b"\r"):
        data = data.rstrip(b"\0\x1a\r\n")  # padding to whole blocks, the end mark of CP/M and DOS
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data + b"\n"


def _unmarked_utf16(data: bytes) -> str | None:
    """ASCII written as UTF-16 has a zero in every other byte."""
    start = np.frombuffer(data[:UNMARKED_SAMPLE].rstrip(b"\0"), np.uint8)
    zeros = start == 0
    even, odd = zeros[0::2], zeros[1::2]
    if len(odd) < 2 or not zeros.any():
        return None
    if odd.mean() > 0.7 and not even.any():
        return "utf-16-le"
    return "utf-16-be" if even.mean() > 0.7 and not odd.any() else None


def without_comments(text: bytes, mark: bytes = b"#") -> bytes:
    """The text without everything from the mark to the end of its line."""
    return re.sub(re.escape(mark) + rb"[^\n]*", b"", text) if mark in text else text


def is_blank(text: bytes) -> NDArray[np.bool_]:
    r"""Which bytes are a space, tab, \n, \v, \f or \r."""
    return np.frombuffer(text.translate(BLANKS), bool)


class Lines:
    """The lines of a text whose last one ends with \\n: where they begin and end, and where their first word
    is."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.codes = np.frombuffer(text, np.uint8)
        self.ends = np.flatnonzero(self.codes == 10)  # (L,)
        self.starts = np.concatenate(([0], self.ends[:-1] + 1))
        said = self.starts.copy()  # the end of the line if it is empty
        blank = np.frombuffer(BLANKS, bool)
        late = np.flatnonzero(blank[self.codes[said]] & (said < self.ends))
        while len(late):
            said[late] += 1
            late = late[blank[self.codes[said[late]]] & (said[late] < self.ends[late])]
        self.said = said

    def letters(self, place: int) -> NDArray[np.uint8]:
        """(L,) the byte at this place after the first word's beginning, letters in lower case."""
        return self.codes[np.minimum(self.said + place, len(self.codes) - 1)] | np.uint8(32)

    def begins(self, word: bytes) -> NDArray[np.bool_]:
        """Which lines (L,) begin with this word of lower-case letters, whatever their case is in the text."""
        found = np.flatnonzero(self.letters(0) == word[0])
        for place, letter in enumerate(word[1:], start=1):
            found = found[
                self.codes[np.minimum(self.said[found] + place, len(self.codes) - 1)] | 32 == letter
            ]
        behind = self.codes[np.minimum(self.said[found] + len(word), len(self.codes) - 1)]
        mask = np.zeros(len(self.said), bool)
        mask[found[np.frombuffer(BLANKS, bool)[behind]]] = True
        return mask

    def joined(self, wanted: NDArray[np.bool_], without: int) -> bytes:
        """The text of these lines, without the first letters of their first words."""
        kept = np.repeat(wanted, self.ends - self.starts + 1)
        first = self.said[wanted]
        for place in range(without):
            kept[first + place] = False
        return self.codes[kept].tobytes()

    def shown(self, number: int) -> str:
        """A line, shortened, with its number."""
        line = b" ".join(self.text[self.starts[number] : self.ends[number]].split())[:60]
        return f"line {number + 1} ({line.decode('utf-8', 'replace')})"


class Words(NamedTuple):
    """Where the words of a text begin and end (W,), and the number of the first of every line (L + 1,)."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    of_line: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(L,) words in every line."""
        return np.diff(self.of_line)


def find_words(text: bytes) -> Words:
    r"""The words of text whose last line ends with \n."""
    starts, ends = _word_bounds(text)
    line_ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 10)
    return Words(starts, ends, np.concatenate(([0], np.searchsorted(starts, line_ends))))


def _word_bounds(text: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    blank = is_blank(text)
    edges = np.flatnonzero(blank[1:] != blank[:-1]) + 1
    if len(blank) and not blank[0]:
        edges = np.concatenate(([0], edges))
    if len(blank) and not blank[-1]:
        edges = np.append(edges, len(blank))
    return edges[0::2], edges[1::2]


def count_words(text: bytes) -> int:
    """How many words there are."""
    blank = is_blank(text)
    return int(np.count_nonzero(blank[:-1] > blank[1:])) + bool(len(blank) and not blank[0])


def read_numbers(
    text: bytes, *, lines: NDArray[np.int64] | int = 1, words: Words | None = None
) -> NDArray[np.float64]:
    """All words of the text as numbers (W,).

    Decimal commas and exponents as Fortran writes them (1.5D+03) are read. lines, for the message: the
    number of the text's first line in its file, or the numbers of all its lines; words: those of the text,
    if they are known.

    Raises MeshError with the line of the first word that is no number.
    """
    if b"." not in text and (numbers := _integers(text)) is not None:
        return numbers
    starts, ends = _word_bounds(text) if words is None else (words.starts, words.ends)
    if (numbers := _decimals(text, starts, ends)) is not None:
        return numbers
    if b"," in text:
        text = with_decimal_points(text)
    numbers = _from_string(text)
    if numbers is None:
        text = OLD_INF.sub(rb"\1inf", OLD_NAN.sub(rb"nan", FORTRAN.sub(rb"\1e\2", text)))
        numbers = _from_string(text)
    if numbers is None:
        raise MeshError(bad_word(text, lines))
    return numbers


def _from_string(text: bytes) -> NDArray[np.float64] | None:
    """Numbers of all words, or None if one of them is none."""
    words = count_words(text)
    if words == 0:
        return np.empty(0)
    if b"(" in text:  # nan(...) is a number to C
        return None
    try:
        numbers = np.fromstring(text, dtype=np.float64, sep=" ")
    except ValueError:
        return None
    return numbers if len(numbers) == words else None


def _integers(text: bytes) -> NDArray[np.float64] | None:
    """The same as `_from_string` for integers, but faster; None if there is anything else."""
    if count_words(text) == 0:
        return np.empty(0)
    if _has_bare_sign(np.frombuffer(text, np.uint8)):
        return None
    try:
        numbers = np.fromstring(text, dtype=np.int64, sep=" ")
    except ValueError:
        return None
    # Not -0, because -0.0 keeps its sign.
    if len(numbers) == 0 or max(-numbers.min(), numbers.max()) > EXACT or b"-0" in text:
        return None
    return numbers.astype(np.float64)


def _decimals(text: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """The same as `_from_string`, several times as fast: integers without the point, divided by powers of
    ten.

    None if a word can't be read this way.
    """
    if len(starts) == 0:
        return np.empty(0)
    if (ends - starts).sum() > MOST_DIGITS * len(starts):
        return None
    codes = np.frombuffer(text, np.uint8)
    if _has_bare_sign(codes):
        return None
    exponents: NDArray[np.int64] | int = 0
    if b"e" in text or b"E" in text:
        marks = np.flatnonzero((codes | np.uint8(32)) == ord("e"))
        split = _exponents(codes, marks, starts, ends)
        if split is None:
            return None
        of_word, powers = split
        mantissas = codes.copy()
        for step in range(int((ends[of_word] - marks).max())):
            here = marks + step
            mantissas[here[here < ends[of_word]]] = 32
        exponents = np.zeros(len(starts), np.int64)
        exponents[of_word] = powers
        ends = ends.copy()
        ends[of_word] = marks
        text = mantissas.tobytes()
        codes = mantissas
    points = np.flatnonzero(codes == ord("."))
    decimals = np.zeros(len(starts), np.int64)
    if len(points) == len(starts) and (points >= starts).all() and (points < ends).all():
        decimals = ends - points - 1
    elif len(points):
        of_word = np.searchsorted(ends, points, side="right")
        if (of_word[1:] == of_word[:-1]).any():
            return None
        decimals[of_word] = ends[of_word] - points - 1
    try:
        whole = np.fromstring(text.translate(None, b"."), dtype=np.int64, sep=" ")
    except ValueError:
        return None
    if len(whole) != len(starts):
        return None
    powers = exponents - decimals
    inexact = (np.abs(whole) > EXACT) | (np.abs(powers) > 22)
    if np.count_nonzero(inexact) * 8 > len(whole):
        return None
    numbers = whole.astype(np.float64)
    scale = POWERS[np.minimum(np.abs(powers), 22)]
    if powers.max() > 0:
        numbers = np.where(powers < 0, numbers / scale, numbers * scale)
    else:
        numbers /= scale
    zeros = np.flatnonzero(whole == 0)
    numbers[zeros[codes[starts[zeros]] == ord("-")]] = -0.0
    for word in np.flatnonzero(inexact):
        written = text[starts[word] : ends[word]].decode("ascii")
        numbers[word] = float(f"{written}e{exponents[word] if isinstance(exponents, np.ndarray) else 0}")
    return numbers


def _has_bare_sign(codes: NDArray[np.uint8]) -> bool:
    """Whether a sign has no digit behind it, which numpy reads as 0."""
    signs = np.flatnonzero((codes == ord("-")) | (codes == ord("+")))
    last = len(codes) - 1
    behind = codes[np.minimum(signs + 1, last)]
    behind = np.where(behind == ord("."), codes[np.minimum(signs + 2, last)], behind)
    return bool(((behind < ord("0")) | (behind > ord("9"))).any())


def _exponents(
    codes: NDArray[np.uint8], marks: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """The word of every `e`, and the exponent behind it; None if what is there is none."""
    of_word = np.searchsorted(ends, marks, side="right")
    stops = ends[of_word]
    if (of_word[1:] == of_word[:-1]).any() or (marks == starts[of_word]).any():
        return None
    signs = codes[np.minimum(marks + 1, len(codes) - 1)]
    signed = (signs == ord("-")) | (signs == ord("+"))
    first = marks + 1 + signed
    lengths = stops - first
    if lengths.min() < 1 or lengths.max() > 4:
        return None
    powers = np.zeros(len(marks), np.int64)
    for step in range(int(lengths.max())):
        inside = step < lengths
        digits = codes[np.minimum(first + step, len(codes) - 1)].astype(np.int64) - ord("0")
        if ((digits < 0) | (digits > 9))[inside].any():
            return None
        powers = np.where(inside, powers * 10 + digits, powers)
    return of_word, np.where(signs == ord("-"), -powers, powers)


def read_integers(text: bytes, words: Words) -> tuple[NDArray[np.int64], int | None]:
    """The whole numbers (W,) that the words begin with, up to a slash, and the first word that has none."""
    codes = np.frombuffer(text, np.uint8)
    starts, ends = words.starts, words.ends
    if b"/" in text:
        slashes = np.append(np.flatnonzero(codes == ord("/")), len(codes))
        ends = np.minimum(ends, slashes[np.searchsorted(slashes, starts)])
    signs = codes[np.minimum(starts, len(codes) - 1)]
    negative = signs == ord("-")
    first = starts + (negative | (signs == ord("+")))
    lengths = ends - first
    wrong = (lengths < 1) | (lengths > 18)
    numbers = np.zeros(len(starts), np.int64)
    for step in range(int(min(lengths.max(initial=0), 18))):
        inside = step < lengths
        digits = codes[np.minimum(first + step, len(codes) - 1)] - np.uint8(ord("0"))
        wrong |= inside & (digits > 9)
        numbers = np.where(inside, numbers * 10 + digits, numbers)
    return np.where(negative, -numbers, numbers), int(np.argmax(wrong)) if wrong.any() else None


def with_decimal_points(text: bytes) -> bytes:
    """The text with points for commas, where blanks divide the numbers, so that a comma can be only a
    decimal.

    Raises MeshError if a comma may be something else: `1,234` in a file where all have three digits behind
    it may be thousands, `1,2,3` are no number.
    """
    lines = text.split(b"\n")
    certain = False
    for line in lines:
        for word in line.split() if b"," in line else ():
            if b"," not in word:
                continue
            if not COMMA_DECIMAL.fullmatch(word):
                raise MeshError(
                    f"has {_shown(word)} where one number belongs: write decimal points, and blanks "
                    f"between numbers"
                )
            certain = certain or not THOUSANDS.fullmatch(word)
    if not certain:
        example = re.search(rb"\S*,\S*", text)
        raise MeshError(
            f"has numbers like {_shown(example[0] if example else b',')}: thousands or decimals? Write a "
            f"decimal point"
        )
    note("decimal commas are read as decimal points")
    return text.replace(b",", b".")


def bad_word(text: bytes, lines: NDArray[np.int64] | int = 1) -> str:
    """The first word that is no number, its line, and what may be the reason."""
    for index, line in enumerate(text.split(b"\n")):
        for word in line.split():
            if not NUMBER.fullmatch(word):
                number = lines + index if isinstance(lines, int) else lines[index]
                return f"line {number} has {_shown(word)} where a number belongs{_reason(word)}"
    return "has text where numbers belong: export it again"


def _reason(word: bytes) -> str:
    """What else the word may be."""
    readable = word.decode("utf-8", "replace")
    if "\u2212" in readable:
        return ": a minus sign from typesetting (U+2212), write `-`"
    if "_" in readable and re.fullmatch(r"[-+\d_.eE]+", readable):
        return ": write numbers without underscores"
    if re.match(r"[+-]?0[xX]", readable):
        return ": hexadecimal numbers are not read"
    if "," in readable:
        return ": write decimal points"
    if "'" in readable or "\u2019" in readable or "\u00a0" in readable or "\u202f" in readable:
        return ": write numbers without marks between thousands"
    if any(character.isdigit() and not character.isascii() for character in readable):
        return ": write the digits 0 to 9"
    return ": export it again"


def _shown(word: bytes) -> str:
    return repr(word[:40].decode("utf-8", "replace"))
