"""As `scenarios.py`, for the Django project."""

from __future__ import annotations

from celery import chain, chord

ALL = {}


def scenario(play):
    ALL[play.__name__] = play
    return play


def entries(stage, pk, count):
    """What happened to an order, once so much has: hooks run after a result is stored."""

    def there():
        found = stage.tasks.entries_of.delay(pk).get(timeout=20)
        return found if len(found) >= count else None

    return stage.wait(there, f"{count} entries")


@scenario
def an_order_is_served(stage):
    tasks = stage.tasks
    pk = tasks.place.delay("ann", "12.50").get(timeout=20)
    seen = [stage.run(tasks.amount_of, pk), stage.outcome(chain(tasks.pay.s(pk), tasks.ship.s())())[1]]
    seen += [stage.run(tasks.state_of, pk), stage.run(tasks.pay, pk)]
    return seen + [entries(stage, pk, 3)]


@scenario
def failures(stage):
    tasks = stage.tasks
    return [stage.run(tasks.missing), stage.run(tasks.find, 10**9), stage.run(tasks.rejected)]


@scenario
def transactions(stage):
    tasks = stage.tasks
    pk = tasks.place_and_confirm.delay("bob").get(timeout=20)
    return [entries(stage, pk, 1), stage.run(tasks.place_and_fail, "eve"), stage.run(tasks.count, "eve")]


@scenario
def what_a_task_knows(stage):
    tasks = stage.tasks
    key, *rest = tasks.knows.delay().get(timeout=20)
    quiet = tasks.ignored.delay()
    return [rest, stage.run(tasks.is_connected), stage.run(tasks.local_time), quiet.state]


@scenario
def chords(stage):
    if stage.rpc:
        return None
    tasks = stage.tasks
    orders = [tasks.place.delay("carl", amount).get(timeout=20) for amount in ("1.10", "2.20", "3.30")]
    body = chord((tasks.amount_of.s(pk) for pk in orders), tasks.total.s())
    broken = chord([tasks.amount_of.s(orders[0]), tasks.missing.s()], tasks.total.s())
    return [stage.outcome(body()), stage.outcome(broken())]


@scenario
def lost_children(stage):
    tasks = stage.tasks
    pk = tasks.place.delay("dora", "1").get(timeout=20)
    return [stage.run(tasks.killed, pk), stage.run(tasks.killed_once, pk), entries(stage, pk, 1)]
