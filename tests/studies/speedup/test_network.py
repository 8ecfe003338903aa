"""Workers on a cluster by simulation."""

from tests.helpers.studies import SETTINGS, speed_data
from tf_madry.studies import speedup


def rows(data, case, gigabits):
  return [row for row in data["network"]["rows"] if (row["case"], row["gigabits"]) == (case, gigabits)]


def test_it_is_said_where_the_trainer_or_its_link_is_the_bottleneck():
  data = speed_data()
  assert [row["workers"] for row in rows(data, "κ = 8, the paper's GPUs", 10)] == [
    2**n for n in range(10)]
  paper = rows(data, "κ = 8, the paper's GPUs", 100)
  # 40 ms of crafting for a trainer that takes 5 ms and what it does besides: 8 workers at the most.
  assert [row["bottleneck"] for row in paper] == 3 * ["workers"] + 7 * ["trainer"]
  assert 6 < paper[3]["speedup"] < 8
  # Looking after 512 of them takes a sixth as long as a step.
  assert paper[-1]["speedup"] < 0.9 * paper[3]["speedup"]
  assert paper[-1]["staleness_mean"] > paper[-2]["staleness_mean"] + 200
  fast = rows(data, "κ = 40, GPUs 10 times as fast", 10)
  # 64 nodes that fetch 13 MB each take 0.67 s at 10 Gb/s.
  assert fast[-1]["bottleneck"] == "link: weights" and fast[-1]["rate"] < 100 / 0.6
  assert fast[-1]["speedup"] < rows(data, "κ = 40, GPUs 10 times as fast", 100)[-1]["speedup"]


def test_the_table_says_from_how_many_workers_on_more_are_of_no_use():
  data = speed_data()
  found = speedup.findings(data, SETTINGS)
  table = next(table for table in found.tables if table.caption.startswith("A projection"))
  line = next(line for line in table.rows if line[:3] == [
    "κ = 8, the paper's GPUs", "40 / 5 ms", 100])
  assert line[3] in (8, 16) and line[5] == "trainer"
  assert len(table.rows) == 8 and len(found.records["speedup_network"]) == 80
  assert "assumed" in next(speedup.network.notes(data))
