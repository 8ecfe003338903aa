"""How far an evaluation is."""

from tf_madry.evaluation.progress import Progress


def test_a_line_a_minute_where_there_is_no_terminal():
  said, now = [], [0.0]
  with Progress(100, "APGD", say=said.append, terminal=False, clock=lambda: now[0]) as progress:
    for done, time in ((10, 30.0), (20, 50.0), (30, 70.0), (40, 90.0), (70, 150.0)):
      now[0] = time
      progress.show(done, accuracy=0.9)
  # The first batch took 30 s, as it compiles; each further ten examples 20 s.
  assert said == ["  APGD: 30 of 100 examples, accuracy 90.00%, about 2 min left",
                  "  APGD: 70 of 100 examples, accuracy 90.00%, about 60 s left"]


def test_a_terminal_has_a_bar_and_no_lines(capsys):
  said, now = [], [0.0]
  with Progress(4, say=said.append, terminal=True, clock=lambda: now[0]) as progress:
    now[0] = 100.0
    progress.show(4, accuracy=0.5)
  assert said == [] and "0/4" in capsys.readouterr().err
