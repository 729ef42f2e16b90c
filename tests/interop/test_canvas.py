"""What follows a native task: callbacks, chains and errbacks; and a word where it is more than that."""

from __future__ import annotations

import pytest
from celery import chain, group

from harness import TIMEOUT, Client, Raw, Worker, wait_until


def signature(client: Client, name: str, *args, **options):
    return client.app.signature(name, args=args, queue=client.queue, **options)


def test_a_chain_hands_each_result_on(worker: Worker, client: Client) -> None:
    steps = [signature(client, "demo.add", 2, 3), signature(client, "demo.add", 4), signature(client, "demo.mul", 10)]
    assert chain(*steps, app=client.app).apply_async().get(timeout=TIMEOUT) == 90


def test_callbacks_get_the_result_and_errbacks_the_id(worker: Worker, client: Client) -> None:
    client.send("demo.add", (2, 3), link=signature(client, "demo.echo"))
    worker.wait_log(r"Task demo\.echo\[\S+\] succeeded in \S+: 5$")
    failed = client.send("demo.fail", (), link_error=signature(client, "demo.echo"))
    worker.wait_log(rf"Task demo\.echo\[\S+\] succeeded in \S+: '{failed.id}'$")


def test_what_was_to_follow_a_failed_task_has_failed(worker: Worker, client: Client) -> None:
    steps = [signature(client, "demo.fail", "boom"), signature(client, "demo.add", 4), signature(client, "demo.mul", 10)]
    last = chain(*steps, app=client.app).apply_async()
    for result in last, last.parent, last.parent.parent:
        with pytest.raises(ValueError, match="boom"):
            result.get(timeout=TIMEOUT)
        assert result.state == "FAILURE"


@pytest.mark.celeriac("Celery runs it")
def test_what_is_not_done_is_said(worker: Worker, client: Client, raw: Raw, queue: str) -> None:
    members = group([signature(client, "demo.noop"), signature(client, "demo.noop")], app=client.app)
    result = client.send("demo.add", (2, 3), link=members)
    assert result.get(timeout=TIMEOUT) == 5
    worker.wait_log(rf"WARNING/\S+\] Task demo\.add\[{result.id}\] asks for what a native task cannot do yet: a group")
    wait_until(lambda: raw.counts(queue) == (0, 0), "everything settled")
