"""Progress: bars in a terminal or a notebook, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_INTERVAL = 10.0


def duration(seconds: float) -> str:
    """A length of time, as a person says it.

    Examples:
        >>> duration(42.0), duration(130.0), duration(7500.0)
        ('42 s', '2 min 10 s', '2 h 5 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def progress(
    what: str,
    total: int,
    done: int = 0,
    size: Callable[[], tuple[int, str]] | None = None,
) -> Iterator[Callable[[int], None]]:
    """Show how far a long piece of work is and how long it will take.

    Args:
        what: What is being done, in a few words.
        total: How many pieces it has.
        done: How many of them were done before, by an interrupted run.
        size: Says how much a piece holds and of what, to show how many of these a second there are.

    Yields:
        A function to call with the number of pieces that have just been finished.
    """
    console = Console(stderr=True)
    if console.is_terminal or console.is_jupyter:
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        with Progress(*columns, console=console) as bars:
            bar = bars.add_task(what, total=total, completed=done, rate="")

            yield lambda n: bars.update(bar, advance=n, rate=rate_of(bars.tasks[0].speed, size))
        return
    with _plain_lines(console, what, total, done, size) as advance:
        yield advance


def rate_of(speed: float | None, size: Callable[[], tuple[int, str]] | None) -> str:
    """How much is done in a second, in words; nothing where it is not known.

    Examples:
        >>> rate_of(20.0, lambda: (4096, "tokens"))
        '82,000 tokens/s'
    """
    if size is None or not speed:
        return ""
    amount, unit = size()
    return f"{float(f'{speed * amount:.2g}'):,.0f} {unit}/s"


@contextmanager
def _plain_lines(
    console: Console,
    what: str,
    total: int,
    done: int,
    size: Callable[[], tuple[int, str]] | None,
) -> Iterator[Callable[[int], None]]:
    """One line at the start, one every ten seconds, one at the end."""
    start = said = time.monotonic()
    before = done

    def say(text: str) -> None:
        console.print(f"{what}: {text}", highlight=False, soft_wrap=True)

    def advance(n: int) -> None:
        nonlocal done, said
        done += n
        now = time.monotonic()
        if now - said >= PLAIN_INTERVAL and done < total:
            speed = (done - before) / (now - start)
            rate = rate_of(speed, size)
            left = f"about {duration((total - done) / speed)} left"
            say(", ".join(filter(None, [f"{done:,} of {total:,}", rate, left])))
            said = now

    say(f"{total - done:,} to do" + (f", {done:,} done before" if done else ""))
    yield advance
    say(f"done in {duration(time.monotonic() - start)}")
