"""Tickets: each batch of a run is numbered once, through any number of stops."""

import random

from tests.helpers.producers import consumed_once
from tf_madry.training.tickets import Tickets


def test_tickets_survive_any_number_of_stops():
  chance = random.Random(1)
  tickets, consumed, held = Tickets(), [], []
  for _ in range(5000):
    act = chance.random()
    if act < 0.5:
      held.append(tickets.draw())
      assert held[-1] not in consumed and len(set(held)) == len(held)
    elif act < 0.97 and held:
      ticket = held.pop(chance.randrange(len(held)))
      if act < 0.85:
        tickets.consume(ticket)
        consumed.append(ticket)
      else:
        tickets.give_back(ticket)
    elif act >= 0.97:
      tickets, held = Tickets.after(len(consumed), tickets.arrays()), []
  assert len(consumed) > 500
  consumed_once(consumed, tickets)


def test_the_lowest_ticket_is_drawn_first():
  tickets = Tickets(6, [5, 1, 4])
  assert [tickets.draw() for _ in range(4)] == [1, 4, 5, 6]
  for ticket in (6, 4, 5):
    tickets.give_back(ticket)
  assert [tickets.draw() for _ in range(4)] == [4, 5, 6, 7]


def test_a_run_without_tickets_has_taken_its_batches_in_order():
  tickets = Tickets.after(5, {})
  assert tickets.in_order
  assert [tickets.draw(), tickets.draw()] == [5, 6]
  tickets.consume(6)
  assert not tickets.in_order
  tickets.consume(5)
  assert tickets.in_order
