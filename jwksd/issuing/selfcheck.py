"""SelfCheck: the server verifies a token of its own against the bytes that it publishes.

The policy calls ``check`` after every change of its keys. The work is done on a worker thread, one
check at a time; of the changes that happen meanwhile, or within a second, the last is checked.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial

from jwcrypto.jwk import JWK
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from jwksd.errors import PrivateHalfDestroyed
from jwksd.jose import tokens, verifying
from jwksd.jose.keys import KeyPair
from jwksd.jose.keysets import Document

MakeTokens = Callable[[], Sequence[str]]
"""Makes the tokens to verify; runs on a worker thread."""

Published = Callable[[], Document | None]
"""The document in which their keys must be found, by kid; None when they are gone already."""

Check = Callable[[MakeTokens, Published], None]
"""Is called after every change: with what to verify now, and against which document."""

INTERVAL = 1
"""Seconds between the beginnings of two checks, at the least."""

_TYP = "jwksd-self-check"


def sample_tokens(pairs: Sequence[KeyPair]) -> Sequence[str]:
    """Sign a token without claims with each key; it never leaves the process."""
    return [
        tokens.sign(pair, tokens.default_header(pair, _TYP), {}).decode("ascii") for pair in pairs
    ]


def no_check(make: MakeTokens, published: Published) -> None:
    """Check nothing."""


def failure_of(token: str, published: bytes) -> str | None:
    """Return why a verifier with these bytes of a key set would refuse the signature, or None."""
    kid = verifying.key_id(token)
    found = [key for key in json.loads(published)["keys"] if key["kid"] == kid]
    if len(found) != 1:
        return f"{len(found)} published keys have the kid {kid!r:.60}"
    if not verifying.has_valid_signature(token, JWK(**found[0])):
        return f"what key {kid!r:.60} signs does not verify with the key that is published"
    return None


class SelfCheck:
    """The last result, and the check that is to come.

    Args:
        clock: real time, for the timer.
        run: calls a function on a worker thread.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        run: Callable[[Callable[[], str | None]], "Deferred[str | None]"],
    ) -> None:
        self.failure: str | None = None
        self._clock = clock
        self._run = run
        self._wanted: tuple[MakeTokens, Published] | None = None
        self._timer: IDelayedCall | None = None
        self._running = False
        self._outdated = False
        self._stopped = False
        self._earliest = 0.0

    def check(self, make: MakeTokens, published: Published) -> None:
        """Check these tokens against this document; both are made when the check begins."""
        self._wanted = (make, published)
        self._set_timer()

    def forget(self) -> None:
        """Forget the result, and that of a check under way: their keys are gone."""
        self.failure = None
        self._outdated = self._running

    def stop(self) -> None:
        """Check no more; nothing of it is left in the reactor."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if self._stopped or self._running or self._timer is not None or self._wanted is None:
            return
        delay = min(INTERVAL, max(0.0, self._earliest - self._clock.seconds()))
        self._timer = self._clock.callLater(delay, self._begin)

    def _begin(self) -> None:
        assert self._wanted is not None  # noqa: S101  # the timer is set for it alone
        (make, published), self._wanted, self._timer = self._wanted, None, None
        document = published()
        if document is None:
            return
        self._running = True
        self._earliest = self._clock.seconds() + INTERVAL
        self._run(partial(_first_failure, make, document.body)).addBoth(self._done)

    def _done(self, result: str | Failure | None) -> None:
        outdated, self._running, self._outdated = self._outdated, False, False
        if not outdated:
            self._judge(result)
        self._set_timer()

    def _judge(self, result: str | Failure | None) -> None:
        if not isinstance(result, Failure):
            self._conclude(result)
        elif not isinstance(result.value, PrivateHalfDestroyed):
            self._log.failure("the self-check could not be made", result)
            self._conclude("the self-check could not be made")
        # Otherwise a key was replaced meanwhile, and ``check`` was called again.

    def _conclude(self, failure: str | None) -> None:
        if failure is not None:
            self._log.critical("the self-check failed: {why}", why=failure)
        elif self.failure is not None:
            self._log.info("the self-check passes again")
        self.failure = failure


def _first_failure(make: MakeTokens, published: bytes) -> str | None:
    """Return the first failure among the tokens, or None; runs on a worker thread."""
    return next((why for token in make() if (why := failure_of(token, published))), None)
