"""Quantities: the grammar, the rounding and the canonical form of k8s.io/apimachinery pkg/api/resource."""

import pickle
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.cel import Quantity, QuantityError, QuantityFormat

POWERS = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1)}
POWERS |= {suffix: Fraction(1000 ** (step + 1)) for step, suffix in enumerate("kMGTPE")}
POWERS |= {suffix + "i": Fraction(1024 ** (step + 1)) for step, suffix in enumerate("KMGTPE")}


@pytest.mark.parametrize(
    ("text", "nano", "printed"),
    [
        ("0", 0, "0"),
        ("0Ki", 0, "0"),
        ("-0", 0, "0"),
        ("1", 10**9, "1"),
        ("+1", 10**9, "1"),
        ("001", 10**9, "1"),
        ("1.", 10**9, "1"),
        (".5", 5 * 10**8, "500m"),
        ("1.5", 15 * 10**8, "1500m"),
        ("1000m", 10**9, "1"),
        ("1000", 10**12, "1k"),
        ("1500k", 15 * 10**14, "1500k"),
        ("1024", 1024 * 10**9, "1024"),
        ("1Ki", 1024 * 10**9, "1Ki"),
        ("1024Mi", 1024**3 * 10**9, "1Gi"),
        ("1.5Gi", 1536 * 1024**2 * 10**9, "1536Mi"),
        ("0.5Ki", 512 * 10**9, "512"),
        ("0.0001Ki", 102_400_000, "102400u"),
        ("1.1Ki", 11264 * 10**8, "1126400m"),
        ("1n", 1, "1n"),
        ("0.1n", 1, "1n"),
        ("-0.1n", -1, "-1n"),
        ("0.0000000001", 1, "1n"),
        ("1.0000000001", 10**9 + 1, "1000000001n"),
        ("1e3", 10**12, "1e3"),
        ("1E3", 10**12, "1e3"),
        ("1e0", 10**9, "1"),
        ("12e6", 12 * 10**15, "12e6"),
        ("1e-3", 10**6, "1e-3"),
        ("1e+2", 10**11, "100"),
        ("1E", 10**27, "1E"),
        ("1000E", 10**30, "1e21"),
        ("1Ei", 2**60 * 10**9, "1Ei"),
        ("8Ei", (2**63 - 1) * 10**9, "9223372036854775807"),
        ("-8Ei", -(2**63 - 1) * 10**9, "-9223372036854775807"),
        ("18446744073709551616", 2**64 * 10**9, "18446744073709551616"),
        ("-1Ki", -1024 * 10**9, "-1Ki"),
        ("-1500m", -15 * 10**8, "-1500m"),
        ("40Gi", 40 * 2**30 * 10**9, "40Gi"),
        ("24192Mi", 24192 * 2**20 * 10**9, "24192Mi"),
    ],
)
def test_text_reads_as_this_amount_and_prints_canonically(text: str, nano: int, printed: str) -> None:
    quantity = Quantity.parse(text)
    assert quantity.nano == nano
    assert str(quantity) == printed


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1 ",
        " 1",
        "1i",
        ".5i",
        "1ki",
        "1KI",
        "1mi",
        "0.1am",
        "1.1.M",
        "1+1.0M",
        "1e",
        "1e-",
        "-3.01e-",
        "aoeu",
        "1e1.5",
        "1ee3",
        "--1",
        "1_000",
        "٣",
        "1e201",
        "1" * 129,
        "0x10",
        "Inf",
        "NaN",
    ],
)
def test_texts_outside_the_grammar_are_refused(text: str) -> None:
    with pytest.raises(QuantityError) as caught:
        Quantity.parse(text)
    assert caught.value.reason
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "value", "milli"),
    [
        ("1500m", 2, 1500),
        ("-1500m", -2, -1500),
        ("1n", 1, 1),
        ("-1n", -1, -1),
        ("2", 2, 2000),
        ("1Ki", 1024, 1024000),
    ],
)
def test_integers_are_rounded_away_from_zero(text: str, value: int, milli: int) -> None:
    quantity = Quantity.parse(text)
    assert (quantity.value(), quantity.milli()) == (value, milli)


def test_a_sum_keeps_the_format_of_its_left_side_unless_that_is_zero() -> None:
    one, gibi = Quantity.parse("1"), Quantity.parse("1Gi")
    assert str(gibi + gibi) == "2Gi"
    assert str(gibi + one) == "1073741825"
    assert (one + gibi).format is QuantityFormat.DECIMAL_SI
    assert str(Quantity.of(0) + gibi) == "1Gi"
    assert str(Quantity.of(0) - gibi) == "-1Gi"
    assert str(gibi - gibi) == "0"


def test_a_quantity_cannot_be_changed_but_can_be_pickled() -> None:
    quantity = Quantity.parse("4Gi")
    with pytest.raises(AttributeError, match="immutable"):
        quantity.nano = 1  # type: ignore[misc]
    with pytest.raises(AttributeError, match="immutable"):
        del quantity.nano
    copy = pickle.loads(pickle.dumps(quantity))
    assert copy == quantity
    assert str(copy) == "4Gi"


def test_equality_goes_by_value_and_never_equals_a_number() -> None:
    assert Quantity.parse("1024Mi") == Quantity.parse("1Gi")
    assert len({Quantity.parse("1024Mi"), Quantity.parse("1Gi"), Quantity.parse("1073741824")}) == 1
    assert Quantity.of(1) != 1
    assert not Quantity.of(0)


texts = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "+", "-"]),
    st.integers(0, 10**20),
    st.one_of(st.just(""), st.integers(0, 10**12).map(".{}".format)),
    st.one_of(st.sampled_from(sorted(POWERS)), st.integers(-30, 30).map("e{}".format)),
)
quantities = st.builds(Quantity, st.integers(-(10**30), 10**30), st.sampled_from(QuantityFormat))


@given(texts)
def test_parsing_agrees_with_fractions(text: str) -> None:
    number = text.rstrip("numkMGTPEKi")
    suffix = text[len(number) :]
    exact = Fraction(number) * POWERS[suffix]
    if suffix.endswith("i"):
        exact = max(min(exact, Fraction(2**63 - 1)), Fraction(1 - 2**63))
    scaled = abs(exact) * 10**9
    expected = -(-scaled.numerator // scaled.denominator)
    assert Quantity.parse(text).nano == (expected if exact >= 0 else -expected)


@given(quantities)
def test_printing_and_parsing_again_keeps_the_value(quantity: Quantity) -> None:
    printed = str(quantity)
    again = Quantity.parse(printed)
    if printed.endswith("i") and abs(quantity.nano) > (2**63 - 1) * 10**9:
        assert abs(again.nano) == (2**63 - 1) * 10**9
    else:
        assert again == quantity
        assert str(again) == printed


@given(quantities, quantities, quantities)
def test_addition_is_a_group_and_order_is_kept_by_it(a: Quantity, b: Quantity, c: Quantity) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + b - b == a
    assert a - b == a + -b
    assert (a < b) == (a + c < b + c)
    assert (a <= b) == (not b < a)
    assert (a == b) == (a.nano == b.nano)
    if a == b:
        assert hash(a) == hash(b)


@given(st.text(max_size=200))
def test_any_text_either_parses_or_is_refused(text: str) -> None:
    try:
        quantity = Quantity.parse(text)
    except QuantityError:
        return
    assert str(quantity)


@pytest.mark.parametrize("text", ["Ki", ".", "+", "-.", "m", "e3"])
def test_a_text_without_digits_is_zero(text: str) -> None:
    assert Quantity.parse(text) == Quantity(0)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("1", True),
        ("1k", True),
        ("1.5k", True),
        ("1Ki", True),
        ("16Ti", True),
        ("1e3", True),
        ("1000m", False),
        ("1.0", False),
        ("1.5Gi", False),
        ("100Ti", False),
        ("1Ei", False),
        ("1234567890123456789", False),
    ],
)
def test_a_quantity_is_an_integer_by_how_it_is_written(text: str, whole: bool) -> None:
    assert Quantity.parse(text).whole is whole


def test_sums_are_integers_if_all_their_parts_are() -> None:
    half = Quantity.parse("500m")
    assert not (half + half).whole
    assert (Quantity.parse("1") + Quantity.parse("1Ki")).whole
    assert (Quantity.parse("0m") + Quantity.parse("1")).whole
