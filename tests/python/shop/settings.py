import os

SECRET_KEY = "not secret"
INSTALLED_APPS = ["shop.orders"]
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(os.environ["STORY_FOLDER"], "shop.sqlite"),
        "OPTIONS": {"timeout": 20},
    }
}
CELERY_BROKER_URL = os.environ["STORY_BROKER"]
CELERY_RESULT_BACKEND = os.environ["STORY_BACKEND"]
CELERY_TASK_DEFAULT_QUEUE = os.environ.get("STORY_QUEUE", "celery")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = TIME_ZONE
CELERY_TASK_ACKS_LATE = True
