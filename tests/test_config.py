import json

import pytest

from tf_madry import config as configs
from tf_madry.errors import UserError
from tf_madry.settings import AttackConfig

CHALLENGE = """{
  "_comment": "===== MODEL CONFIGURATION =====",
  "model_dir": "models/secret",

  "_comment": "===== TRAINING CONFIGURATION =====",
  "random_seed": 4557077,
  "max_num_training_steps": 90000,
  "num_output_steps": 50,
  "num_summary_steps": 70,
  "num_checkpoint_steps": 300,
  "training_batch_size": 50,

  "_comment": "===== EVAL CONFIGURATION =====",
  "num_eval_examples": 10000,
  "eval_batch_size": 200,
  "eval_on_cpu": true,

  "_comment": "=====ADVERSARIAL EXAMPLES CONFIGURATION=====",
  "epsilon": 0.3,
  "k": 40,
  "a": 0.01,
  "random_start": true,
  "loss_func": "cw",
  "store_adv_path": "attack.npy"
}
"""


def write(tmp_path, text):
  path = tmp_path / "config.json"
  path.write_text(text)
  return str(path)


def test_the_paper_is_the_default():
  config, notices = configs.resolve({})
  assert (config.attack.k, config.attack.epsilon, config.attack.loss) == (8, 0.3, "xent")
  assert config.attack.step_size == pytest.approx(2.5 * 0.3 / 8)
  assert (config.training.steps, config.training.batch_size) == (60_000, 128)
  assert config.run.model_dir == "models/paper"
  assert notices == []


def test_flags_win_over_recipe_over_file_over_paper(tmp_path):
  path = write(tmp_path, '{"k": 3, "seed": 11, "batch_size": 7, "random_start": false}')
  config, _ = configs.resolve({"batch_size": 9}, "challenge", path)
  assert config.training.batch_size == 9  # the flag
  assert config.attack.k == 40  # the recipe
  assert config.training.seed == 4557077  # the recipe
  config, _ = configs.resolve({}, None, path)
  assert (config.attack.k, config.training.seed, config.attack.random_start) == (3, 11, False)  # the file
  assert config.training.steps == 60_000  # the paper


def test_a_recipe_is_a_whole_method(tmp_path):
  fast, _ = configs.resolve({"seed": 5, "precision": "float32"}, "fast")
  config, _ = configs.resolve({}, "paper", write(tmp_path, json.dumps(fast.values() | {"model_dir": ""})))
  assert config == configs.resolve({"seed": 5}, "paper")[0]
  config, _ = configs.resolve({"k": 4}, None, write(tmp_path, json.dumps(fast.values())))
  assert config.training == fast.training  # without a recipe, the file's


@pytest.mark.parametrize(("recipe", "file", "flags", "alpha"), [
    ("fast", None, {}, 0.2), ("fast", None, {"epsilon": 0.1}, 0.2 / 3), ("fast", None, {"epsilon": 0.1, "alpha": 0.02}, 0.02),
    (None, {"recipe": "fast", "epsilon": 0.1}, {}, 0.2 / 3), (None, {"recipe": "fast"}, {"epsilon": 0.1}, 0.2 / 3),
    (None, {"recipe": "fast", "epsilon": 0.15, "alpha": 0.1}, {"epsilon": 0.1}, 0.2 / 3),
    (None, {"recipe": "fast", "epsilon": 0.1, "alpha": 0.2}, {}, 0.2),
    (None, {"recipe": "fast", "epsilon": 0.1, "alpha": 0.2}, {"epsilon": 0.15}, 0.2),
    (None, {"recipe": "fast", "epsilon": 0.1, "alpha": None}, {"epsilon": 0.15}, 2.5 * 0.15 / 3),
    ("paper", None, {"epsilon": 0.1}, 2.5 * 0.1 / 8), ("fast", {"alpha": 0.05}, {"epsilon": 0.1}, 0.2 / 3),
    *(("natural", {"alpha": 0.05, **given}, {"epsilon": 0.1}, 0.05) for given in ({}, {"epsilon": 0.0}, {"epsilon": 0.2})),
])
def test_the_step_of_a_recipe_goes_with_epsilon(tmp_path, recipe, file, flags, alpha):
  config, notices = configs.resolve(flags, recipe, file and write(tmp_path, json.dumps(file)))
  assert config.attack.step_size == pytest.approx(alpha)
  assert any("α = 0.06667" in notice for notice in notices) == (alpha == 0.2 / 3)


def test_the_challenge_config_is_taken_as_it_is(tmp_path):
  config, notices = configs.resolve({}, None, write(tmp_path, CHALLENGE))
  assert config.attack == AttackConfig(k=40, epsilon=0.3, alpha=0.01, random_start=True, loss="cw")
  assert (config.training.seed, config.training.steps, config.training.batch_size) == (4557077, 90_000, 50)
  assert (config.run.model_dir, config.run.log_every, config.run.summary_every) == ("models/secret", 50, 70)
  assert "num_eval_examples" in notices[0]


def test_values_round_trip():
  config, _ = configs.resolve({"k": 3, "alpha": 0.05, "model_dir": "somewhere"}, "natural")
  assert configs.Config.from_values(config.values()) == config
  assert configs.Config.from_values(json.loads(json.dumps(config.values()))) == config


def test_only_settings_that_change_the_weights_are_the_experiment():
  config, _ = configs.resolve({})
  same, _ = configs.resolve({"steps": 5, "model_dir": "x", "checkpoint_every": 7, "eval_every": 0})
  assert config.experiment() == same.experiment()
  for name, value in {"k": 9, "epsilon": 0.2, "alpha": 0.1, "random_start": False, "loss": "cw", "seed": 1,
                      "batch_size": 64, "learning_rate": 0.1, "dataset": "tfds:kmnist"}.items():
    other, _ = configs.resolve({name: value})
    assert config.experiment() != other.experiment(), name


def test_devices_are_no_part_of_the_experiment_and_steps_are_of_one_that_warms_up():
  one, many = configs.resolve({})[0], configs.resolve({"strategy": "mirrored", "cpu_devices": 2})[0]
  assert one.experiment() == many.experiment()
  assert "steps" not in one.experiment()
  assert "steps" in configs.resolve({"base_batch": 64, "warmup": 0.1})[0].experiment()


@pytest.mark.parametrize(("recipe", "given"), [("fast", {}), ("paper", {"staleness": 2}), ("paper", {"staleness_reload": 2})])
def test_what_cannot_be_split_is_refused_by_name(recipe, given):
  with pytest.raises(UserError, match=r"strategy is 'mirrored', accepted: none (in a recipe that replays|with a staleness)"):
    configs.resolve({"strategy": "mirrored", **given}, recipe)


@pytest.mark.parametrize(("name", "value", "accepted"), [
    ("k", 0, "at least 1"), ("epsilon", -0.1, "from 0 to 1"), ("epsilon", 1.1, "from 0 to 1"),
    ("epsilon", float("nan"), "from 0 to 1"), ("alpha", 0.0, "above 0"), ("alpha", float("inf"), "above 0"),
    ("batch_size", 0, "at least 1"), ("candidates", 0, "at least 1"), ("candidates", 2, "1 in a recipe that does not replay"),
    ("lead", -1, "at least 0"), ("lead", 1, "0 in a recipe that does not replay"), ("shift", -1, "at least 0"), ("steps", 0, "at least 1"), ("learning_rate", 0.0, "above 0"),
    ("loss", "hinge", "xent, cw"), ("recipe", "slow", "paper, quick, challenge, fast"), ("seed", -1, "from 0"),
    ("checkpoint_every", 0, "at least 1"), ("eval_every", -1, "0 for never"),
    ("base_batch", -1, "0 for none"), ("warmup", 0.1, "0 without a base_batch"), ("warmup", 1.0, "from 0 to below 1"),
    ("rate_scaling", "cube", "linear, sqrt"), ("strategy", "both", "none, mirrored, multiworker"),
    ("cpu_devices", -1, "0 for off"), ("cpu_devices", 2, "0 unless the strategy is mirrored"),
])
def test_values_out_of_range_name_value_and_what_is_accepted(name, value, accepted):
  with pytest.raises(UserError) as error:
    configs.Config.from_values({name: value})
  message = str(error.value)
  assert message.startswith(f"{name} is {value!r}") and accepted in message and "\n" not in message


@pytest.mark.parametrize(("text", "said"), [
    ("{", "is not JSON"), ("[1]", "a JSON object"), ("\xff", "is not JSON"),
    ('{"k": "8"}', "k is '8', accepted: a whole number"), ('{"k": 8.5}', "a whole number"), ('{"k": true}', "a whole number"),
    ('{"random_start": 1}', "true or false"), ('{"epsilon": null}', "a number"), ('{"recipe": 3}', "recipe is 3"),
    ('{"recipe": ["fast"]}', r"recipe is \['fast'\], accepted: a string"), ('{"recipe": "slow"}', "recipe is 'slow'"),
    ('{"recipe": "fast", "epsilon": "0.1"}', "epsilon is '0.1', accepted: a number"),
    ('{"recipe": "fast", "adversarial": false}', "adversarial is False, accepted: true in a recipe that replays"),
])
def test_files_that_cannot_be_used(tmp_path, text, said):
  with pytest.raises(UserError, match=said) as error:
    configs.resolve({}, None, write(tmp_path, text))
  assert "\n" not in str(error.value)


def test_unknown_keys_list_the_known_ones(tmp_path):
  with pytest.raises(UserError) as error:
    configs.resolve({}, None, write(tmp_path, '{"kk": 8, "k": 8}'))
  assert "'kk'" in str(error.value)
  assert "training_batch_size" in str(error.value) and "learning_rate" in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
  with pytest.raises(UserError, match="No such file"):
    configs.resolve({}, None, str(tmp_path / "none.json"))


def test_long_is_quick_on_images_that_move_at_a_rate_that_stays():
  quick, long = (configs.resolve({}, recipe)[0].experiment() for recipe in ("quick", "long"))
  assert {name for name in quick if quick[name] != long[name]} == {
      "shift", "margin", "averaging", "schedule", "steps"}
  with pytest.raises(UserError, match="shift is 1, accepted: 0 in a recipe that trains on interval bounds"):
    configs.resolve({"shift": 1}, "certified")


def test_quick_is_the_method_of_the_paper_at_other_rates():
  paper, quick = configs.resolve({})[0], configs.resolve({}, "quick")[0]
  assert quick.attack == paper.attack
  assert quick.training.steps * 10 == paper.training.steps
  changed = {name for name, value in quick.experiment().items()
             if value != paper.values()[name]} - {"steps"}
  assert changed == {"learning_rate", "schedule", "ramp", "initialization", "precision"}
