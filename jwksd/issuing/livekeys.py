"""LiveKeys: the keys of a process that expire one by one, and how many there may be.

The laws of this module:
1. A key is gone at its second. An alarm frees it; every read forgets expired keys first, so that
   documents are right even when the alarm is late.
2. Keys and promised places together are never more than the bound.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

from twisted.internet.interfaces import IReactorTime

from jwksd.errors import TooManyKeys
from jwksd.issuing.alarm import Alarm
from jwksd.jose.keys import PublishedKey
from jwksd.lifecycle.published import PublishedKeys


class LiveKeys:
    """Published keys, each until it expires.

    Args:
        clock: the wall clock, and the alarm at the next expiry.
        max_keys: how many keys may be live at once.
        expired: called with the time, when the alarm has freed keys.
    """

    def __init__(
        self, clock: IReactorTime, max_keys: int, expired: Callable[[float], None]
    ) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._expired = expired
        self._keys = PublishedKeys()
        self._promised = 0
        self._alarm = Alarm(clock, self._expire)

    @property
    def keys(self) -> PublishedKeys:
        """Those that have not expired."""
        self._keys.expire(self._clock.seconds())
        return self._keys

    def add(self, key: PublishedKey) -> None:
        """Publish a key, unless it is published already."""
        if self._keys.get(key.kid) is None:
            self._keys.add(key)
            self._set_alarm()

    def remove(self, kid: str) -> None:
        """Take a key back, if it is published."""
        self._keys.remove(kid)

    def clear(self) -> int:
        """Take every key back; return how many there were."""
        self.stop()
        return self._keys.clear()

    def stop(self) -> None:
        """Leave nothing in the reactor."""
        self._alarm.cancel()

    @contextmanager
    def promise(self) -> Iterator[None]:
        """Reserve room for one key while it is waited for.

        Raises:
            TooManyKeys: there is none.
        """
        self.refuse_when_full()
        self._promised += 1
        try:
            yield
        finally:
            self._promised -= 1

    def refuse_when_full(self) -> None:
        """Raise TooManyKeys, with the time until one expires, where no key more may be live."""
        keys = self.keys
        if len(keys) + self._promised < self._max_keys:
            return
        next_expiry = keys.next_expiry
        wait = 1 if next_expiry is None else max(1, ceil(next_expiry - self._clock.seconds()))
        raise TooManyKeys(
            f"{self._max_keys} keys are live, which is all that --max-keys allows;"
            f" the next one expires in {wait} s",
            retry_after=wait,
        )

    def _set_alarm(self) -> None:
        """Wake at the next expiry; a key that lives shorter than the others moves it forward."""
        next_expiry = self._keys.next_expiry
        if next_expiry is not None:
            self._alarm.set_latest(next_expiry)

    def _expire(self) -> None:
        now = self._clock.seconds()
        self._keys.expire(now)
        self._expired(now)
        self._set_alarm()
