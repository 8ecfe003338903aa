"""Where text goes: other encodings, closed streams, readers who leave."""

import os
import subprocess
import sys

import pytest

from tests.helpers.processes import ROOT

SCRIPT = "from tf_madry import cli\nfrom tf_madry.errors import UserError\ndef main():\n  {}\ncli.run(main)"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(body, *arguments, redirect="", environment=None, **options):
  """Runs a script of one line of work; returns (exit code, stdout, stderr), the last two as bytes."""
  command = ["sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-c", SCRIPT.format(body), *arguments]
  given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
  process = subprocess.run(command, cwd=ROOT, env=os.environ | (environment or {}), check=False, **given)
  return process.returncode, process.stdout, process.stderr


@pytest.mark.parametrize("environment", [
    ASCII, {"PYTHONIOENCODING": "iso-8859-1"}, {"PYTHONIOENCODING": "ascii:strict"}, {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "shift_jis"}], ids=str)
def test_a_character_that_the_encoding_lacks_ends_nothing(environment):
  code, output, errors = run(r"print('\u03ba = 8 \u2014 \u03b5'); return 3", environment=environment)
  assert (code, errors) == (3, b"")
  assert b" = 8 " in output


def test_a_name_of_a_file_that_is_no_text_can_be_said():
  code, output, _ = run(r"print('\udce9 is the name'); return 0")
  assert (code, output) == (0, b"? is the name\n")


def test_help_and_errors_are_said_in_any_encoding():
  assert run("return 0", "--help", environment=ASCII)[0] == 1  # absl's code for it
  code, _, errors = run(r"raise UserError('\u03b5 is 2')", environment=ASCII)
  assert code == 2
  assert errors.endswith(b" is 2\n")
  assert errors.count(b"\n") == 1


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_take_nothing_and_give_no_file_their_place(tmp_path, redirect):
  path = tmp_path / "result"
  body = (f"file = open({str(path)!r}, 'w'); print('told', flush=True); import os, sys; sys.stderr.isatty(); "
          "os.write(1, b'raw') and os.write(2, b'raw'); file.write('whole'); return 5")
  assert run(body, redirect=redirect)[0] == 5
  assert path.read_text() == "whole"


@pytest.mark.parametrize(("body", "expected"), [
    ("raise UserError('wrong')", 2), ("print('x', file=__import__('sys').stderr, flush=True)", 141), ("return 4", 4)])
def test_the_exit_code_is_right_where_nobody_reads_errors(body, expected):
  reader, writer = os.pipe()
  os.close(reader)
  try:
    assert run(body, stderr=writer)[0] == expected
  finally:
    os.close(writer)


def test_an_error_is_an_error_where_errors_cannot_be_written():
  with open("/dev/full", "wb") as full:
    assert run("raise UserError('wrong')", stderr=full)[0] == 2
    assert run("print('told'); raise UserError('wrong')", stdout=full, stderr=full)[0] == 2
