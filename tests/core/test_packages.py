import pytest

from nlp_helpers.core import packages
from nlp_helpers.core.errors import UserError


def test_what_is_missing_is_named_at_once_and_nothing_else():
    pins = ["numpy==0.1", "no-such-a==1.0", "no-such-b==2.0"]
    with pytest.raises(UserError) as found:
        packages.require(pins, "notebook 7")
    said = str(found.value)
    assert said.startswith("notebook 7 needs what is not installed; run `")
    assert "pip install --no-deps no-such-a==1.0 no-such-b==2.0`" in said
    assert "numpy" not in said and "\n" not in said


def test_another_version_is_enough():
    packages.require(["numpy==0.1"], "notebook 7")
