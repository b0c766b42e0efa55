"""The blows: every way in which a run ends a server or its database, and how it comes back.

Each begins with no server running, and ends so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from alembic import command
from alembic.config import Config

from jwksd.stores import migrations
from jwksd.stores.engine import make_engine
from jwksd.stores.migrate import REVISIONS, VERSION_TABLE
from tests.proofs.crash.engines import Engine, PostgreSQL
from tests.proofs.crash.load import Load
from tests.proofs.crash.stream import Stream
from tests.proofs.crash.violation import demand

Blow = Callable[[Stream, Random], Awaitable[None]]

_SOON = 0.005, 0.5
"""Seconds after the load begins."""

_START = 0.1, 0.8
"""Seconds after the process begins; it takes about this long until it serves."""

_BACK = 15
"""Seconds until a server must mint again after its database is back."""


async def under_load(stream: Stream, random: Random) -> None:
    """The server is killed while it mints."""
    load = await stream.start_with_load()
    await asyncio.sleep(random.uniform(*_SOON))
    await stream.kill()
    demand(not load.refusals, f"tokens were refused for no reason: {load.refusals[:1]}")


async def while_starting(stream: Stream, random: Random) -> None:
    """The server is killed before it serves, or just as it begins to."""
    await stream.spawn()
    await asyncio.sleep(random.uniform(*_START))
    await stream.kill()


async def while_upgrading(stream: Stream, random: Random) -> None:
    """The server is killed while it brings an older schema up to date."""
    await asyncio.to_thread(_make_old, stream.engine)
    await while_starting(stream, random)


async def database_below_it(stream: Stream, random: Random) -> None:
    """The database crashes and comes back while the server mints; later the server is killed."""
    load = await stream.start_with_load()
    await asyncio.sleep(random.uniform(*_SOON))
    await _crash_database(stream)
    await _mints_again(load)
    await stream.verify()
    await asyncio.sleep(random.uniform(*_SOON))
    await stream.kill()


async def database_with_it(stream: Stream, random: Random) -> None:
    """Both go at once, under load."""
    await stream.start_with_load()
    await asyncio.sleep(random.uniform(*_SOON))
    await asyncio.gather(stream.kill(), _crash_database(stream))


async def database_after_it(stream: Stream, random: Random) -> None:
    """The server is killed, and then the database: it may not have had time for anything."""
    await under_load(stream, random)
    await _crash_database(stream)


def plan(kills: int, engine: Engine, random: Random) -> list[Blow]:
    """A blow for each kill: the first ones hit the making of the schema."""
    blows: list[Blow] = [while_starting] * min(5, kills)
    for number in range(len(blows), kills):
        if engine.crashes and number % 16 == 0:
            database = (database_below_it, database_with_it, database_after_it)
            blows.append(database[number // 16 % 3])
        elif number % 25 == 24:
            blows.append(while_upgrading)
        else:
            blows.append(while_starting if random.random() < 0.1 else under_load)
    return blows


async def _crash_database(stream: Stream) -> None:
    assert isinstance(stream.engine, PostgreSQL)
    await asyncio.to_thread(stream.engine.cluster.kill)
    await asyncio.to_thread(stream.engine.cluster.start)
    stream.database_crashes += 1


async def _mints_again(load: Load) -> None:
    before = load.tokens
    for _ in range(_BACK * 20):
        if load.tokens > before:
            return
        await asyncio.sleep(0.05)
    demand(False, f"{_BACK} s after the database is back no token is minted: {load.refusals[-1:]}")


def _make_old(engine: Engine) -> None:
    """What the jwksd before this one would have left."""
    config = Config()
    config.set_main_option("script_location", next(iter(migrations.__path__)))
    database = make_engine(engine.url)
    with database.connect().execution_options(write=True) as connection, connection.begin():
        config.attributes |= {"connection": connection, "version_table": VERSION_TABLE}
        command.downgrade(config, REVISIONS[-2])
    database.dispose()
