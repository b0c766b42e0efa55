"""Options: each from flag, environment, file or default, and every value that is refused."""

from dataclasses import fields
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from jwksd.config.options import OPTIONS
from jwksd.config.settings import IssuerSettings, ServerSettings, Settings, resolve
from jwksd.config.values import duration
from jwksd.errors import StartUpRefused


class ResolveTests(TestCase):
    def test_without_anything_all_are_defaults(self) -> None:
        """The defaults are those of the contract."""
        settings = resolve({}, {}, {})
        self.assertEqual(settings, Settings())
        self.assertEqual(
            (settings.server.port, settings.server.interface, settings.server.dev),
            (8080, "127.0.0.1", False),
        )
        self.assertEqual((settings.issuer.lifetime, settings.issuer.max_keys), (3600, 10_000))

    def test_flag_over_environment_over_file_over_default(self) -> None:
        """Each source gives way to the one before it."""
        file: dict[str, object] = {"lifetime": 30}
        environment = {"JWKSD_LIFETIME": "20s"}
        for flags, env, table, expected in (
            ({"lifetime": "10"}, environment, file, 10),
            ({}, environment, file, 20),
            ({}, {}, file, 30),
            ({}, {}, {}, 3600),
        ):
            with self.subTest(expected=expected):
                self.assertEqual(resolve(flags, env, table).issuer.lifetime, expected)

    def test_the_source_that_says_where_to_listen_overrules_the_others(self) -> None:
        """A --port on the command line stands instead of a listen in the environment."""
        environment = {"JWKSD_LISTEN": "unix:s"}
        settings = resolve({"port": "1"}, environment, {"interface": "::1"}).server
        expected = (1, "127.0.0.1", ())
        self.assertEqual((settings.port, settings.interface, settings.listen), expected)
        self.assertEqual(resolve({}, environment, {"port": 1}).server.listen, ("unix:s",))

    def test_every_option_has_a_place_in_the_settings(self) -> None:
        """Each is the server's or the issuer's, never both; and there are no other settings."""
        places = [row.name for kind in (ServerSettings, IssuerSettings) for row in fields(kind)]
        self.assertEqual(sorted(option.field for option in OPTIONS), sorted(places))

    def test_a_file_may_use_the_types_of_toml(self) -> None:
        """Numbers, booleans, texts and lists are read as their texts would be."""
        table: dict[str, object] = {"port": 0, "dev": True, "alg": ["RS256"], "lifetime": "1h"}
        settings = resolve({}, {}, table)
        self.assertEqual((settings.server.port, settings.server.dev), (0, True))
        self.assertEqual(settings.issuer.alg, ("RS256",))
        listening = resolve({}, {}, {"listen": ["tcp:1:interface=127.0.0.1", "unix:s"]})
        self.assertEqual(listening.server.listen, ("tcp:1:interface=127.0.0.1", "unix:s"))

    def test_flags_may_be_repeated_where_that_means_something(self) -> None:
        """Every --listen counts."""
        self.assertEqual(
            resolve({"listen": ["unix:a", "unix:b"]}, {}, {}).server.listen, ("unix:a", "unix:b")
        )

    def test_what_is_wrong_is_named_with_what_would_be_right(self) -> None:
        """One line says which option, which value, from where, and what is allowed."""
        for flags, environment, file, said in (
            ({"port": "99999"}, {}, {}, "--port='99999' must be a whole number from 0 to 65535"),
            ({"port": "-1"}, {}, {}, "whole number"),
            ({}, {"JWKSD_PORT": "tcp://10.0.0.1:80"}, {}, "JWKSD_PORT='tcp://10.0.0.1:80' must be"),
            ({"interface": ""}, {}, {}, "must be an IP address"),
            ({"listen": [""]}, {}, {}, "must not be empty"),
            ({"issuer": "http://x y"}, {}, {}, "must be a URL"),
            ({"issuer": "http://["}, {}, {}, "must be a URL"),
            ({"lifetime": "2d"}, {}, {}, "--lifetime (172800 s) must not be longer"),
            ({"alg": "none"}, {}, {}, "'none' is not known; known are RS256"),
            ({"alg": "RS256,RS256"}, {}, {}, "twice"),
            ({"rsa-bits": "1024"}, {}, {}, "2048 to 8192"),
            ({"lifetime": "1 h"}, {}, {}, "such as 90, 90s, 15m, 1h or 30d"),
            ({"issuer": "ftp://x"}, {}, {}, "must be a URL"),
            ({"issuer": "https://x/?a"}, {}, {}, "without query"),
            ({}, {"JWKSD_DEV": "yes"}, {}, "JWKSD_DEV='yes' must be true or false"),
            ({}, {}, {"prot": 1}, "unknown key 'prot'"),
            ({}, {}, {"port": 1.5}, "port in the file must be"),
            ({}, {}, {"lifetime": "x"}, "lifetime in the file='x'"),
            ({"listen": ["unix:a"], "port": "1"}, {}, {}, "instead of --port"),
            (
                {"reuse-port": "true"},
                {},
                {},
                "--reuse-port needs a --store that the processes share",
            ),
            (
                {"reuse-port": "true", "store": "sqlite:///x", "port": "0"},
                {},
                {},
                "--reuse-port needs a --port",
            ),
            ({"allowed-host": [""]}, {}, {}, "--allowed-host='' must be a host name such as"),
            ({"allowed-host": ["a", "b:80"]}, {}, {}, "--allowed-host='a,b:80' must be a host"),
            ({"allowed-host": ["http://a"]}, {}, {}, "without scheme, port and path"),
            ({"allowed-host": ["*.a.example"]}, {}, {}, "must be a host name"),
            ({"allowed-host": ["\u017f.example"]}, {}, {}, "must be a host name"),
            ({"allowed-host": ["a..b"]}, {}, {}, "must be a host name"),
            ({}, {}, {"allowed-host": ["a/"]}, "allowed-host in the file='a/' must be"),
            ({"cors-origin": [""]}, {}, {}, "--cors-origin='' must be an origin such as"),
            ({"cors-origin": ["https://a", "b"]}, {}, {}, "must be an origin such as https://app"),
            ({"cors-origin": ["https://a/"]}, {}, {}, "without a path"),
            ({"cors-origin": ["https://a b"]}, {}, {}, "without a path"),
            ({"cors-origin": ["https://u@a"]}, {}, {}, "without a path"),
            ({"cors-origin": ["https://a:65536"]}, {}, {}, "without a path"),
            ({"cors-origin": ["https://[1]"]}, {}, {}, "without a path"),
            ({"cors-origin": ["https://\u017f"]}, {}, {}, "without a path"),
            ({"cors-origin": ["*"]}, {}, {}, "without a path"),
            ({}, {"JWKSD_CORS_ORIGIN": "null"}, {}, "JWKSD_CORS_ORIGIN='null' must be an origin"),
            ({"policy": "daily"}, {}, {}, "must be per-token or rotating"),
            ({"propagation": "2d"}, {}, {}, "--propagation means something with --policy rotating"),
            (rotating(propagation="1h"), {}, {}, "--propagation (3600 s) must be at least 3900 s"),
            (rotating(stale_if_error="1d"), {}, {}, "--stale-if-error (86400 s)"),
            (rotating(retention="1d"), {}, {}, "--retention (86400 s) must be at least 86700 s"),
            (rotating(rotation_interval="1h"), {}, {}, "--rotation-interval (3600 s) must be"),
            ({"outage": "1h"}, {}, {}, "--outage means something with --policy rotating only"),
            (rotating(outage="-1"), {}, {}, "--outage='-1' must be a duration"),
            (
                rotating(store="sqlite:///f", retention="86700s"),
                {},
                {},
                "--retention (86700 s) must be at least 90300 s: --max-lifetime (86400 s) +"
                " --clock-skew (300 s) + --outage (3600 s)",
            ),
            ({"store": ""}, {}, {}, "--store must be memory, sqlite:///PATH or postgresql://"),
            ({"store": "sqlite://f"}, {}, {}, "--store must be memory"),
            ({}, {"JWKSD_STORE": "mysql://h/d"}, {}, "JWKSD_STORE must be memory"),
            ({}, {}, {"store": "keys.db"}, "store in the file must be memory"),
            ({"kek-file": [""]}, {}, {}, "--kek-file must be the name of a file"),
        ):
            with self.subTest(said=said), self.assertRaises(StartUpRefused) as caught:
                resolve(flags, environment, file)  # type: ignore[arg-type]
            self.assertIn(said, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception.code))

    def test_the_numbers_of_a_rotation_follow_from_one_another(self) -> None:
        """What is not given is made to fit what is."""
        schedule = resolve(rotating(max_lifetime="1h", propagation="2h"), {}, {}).issuer.schedule()
        self.assertEqual(
            (schedule.retention, schedule.stale_while_revalidate, schedule.stale_if_error),
            (3900, 3300, 0),
        )
        given_all = rotating(
            stale_while_revalidate="0", stale_if_error="10s", retention="9d", clock_skew="0"
        )
        schedule = resolve(given_all, {}, {}).issuer.schedule()
        self.assertEqual(
            (schedule.retention, schedule.stale_while_revalidate, schedule.stale_if_error),
            (9 * 86_400, 0, 10),
        )

    def test_a_store_with_nodes_keeps_replaced_keys_for_an_outage_longer(self) -> None:
        """A node that does not hear of a rotation signs on: R = L + S + outage."""
        stored = {"store": "postgresql://h/d"}
        for flags, retention, outage in (
            ({}, 86_700, 0),
            ({"outage": "9h"}, 86_700, 0),  # a store in memory is never away
            (stored, 90_300, 3600),
            ({**stored, "outage": "0"}, 86_700, 0),
            ({**stored, "outage": "1d", "propagation": "2d"}, 173_100, 86_400),
            ({"store": "sqlite:///f"}, 90_300, 3600),
        ):
            with self.subTest(flags=flags):
                schedule = resolve(rotating(**flags), {}, {}).issuer.schedule()
                self.assertEqual((schedule.retention, schedule.outage), (retention, outage))

    def test_kek_files_may_be_many(self) -> None:
        """By repeated flags, or as a list in the file; the order is kept."""
        self.assertEqual(resolve({"kek-file": ["b", "a"]}, {}, {}).issuer.kek_file, ("b", "a"))
        self.assertEqual(resolve({}, {}, {"kek-file": ["b", "a"]}).issuer.kek_file, ("b", "a"))
        self.assertEqual(resolve({}, {"JWKSD_KEK_FILE": "a"}, {}).issuer.kek_file, ("a",))

    def test_passwords_and_keys_are_never_shown(self) -> None:
        """Wherever a wrong value comes from, the line names the option and not the value."""
        secret = "hunter2-hunter2"
        wrong = f"postgres://user:{secret}@db.example/jwksd"
        kek = f"jwksd-kek-{secret}"
        for flags, environment, file in (
            ({"store": wrong}, {}, {}),
            ({"store": f"postgresql://user:{secret} @h/d"}, {}, {}),
            ({}, {"JWKSD_STORE": wrong}, {}),
            ({}, {}, {"store": wrong}),
            ({}, {}, {"store": {"url": wrong}}),
            ({}, {}, {"store": [wrong]}),
            ({"kek-file": [kek]}, {}, {}),
            ({}, {"JWKSD_KEK_FILE": kek}, {}),
            ({}, {}, {"kek-file": ["file", kek]}),
            ({}, {}, {"kek": kek}),
        ):
            with self.subTest(flags=flags, environment=environment, file=file):
                with self.assertRaises(StartUpRefused) as caught:
                    resolve(flags, environment, file)  # type: ignore[arg-type]
                self.assertNotIn(secret, str(caught.exception))

    @given(st.sampled_from([o.name for o in OPTIONS if not o.repeatable]), st.text(max_size=20))
    def test_any_text_is_taken_or_refused(self, name: str, text: str) -> None:
        """No text for any option leads to an error but ours."""
        try:
            self.assertIsInstance(resolve({name: text}, {}, {}), Settings)
        except StartUpRefused as refused:
            self.assertIn(name, str(refused))


def rotating(**flags: str) -> dict[str, str]:
    """Flags of a server with the rotating policy."""
    return {"policy": "rotating", **{name.replace("_", "-"): flags[name] for name in flags}}


class DurationTests(TestCase):
    @given(
        st.integers(1, 10**6),
        st.sampled_from([("", 1), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]),
    )
    def test_units_multiply(self, number: int, unit: tuple[str, int]) -> None:
        """A number with a unit is that many seconds."""
        self.assertEqual(duration(f"{number}{unit[0]}"), number * unit[1])

    def test_what_is_no_duration_is_refused(self) -> None:
        """Zero, negative, fractions, spaces and other units."""
        for text in ("", "0", "0h", "-1", "1.5h", "1 h", "1w", "h", "٣"):
            with self.subTest(text=text), self.assertRaises(ValueError):
                duration(text)
