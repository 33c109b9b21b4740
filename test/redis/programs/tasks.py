# SPDX-License-Identifier: Apache-2.0
"""Tasks of Celery, as its first steps and its page on canvas have them."""
import os

from celery import Celery

app = Celery('tasks', broker=os.environ['JOBS_URL'], backend=os.environ['JOBS_URL'])
app.conf.update(
    task_default_retry_delay=0, worker_redirect_stdouts=False, broker_connection_retry=False,
    task_routes={'programs.tasks.where': {'queue': 'elsewhere'}}, result_extended=True,
    broker_transport_options={'visibility_timeout': 36000},
)


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def broken():
    raise ValueError('it is broken')


@app.task(bind=True, max_retries=5)
def third_time(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task(bind=True)
def where(self):
    return self.request.delivery_info['routing_key']
