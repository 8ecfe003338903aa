"""A study's JSON file."""

import pytest

from tests.helpers.studies import SETTINGS
from tf_madry.errors import UserError
from tf_madry.studies.output import results


def test_a_study_of_other_settings_is_not_overwritten(tmp_path):
  out = str(tmp_path)
  results.save(out, "transfer", results.Results(SETTINGS | {"k_list": [1, 4]}, {}, 1.0, {}))
  results.require_same(out, "transfer", SETTINGS | {"k_list": [1, 4]})
  results.require_same(out, "power", SETTINGS)
  with pytest.raises(UserError, match=r"holds transfer with k_list \[1, 4\], not \[1, 8\]"):
    results.require_same(out, "transfer", SETTINGS | {"k_list": [1, 8]})


def test_what_is_not_there_or_no_study_is_one_line(tmp_path):
  with pytest.raises(UserError, match=r"accepted: a folder that holds power.json"):
    results.load(str(tmp_path), "power")
  (tmp_path / "power.json").write_text("[]")
  with pytest.raises(UserError, match=r"power.json' is not a study"):
    results.load(str(tmp_path), "power")
