import os
import signal
from decimal import Decimal

from celery import Task, shared_task
from celery.exceptions import Ignore, Reject
from django.db import connection, transaction

from .models import Entry, Order


class Recorded(Task):
    """Writes down in the database how it ended."""

    abstract = True

    def on_success(self, retval, task_id, args, kwargs):
        Entry.objects.create(order_id=args[0], text=f"{self.name.rpartition('.')[2]} succeeded")

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        Entry.objects.create(order_id=args[0], text=f"{self.name.rpartition('.')[2]} failed: {exc!r}")


@shared_task
def place(customer, amount):
    return Order.objects.create(customer=customer, amount=Decimal(amount)).pk


@shared_task
def amount_of(pk):
    return str(Order.objects.get(pk=pk).amount)


@shared_task(base=Recorded)
def pay(pk):
    updated = Order.objects.filter(pk=pk, state="new").update(state="paid")
    if not updated:
        raise ValueError("not new")
    return pk


@shared_task(base=Recorded)
def ship(pk):
    Order.objects.filter(pk=pk, state="paid").update(state="shipped")
    return pk


@shared_task
def state_of(pk):
    return Order.objects.get(pk=pk).state


@shared_task
def entries_of(pk):
    return sorted(Entry.objects.filter(order_id=pk).values_list("text", flat=True))


@shared_task
def missing():
    Order.objects.get(pk=10**9)


@shared_task(bind=True, autoretry_for=(Order.DoesNotExist,), retry_backoff=0.4, retry_jitter=False, max_retries=2)
def find(self, pk):
    return [Order.objects.get(pk=pk).pk, self.request.retries]


@shared_task
def confirm(pk):
    Entry.objects.create(order_id=pk, text="confirmed")


@shared_task
def place_and_confirm(customer):
    with transaction.atomic():
        pk = Order.objects.create(customer=customer).pk
        confirm.delay_on_commit(pk)
    return pk


@shared_task
def place_and_fail(customer):
    with transaction.atomic():
        Order.objects.create(customer=customer)
        raise RuntimeError("rolled back")


@shared_task
def count(customer):
    return Order.objects.filter(customer=customer).count()


@shared_task
def total(amounts):
    return str(sum(Decimal(amount) for amount in amounts))


@shared_task(bind=True)
def knows(self):
    return [self.request.delivery_info["routing_key"], type(self).__mro__[1].__name__, self.acks_late]


@shared_task
def is_connected():
    return connection.connection is not None


@shared_task
def ignored():
    raise Ignore()


@shared_task
def rejected():
    raise Reject("no", requeue=False)


@shared_task(base=Recorded)
def killed(pk):
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(reject_on_worker_lost=True)
def killed_once(pk):
    if Entry.objects.get_or_create(order_id=pk, text="tried")[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@shared_task
def local_time():
    from django.utils import timezone
    return timezone.get_current_timezone_name()
