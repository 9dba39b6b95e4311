"""Folding many profiles in several processes, since the fold is Python code that keeps one core busy.

    ids of changed profiles ── a page each ──▶ worker: load, fold, save ──▶ what that did, page by page, in order

Each worker opens the database for itself; what they fold is disjoint, and what they write is what one process writes.
"""

import gc
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

from sqlalchemy import Engine

from ingest_pipeline.store.engine import create_store_engine
from ingest_pipeline.store.fold_outcomes import Folded

FoldPage = Callable[[Engine, list[str]], list[Folded]]
"""Picklable: folds the profiles of a page."""


@dataclass
class _Worker:
    """What a worker process keeps from page to page."""

    engine: Engine
    fold: FoldPage


_workers: list[_Worker] = []


def can_start_processes() -> bool:
    """A daemonic process must not start any."""
    return not multiprocessing.current_process().daemon


def fold_in_processes(engine: Engine, pages: Iterable[list[str]], fold: FoldPage, processes: int) -> Iterator[Folded]:
    """What ``fold`` gives for each page, in their order. At most two pages more than processes are under way, so that
    memory does not grow with their number. Pages that have begun are finished when the caller stops early."""
    url = engine.url.render_as_string(hide_password=False)
    context = multiprocessing.get_context("spawn")  # forked, they would share database connections
    pool = ProcessPoolExecutor(processes, context, _start, (url, fold))
    under_way: deque[Future[list[Folded]]] = deque()
    try:
        for page in pages:
            under_way.append(pool.submit(_fold, page))
            if len(under_way) > processes + 2:
                yield from under_way.popleft().result()
        while under_way:
            yield from under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start(url: str, fold: FoldPage) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Nothing that a fold makes is circular: looking for that takes an eighth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    _workers.append(_Worker(create_store_engine(url), fold))


def _end_with_parent() -> None:
    """A parent that is killed, or that ends at once on Ctrl-C, tells nobody: its workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _fold(page: list[str]) -> list[Folded]:
    (worker,) = _workers
    return worker.fold(worker.engine, page)
