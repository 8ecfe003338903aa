"""Which process gets which device, or how many of the cores."""

import pytest

from tests.helpers.others import pretend_gpus
from tf_madry.asynchronous.local.placement import Placement, placements
from tf_madry.errors import UserError
from tf_madry.runtime import devices
from tf_madry.settings import AsyncConfig

NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}


def test_every_process_gets_a_device_of_its_own_as_long_as_there_are_any(tmp_path, monkeypatch):
  pretend_gpus(4, tmp_path, monkeypatch)
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,GPU-5,-1,7")

  def shared_out(**settings):
    placed, notices = placements(AsyncConfig(**settings))
    return [place.environment["CUDA_VISIBLE_DEVICES"] for place in placed], notices

  assert shared_out(workers=3) == (["0", "1", "2", "3"], [])
  assert shared_out(workers=1, devices="3, GPU-5") == (["3", "GPU-5"], [])
  names, (notice,) = shared_out(workers=4, devices="0,2")
  assert names == ["0", "2", "0", "2", "0"]
  assert notice == "5 processes on 2 GPUs (0, 2): some share one"
  assert shared_out(workers=1, devices="0,0") == (
    ["0", "0"],
    ["2 processes on 1 GPU (0): some share one"],
  )
  assert (
    placements(AsyncConfig(devices="0,0"))[0][1].environment["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
  )
  for wrong in ("7", "0,9", "0,,1", "cpu"):
    with pytest.raises(
      UserError, match=f"devices is '{wrong}', accepted: numbers out of 0, 1, 2, 3, GPU-5"
    ):
      shared_out(devices=wrong)
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
  with pytest.raises(
    UserError, match="devices is '0', accepted: nothing, since there is no GPU here"
  ):
    shared_out(devices="0")


@pytest.mark.parametrize(
  ("cores", "workers", "threads", "noticed"),
  [
    (8, 0, [None], False),
    (8, 3, [2, 2, 2, 2], False),
    (8, 2, [4, 2, 2], False),
    (2, 1, [1, 1], False),
    (2, 2, [1, 1, 1], True),
    (1, 1, [1, 1], True),
  ],
)
def test_without_gpus_the_cores_are_shared_out(monkeypatch, cores, workers, threads, noticed):
  monkeypatch.setattr(devices, "gpus", lambda: [])
  monkeypatch.setattr(devices, "cores", lambda: cores)
  placed, notices = placements(AsyncConfig(workers=workers))
  assert placed == [Placement(NO_GPU, number) for number in threads]
  assert bool(notices) == noticed
