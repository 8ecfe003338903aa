"""A training run as a process: `python -m tf_madry.benchmark.process SCRIPT CONFIG`."""

from tf_madry import cli
from tf_madry import config as configs
from tf_madry.asynchronous.run import run
from tf_madry.training import distributed


def main(arguments: list[str]) -> int:
  """Trains as a script, train.py or async_train.py, does with `--config`; returns the exit code."""
  name, path = arguments
  config, _ = configs.resolve({}, path=path)
  if name == "async_train.py":
    return run(config)
  if config.distribution.strategy != "none":
    return distributed.run(config, cli.load_tensorflow)
  cli.load_tensorflow()
  from tf_madry.training import loop
  try:
    loop.train(config)
  except loop.Stopped as stopped:
    return stopped.exit_code
  return 0


if __name__ == "__main__":
  cli.run(main, takes_names=True)
