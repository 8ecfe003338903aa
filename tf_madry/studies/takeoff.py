"""What does staleness do to a network that is robust already, at a constant learning rate? (beside §5)"""

from tf_madry.studies.lab import networks as labs
from tf_madry.studies.output.outcomes import Findings, Table, percent

OPTIONS = ("s_list", "constant_rates", "seeds", "learning_rate")
K = 8
SHARE = 3  # of the steps of the network that it begins from, one in so many are added


def measure(lab):
  """Trains one robust network on, with every s at every rate, and compares each with s = 0 on the same images."""
  robust, rows = lab.network(k=K), []
  begin = lab.accuracy(robust, K)
  for seed in range(lab.options.seed, lab.options.seed + lab.options.seeds):
    for rate in sorted(lab.options.constant_rates, reverse=True):
      plain = None
      for s in lab.options.s_list:
        network = lab.continued(robust, steps=max(1, robust.steps // SHARE), learning_rate=rate, seed=seed, staleness=s)
        result = lab.accuracy(network, K)
        right = labs.unpack_right(result["right"], result["n"])
        plain = right if s == 0 else plain
        low, high = result["adversarial_interval"]
        rows.append({"seed": seed, "learning_rate": rate, "s": s, "n": result["n"],
                     "natural_accuracy": result["natural_accuracy"],
                     "adversarial_accuracy": result["adversarial_accuracy"], "low": low, "high": high,
                     "lost": int((plain & ~right).sum()), "gained": int((right & ~plain).sum()),
                     "curve": [{"step": row["step"],
                                "fresh_accuracy": row.get("fresh_accuracy", row["adversarial_accuracy"]),
                                "stale_accuracy": row.get("stale_accuracy", row["adversarial_accuracy"])}
                               for row in network.rows]})
  return {"begin": {name: begin[name] for name in ("n", "natural_accuracy", "adversarial_accuracy")}, "final": rows}


def findings(data, settings):
  """As `tf_madry.studies` says."""
  table = Table(
    "Accuracy on test images", ["rate", "s", "seed", "natural", "adversarial"],
    [[f"{row['learning_rate']:g}", row["s"], row["seed"], percent(row["natural_accuracy"], row["n"]),
      percent(row["adversarial_accuracy"], row["n"])] for row in data["final"]])
  return Findings("Take-off", [], [table], [], {"takeoff": [{name: value for name, value in row.items() if name != "curve"}
                                                            for row in data["final"]]}, [labs.size(settings)])
