"""An app with what celeriac does not run."""

import click
from celery import Celery, bootsteps

app = Celery("odd", broker="amqp://")
app.conf.worker_autoscaler = "odd:Autoscaler"
app.user_options["worker"].add(click.Option(["--shout"], is_flag=True))


class Step(bootsteps.StartStopStep):
    pass


class Autoscaler:
    pass


app.steps["worker"].add(Step)


@app.task(Strategy="odd:strategy")
def planned():
    pass
