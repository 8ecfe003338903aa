"""The dealer's tickets: each batch of a run is numbered once, through any number of stops."""

import json
import random

from tf_madry.asynchronous.local.dealer import Tickets


def consumed_once(consumed, tickets):
  """Every ticket below the next one is either consumed, once, or still to come."""
  state = tickets.state()
  assert sorted(consumed + state["returned"]) == list(range(state["next_ticket"]))


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
      tickets, held = Tickets(**json.loads(json.dumps(tickets.state()))), []
  assert len(consumed) > 500
  consumed_once(consumed, tickets)


def test_the_lowest_ticket_is_drawn_first():
  tickets = Tickets(6, [5, 1, 4])
  assert [tickets.draw() for _ in range(4)] == [1, 4, 5, 6]
  for ticket in (6, 4, 5):
    tickets.give_back(ticket)
  assert [tickets.draw() for _ in range(4)] == [4, 5, 6, 7]
