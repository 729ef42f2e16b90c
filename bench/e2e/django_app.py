"""An app of the size of a Django project: Django with all that `startproject` brings, imported and used."""

from __future__ import annotations

import mmap
import os
import time

import django
from billiard import current_process
from celery import Celery
from django.conf import settings

settings.configure(
    INSTALLED_APPS=[f"django.contrib.{name}" for name in "admin auth contenttypes sessions messages staticfiles".split()],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    ROOT_URLCONF="django.contrib.auth.urls",
    SECRET_KEY="not secret",
    USE_TZ=True,
)
django.setup()

import django.contrib.admin.sites  # noqa: E402
import django.contrib.auth.views  # noqa: E402
import django.core.mail  # noqa: E402
import django.test  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.db import connection  # noqa: E402
from django.template import engines  # noqa: E402

app = Celery("bench", broker=os.environ.get("BENCH_BROKER"))
app.conf.update(broker_connection_retry_on_startup=True)
#: How many tasks each child of the pool has run, by its place in the pool, for the process that asks.
with open(os.environ["BENCH_COUNTS"], "r+b") as file:
    counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")


@app.task(name="bench.page")
def page(number: int) -> int:
    """What a view does: a query, a template; and a wait, so that all children have their share."""
    user = User(username=f"user-{number}")
    with connection.cursor() as cursor:
        cursor.execute("select 1")
        cursor.fetchall()
    text = engines["django"].from_string("{% for n in range %}{{ user.username }} {{ n }} {% endfor %}")
    length = len(text.render({"user": user, "range": range(20)}))
    counts[current_process().index] += 1
    time.sleep(0.002)
    return length
