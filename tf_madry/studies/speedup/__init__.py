"""How much faster is asynchronous training, here and with up to 512 workers? (§5, Figure 9)

What this machine measures is in `here`, one device for each process (Figure 9) is simulated in
`devices`, workers on the nodes of a cluster in `network`.
"""

from typing import Any

from tf_madry.studies.lab.lab import Lab
from tf_madry.studies.lab.simulation import Costs
from tf_madry.studies.output.findings import Findings
from tf_madry.studies.speedup import devices, here, network

OPTIONS = ("t_adv", "t_train", "repeats")


def collect(lab: Lab) -> dict[str, Any]:
  """Measures costs and speeds on this machine, and simulates it, many devices, and a cluster.

  Where costs are given, nothing is measured.
  """
  given = lab.options.t_adv is not None
  if given:
    measured = here.NOTHING
    costs = Costs(craft=lab.options.t_adv, learn=lab.options.t_train)
  else:
    measured = here.collect(lab)
    costs = Costs(**measured["costs"])
  return {"given": given, **measured, "costs": vars(costs), **devices.collect(costs),
          "network": network.collect(costs, measured["handover"])}


def findings(data: dict[str, Any], settings: dict[str, Any]) -> Findings:
  """As `study.Study` says."""
  parts = (here, devices, network)
  return Findings("Speed-up: Figure 9",
                  # The paper's claims first.
                  [claim for part in (devices, here, network) for claim in part.claims(data)],
                  *([one for part in parts for one in getattr(part, name)(data)]
                    for name in ("tables", "figures")),
                  {name: rows for part in parts for name, rows in part.records(data).items()},
                  [f"Costs and speeds are of {here.batches(data)}.",
                   *(note for part in parts for note in part.notes(data))])
