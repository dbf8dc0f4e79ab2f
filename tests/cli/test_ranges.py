"""Numbers that options take."""

import pytest

from aliquot.cli.main import main


@pytest.mark.parametrize(
    "arguments",
    [
        "simulate --synthetic 3 --until 1h -f fleets/h100-a100.yaml --load",
        "recommend --history use.csv --split",
    ],
)
@pytest.mark.parametrize("text", ["nan", "NaN", "-nan", "inf", "-1", "1e400", "1/2", ""])
def test_a_number_within_bounds_is_one(arguments: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments.split(), text])
    assert ended.value.code == 2
    assert f"Invalid value for '{arguments.split()[-1]}'" in capsys.readouterr().err
