"""CORS: what each path says to a browser whose page asks, and what only a preflight is told."""

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import Request
from twisted.web.test.requesthelper import DummyChannel

from jwksd.web.http.sharing import is_preflight, share

PAGE = b"https://app.example"
PREFLIGHT = (
    b"access-control-allow-methods",
    b"access-control-allow-headers",
    b"access-control-max-age",
)


class SharingTests(SynchronousTestCase):
    def shared(
        self, method: str, path: bytes, origin: bytes | None = None, *, some_listed: bool = True
    ) -> dict[bytes, bytes]:
        """The fields of the answer to this request."""
        request = Request(DummyChannel(), False)
        # Octets made anew, as those of a request are.
        request.method, request.path = method.encode(), path
        share(request, origin, some_listed=some_listed)
        fields = request.responseHeaders.getAllRawHeaders()
        return {name.lower(): b", ".join(values) for name, values in fields}

    def test_only_options_is_told_what_may_be_asked(self) -> None:
        """Every other answer tells instead which of its fields a page may read."""
        for path, origin in ((b"/.well-known/jwks.json", None), (b"/auth", PAGE)):
            for method in ("GET", "HEAD", "POST", "PUT"):
                fields = self.shared(method, path, origin)
                with self.subTest(path=path, method=method):
                    self.assertFalse(set(PREFLIGHT) & set(fields))
                    self.assertIn(b"access-control-expose-headers", fields)
            fields = self.shared("OPTIONS", path, origin)
            self.assertLess(set(PREFLIGHT), set(fields))
            self.assertNotIn(b"access-control-expose-headers", fields)

    def test_documents_are_for_every_page(self) -> None:
        """However their path is spelt, and for reading only."""
        for path in (
            b"/.well-known/jwks.json",
            b"/a/%2Ewell-known/x.json",
            b"/.well-known/nothing",
        ):
            fields = self.shared("OPTIONS", path)
            with self.subTest(path=path):
                self.assertEqual(fields[b"access-control-allow-origin"], b"*")
                self.assertEqual(fields[b"access-control-allow-methods"], b"GET, HEAD")
                self.assertNotIn(b"vary", fields)

    def test_tokens_are_for_listed_pages(self) -> None:
        """Whose origin is named; caches are told that it matters, as long as any is listed."""
        for path in (b"/auth", b"/a/token"):
            fields = self.shared("OPTIONS", path, PAGE)
            self.assertEqual(fields[b"access-control-allow-origin"], PAGE)
            self.assertEqual(fields[b"access-control-allow-methods"], b"POST")
            self.assertEqual(self.shared("POST", path), {b"vary": b"Origin"})
            self.assertEqual(self.shared("POST", path, some_listed=False), {})

    def test_everything_else_is_for_no_page(self) -> None:
        """Not even for a listed one."""
        for path in (b"/", b"/dev", b"/authx", b"/auth/x", b"/well-known/jwks.json"):
            self.assertEqual(self.shared("OPTIONS", path, PAGE), {})

    def test_a_preflight_asks_by_options_for_a_method(self) -> None:
        """One without the other is a plain request."""
        for method, asks, expected in (
            ("OPTIONS", True, True),
            ("OPTIONS", False, False),
            ("GET", True, False),
        ):
            request = Request(DummyChannel(), False)
            request.method = method.encode()
            if asks:
                request.requestHeaders.setRawHeaders(b"access-control-request-method", [b"POST"])
            self.assertEqual(is_preflight(request), expected)
