"""The processors of the machine at hand: GPUs, cores, and what they are good at.

TensorFlow is imported only where it is asked: a process may have to choose its device before.
"""

import glob
import itertools
import os
import platform
import shutil
import subprocess

_FIRST_GPU = (8, 0)  # compute capability from which NVIDIA's tensor cores take bfloat16
_CPU_BFLOAT16 = {"avx512_bf16", "amx_bf16"}

# What decides the speed of a network on a CPU, by its usual name: Linux's name of it.
INSTRUCTION_SETS = {"AVX2": "avx2", "AVX-512": "avx512f", "AVX512_BF16": "avx512_bf16",
                    "AMX_BF16": "amx_bf16"}


def gpus() -> list[str]:
  """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES knows them."""
  found, visible = _count_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
  if visible is None:
    return [str(number) for number in range(found)]

  def known(name):
    return int(name) < found if name.isdecimal() else name.startswith(("GPU-", "MIG-"))

  # CUDA stops at the first that is no GPU's: "-1", what schedulers give to a job without one, a
  # number too high.
  return list(itertools.takewhile(known, (name.strip() for name in visible.split(","))))


def _count_gpus():
  """How many GPUs this machine has."""
  if shutil.which("nvidia-smi"):
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
  return len(glob.glob("/dev/nvidia[0-9]*"))


def has_gpu() -> bool:
  """Whether TensorFlow has a GPU to work on in this process."""
  import tensorflow as tf
  return bool(tf.config.list_physical_devices("GPU"))


def cores() -> int:
  """How many cores this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def fast_precision() -> str:
  """The quicker precision for forward and backward passes."""
  if details := _gpu_details():
    fast = all(detail.get("compute_capability", (0, 0)) >= _FIRST_GPU for detail in details)
  else:
    fast = bool(_CPU_BFLOAT16 & cpu_flags())
  return "bfloat16" if fast else "float32"


def _gpu_details():
  import tensorflow as tf
  return [tf.config.experimental.get_device_details(gpu)
          for gpu in tf.config.list_physical_devices("GPU")]


def cpu_flags(path: str = "/proc/cpuinfo") -> set[str]:
  """The set of what the CPU can do, by Linux's names; empty where Linux does not say."""
  return set(_cpu_line("flags", path).split())


def cpu_model(path: str = "/proc/cpuinfo") -> str:
  """What the CPU calls itself."""
  return _cpu_line("model name", path) or platform.machine()


def _cpu_line(name, path):
  try:
    with open(path, encoding="utf-8") as file:
      return next((line.split(":")[1].strip() for line in file if line.startswith(name)), "")
  except OSError:
    return ""


def description() -> str:
  """What TensorFlow works on in this process: its GPUs, or cores and instruction sets."""
  if details := _gpu_details():
    return ", ".join(detail.get("device_name", "GPU") for detail in details)
  flags, number = cpu_flags(), cores()
  known = [name for name, flag in INSTRUCTION_SETS.items() if flag in flags]
  return (f"{number} core{'s' if number > 1 else ''} of {cpu_model()} "
          f"({', '.join(known) or 'instruction sets unknown'})")
