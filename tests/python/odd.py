"""An app with what celeriac does not run."""

import click
from celery import Celery, bootsteps
from kombu import Queue

app = Celery("odd", broker="amqp://")
app.conf.worker_autoscaler = "odd:Autoscaler"
app.conf.update(
    worker_eta_task_limit=10,
    worker_log_format="%(message)s",
    event_exchange="mine",
    broker_transport_options={"confirm_publish": True},
    task_queues=[Queue("slow", queue_arguments={"x-queue-type": "quorum"})],
)
app.user_options["worker"].add(click.Option(["--shout"], is_flag=True))


class Step(bootsteps.StartStopStep):
    pass


class Autoscaler:
    pass


app.steps["worker"].add(Step)


@app.task(Strategy="odd:strategy", send_events=False)
def planned():
    pass
