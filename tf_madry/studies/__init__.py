"""The paper's tables and figures, one command each: `python -m tf_madry.studies power --scale 0.03`.

A study is a module with

- `OPTIONS`: names of the options (fields of `lab.Options`) that it goes by;
- `measure(lab)`: trains and evaluates what is not known yet; returns numbers, as JSON has them;
- `findings(data, settings)`: what these numbers say, as `outcomes.Findings`: tables, figures, claims of the paper.

Everything is kept in the output folder: networks in runs/, single measurements in cache/, and by name of the study its
numbers (JSON, CSV) and plots (PNG, SVG).
"""

STUDIES = ("power", "transfer", "staleness", "reload", "takeoff", "cycles", "speedup", "headline")
