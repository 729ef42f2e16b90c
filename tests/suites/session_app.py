"""The app of the suite's session worker, for a worker in a process of its own: what Celery's fixtures make of it."""

import json
import os

from celery.contrib.testing.app import TestApp
from t.integration.tasks import ClassBasedAutoRetryTask

app = TestApp(enable_logging=True, config=json.loads(os.environ["SUITE_CONFIG"]))
app.set_default()
app.set_current()
app.register_task(ClassBasedAutoRetryTask)
