"""The app of the stories about logs: the demonstration tasks, and some that say things in every way there is."""

from __future__ import annotations

import logging
import os
import sys
import threading

from celery import signals
from celery.utils.log import get_task_logger
from demo_app import app

logger = get_task_logger(__name__)


@app.task(name="log.talk")
def talk() -> None:
    logger.info("by the task's logger, in\ntwo lines", extra={"order": 5, "thing": {1, 2}})
    logging.getLogger("elsewhere").warning("by another logger: \ud800")
    print("by print")
    print("by stderr", file=sys.stderr)
    thread = threading.Thread(target=lambda: logging.getLogger("thread").warning("by a thread"))
    thread.start()
    thread.join()
    try:
        1 / 0
    except ZeroDivisionError:
        logger.exception("caught")


@app.task(name="log.die")
def die() -> None:
    logger.warning("about to die")
    os._exit(3)


if "OWN_LOGGING" in os.environ:

    @signals.setup_logging.connect
    def set_up(**_: object) -> None:
        logging.basicConfig(level=logging.INFO, format="own set-up: %(message)s", stream=sys.__stderr__)


if "LAST_WORD" in os.environ:

    @signals.after_setup_logger.connect
    @signals.after_setup_task_logger.connect
    def have_the_last_word(logger: logging.Logger, **_: object) -> None:
        for handler in logger.handlers:
            handler.setFormatter(logging.Formatter("last word: %(message)s"))
