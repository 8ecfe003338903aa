"""The paper's tables and figures, one command each: `python -m tf_madry.studies power`.

A study is a module here, see `study.py` for what it has to have. `lab/` makes networks and
measurements, `output/` writes what was found. Everything is kept in the output folder: networks in
runs/, single measurements in cache/, and by name of the study its numbers (JSON, CSV) and plots
(PNG, SVG).
"""

STUDIES = ("power", "transfer", "staleness", "reload", "takeoff", "cycles", "speedup", "headline")
