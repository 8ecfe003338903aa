"""What measured times depend on besides the settings: the machine."""

from collections.abc import Iterable

import tensorflow as tf

from tf_madry.runtime import devices

AND = " and "
NOT_RECORDED = {"on": "a machine that was not recorded"}


def here() -> dict[str, str]:
  """The machine at hand: {name: value}."""
  gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
          for gpu in tf.config.list_physical_devices("GPU")]
  number = devices.cores()
  cores = f"{number} core{'s' if number > 1 else ''} ({devices.cpu_model()})"
  return {"on": ", ".join(gpus) or cores, "TensorFlow": tf.__version__}


def joined(machines: Iterable[dict[str, str]]) -> dict[str, str]:
  """Several machines as one: {name: the different values, with "and" between them}.

  Some may be joined ones.
  """
  values = {}
  for name, value in (item for machine in machines for item in machine.items()):
    values.setdefault(name, []).extend(value.split(AND))
  return {name: AND.join(dict.fromkeys(those)) for name, those in values.items()}
