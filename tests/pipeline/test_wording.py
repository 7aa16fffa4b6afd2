"""Names cut to the room that there is, and put in a row."""

from pipeline.wording import NAME_LENGTH, listed, shortened


def test_a_long_name_keeps_its_beginning_and_its_end():
    assert shortened("class 027", 6) == "cla…27"
    assert shortened("class 027", 9) == "class 027"
    assert shortened("two\n lines", 20) == "two lines"
    assert [len(shortened("x" * 200, longest)) for longest in range(1, 60)] == list(range(1, 60))
    assert len(shortened("x" * 200)) == NAME_LENGTH


def test_names_in_a_row():
    assert [listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
