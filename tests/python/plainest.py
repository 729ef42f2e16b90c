"""An app without a setting of its own: what it has comes from the command line and the environment."""

from celery import Celery

app = Celery("plainest")


@app.task
def add(x, y):
    return x + y
