"""The clerk: a Python child that keeps the books for main."""


def live(host, worker, number, slots, jobs, results):
    raise NotImplementedError
