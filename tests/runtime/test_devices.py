"""Which processors there are, and what they are good at."""

import pytest
import tensorflow as tf

from tests.helpers.others import pretend_gpus
from tf_madry.runtime import devices


def test_bfloat16_is_chosen_where_the_machine_is_fast_at_it(tmp_path, monkeypatch):
  for flags, expected in (
    ("fpu avx512_bf16 sse", "bfloat16"),
    ("fpu amx_bf16", "bfloat16"),
    ("fpu avx512f", "float32"),
  ):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor: 0\nflags\t\t: {flags}\n")
    found = devices.cpu_flags(path)
    monkeypatch.setattr(devices, "cpu_flags", lambda found=found: found)
    assert devices.fast_precision() == expected
    monkeypatch.undo()
  assert devices.cpu_flags(tmp_path / "none") == set()


@pytest.mark.parametrize(
  ("capability", "expected"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")]
)
def test_bfloat16_is_chosen_by_what_the_gpu_can_do(monkeypatch, capability, expected):
  monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
  monkeypatch.setattr(
    tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": capability}
  )
  assert devices.fast_precision() == expected


@pytest.mark.parametrize(
  ("present", "visible", "usable"),
  [(4, "0,4,1", ["0"]), (0, "0", []), (2, "", []), (1, "NoDevFiles", [])],
)
def test_a_gpu_that_there_is_not_is_not_believed_in(
  tmp_path, monkeypatch, present, visible, usable
):
  pretend_gpus(present, tmp_path, monkeypatch)
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  assert devices.gpus() == ["0", "1", "2", "3"][:present]
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
  assert devices.gpus() == usable


def test_the_machine_is_described_by_what_decides_its_speed(monkeypatch):
  monkeypatch.setattr(devices, "cores", lambda: 2)
  monkeypatch.setattr(devices, "cpu_model", lambda: "A CPU")
  monkeypatch.setattr(devices, "cpu_flags", lambda: {"fpu", "avx2", "amx_bf16"})
  assert devices.description() == "2 cores of A CPU (AVX2, AMX_BF16)"
