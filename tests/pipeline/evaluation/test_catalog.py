"""How numbers are written: never as what they are not."""

import pytest

from pipeline.evaluation.catalog import difference_form, share_form


@pytest.mark.parametrize(
    ("value", "said"), [(0.9998, "99.98%"), (1.0, "100.0%"), (0.0002, "0.02%"), (0.0, "0.0%"), (0.944, "94.4%")]
)
def test_only_all_is_a_hundred_per_cent(value, said):
    assert format(value, share_form(value)) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(-7.72e-05, "-0.0001"), (0.000477, "+0.0005"), (0.0, "+0"), (-0.277, "-0.277"), (12.345, "+12.3")],
)
def test_a_difference_is_no_power_of_ten(value, said):
    assert format(value, difference_form(value)) == said
