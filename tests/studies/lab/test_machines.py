"""The machines of measurements."""

from tf_madry.studies.lab import machines


def test_machines_are_said_once_each():
  one, other = {"on": "2 cores", "TensorFlow": "2.21"}, {"on": "a GPU", "TensorFlow": "2.21"}
  both = machines.joined([one, other])
  assert both == {"on": "2 cores and a GPU", "TensorFlow": "2.21"}
  assert machines.joined([both, other]) == both
