"""The queue of background tasks in Redis. A module of its own: importing redis costs a web process 19 MiB."""

from django_q.brokers.redis_broker import Redis

from annotate.common.allowed_tasks import OurTasks


class RedisQueue(OurTasks, Redis):
    """The queue in Redis."""
