"""The words of a text as numbers, against Python's own float."""

import numpy as np
import pytest

from pointmae_zoo.shapes.formats.text import find_words, plain_text, read_integers, read_numbers
from pointmae_zoo.shapes.surface import MeshError

NUMBERS = np.concatenate(
    [
        np.random.default_rng(0).normal(size=300) * 10.0 ** np.random.default_rng(1).integers(-12, 12, 300),
        [0.0, -0.0, 1e22, 1e23, 1e-22, 1e-23, 5e-324, 1.7976931348623157e308, 2**53, 2**53 + 2, 0.1, -0.3],
    ]
)


@pytest.mark.parametrize(
    "form", ["{:.6f}", "{:.3f}", "{:g}", "{:.17g}", "{!r}", "{:.6e}", "{:E}", "{:.0f}", "{:+.2f}"]
)
@pytest.mark.parametrize("between", [" ", "\n", " \t "])
def test_every_number_is_the_nearest_float(form: str, between: str) -> None:
    words = [form.format(float(number)) for number in NUMBERS]
    found = read_numbers((between.join(words) + "\n").encode())
    assert found.tobytes() == np.array([float(word) for word in words]).tobytes()  # -0.0, too


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("5. .5 -.5 +1 +.5e1", [5, 0.5, -0.5, 1, 5]),
        ("123456789012345678901234567890 0.1 1e-400 1e22", [1.2345678901234568e29, 0.1, 0, 1e22]),
        ("nan -inf Infinity 1.5", [np.nan, -np.inf, np.inf, 1.5]),
        ("-nan(ind) 1.#INF -1.#IND 2.5", [np.nan, np.inf, np.nan, 2.5]),
        ("1.5D+03 2d0 1.5e3", [1500, 2, 1500]),
        ("0,5 1 -2,25", [0.5, 1, -2.25]),
        ("-0 0 -0.0", [-0.0, 0.0, -0.0]),
        ("", []),
        (" \t ", []),
    ],
)
def test_what_numbers_may_look_like(text: str, numbers: list[float]) -> None:
    found = read_numbers((text + "\n").encode())
    np.testing.assert_array_equal(found, numbers)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(numbers))


@pytest.mark.parametrize(
    "word",
    [
        "1_000",
        "0x1F",
        "1.2.3",
        "1-2",
        "--1",
        "1e",
        "e5",
        "1e5.5",
        "1e+",
        ".",
        "-",
        "+-1",
        "1f",
        "\u22121",
        "1e12345678x",
        "nan(1)",
        "1,234",
        "1,2,3",
        "1,5.5",
        "1\x002",
        "1\x1c2",
        "\uff11",
        "1d",
        "0b1",
    ],
)
@pytest.mark.parametrize("beside", ["", " 1.5 2", " 3 4"])
def test_what_is_no_number_is_never_read_as_one(word: str, beside: str) -> None:
    with pytest.raises(MeshError):
        read_numbers(f"7 {word}{beside}\n".encode())


def test_the_line_of_a_bad_word_is_named() -> None:
    with pytest.raises(MeshError, match="line 12 has 'x'"):
        read_numbers(b"1 2\n3 4\n5 x\n", lines=10)
    with pytest.raises(MeshError, match="line 9 has 'x'"):
        read_numbers(b"1 2\n3 x\n", lines=np.array([4, 9]))


def test_words_and_lines() -> None:
    words = find_words(b"  a bb\n\n\tccc\n")
    assert words.starts.tolist() == [2, 4, 9] and words.ends.tolist() == [3, 6, 12]
    assert words.counts.tolist() == [2, 0, 1]


def test_whole_numbers_end_at_a_slash() -> None:
    text = b"1/2/3 -4//5 +6 7/ 123456789\n"
    numbers, wrong = read_integers(text, find_words(text))
    assert numbers.tolist() == [1, -4, 6, 7, 123456789] and wrong is None
    for word in (b"/2", b"1.0", b"x", b"-", b"1234567890123456789"):
        assert read_integers(b"1 " + word + b"\n", find_words(b"1 " + word + b"\n"))[1] == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_one_text_of_any_encoding_and_line_ends(encoding: str, newline: str) -> None:
    data = newline.join(["# \u00e4", "1 2", "", "3"]).encode(encoding) + b"\0" * 4
    assert plain_text(data) == "# \u00e4\n1 2\n\n3\n".encode()
