"""What the machine at hand is good at."""

import tensorflow as tf

_FIRST_GPU = (8, 0)  # compute capability from which NVIDIA's tensor cores take bfloat16
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}


def fast_precision():
  """The quicker precision for forward and backward passes: "bfloat16" where there are instructions for it."""
  if gpus := tf.config.list_physical_devices("GPU"):
    details = (tf.config.experimental.get_device_details(gpu) for gpu in gpus)
    fast = all(detail.get("compute_capability", (0, 0)) >= _FIRST_GPU for detail in details)
  else:
    fast = bool(_CPU_FLAGS & cpu_flags())
  return "bfloat16" if fast else "float32"


def cpu_flags(path="/proc/cpuinfo"):
  """The set of what the CPU can do, by Linux's names; empty where Linux does not say."""
  try:
    with open(path, encoding="utf-8") as file:
      return next((set(line.split(":")[1].split()) for line in file if line.startswith("flags")), set())
  except OSError:
    return set()
