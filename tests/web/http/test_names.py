"""Names: which ones are known ones but for their spelling, and which are others."""

from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from jwksd.web.http.names import did_you_mean, meant

KNOWN = ("expired", "alg", "lifetime", "claims", "header", "defect", "retry_after")

MISSPELT = {
    "expired": (
        *("Expired", "EXPIRED", "eXpIrEd", "expired[]", "expired[0]", "expired[a][b]", "[expired]"),
        *(" expired", "expired ", "expired\n", "expired.", "expired.x", "expired:", "expired=true"),
        *("-expired", "--expired", "$expired", '"expired"', "'expired'", "(expired)", "?expired"),
        *("exp\u200bired", "ex\0pired", "\ufeffexpired", "expired\u200b", "expired\0"),
        *("exp_ired", "ex-pired", "_expired"),
        *("ｅｘｐｉｒｅｄ", "expiréd", "e\u0301xpired", "expırêd"),  # noqa: RUF001
        *("expire", "xpired", "expird", "expiredd", "expires", "Expires", "expried", "xepired"),
        *("expirde", "expited", "exxpired", "\u0435xpired", '{"expired":true}', "{expired:true}"),
    ),
    "alg": ("ALG", "Alg", "alg[]", "alg.", " alg", "a_l_g", "a-lg", "álg"),
    "lifetime": ("life_time", "life-time", "lifeTime", "LifeTime", "lifetimes", "liftime"),
    "claims": ("claim", "Claims[sub]", "claims.sub", "claims[sub]", "cliams", "claim[aud]"),
    "header": ("headers", "Header", "header[typ]", "headre"),
    "defect": ("defects", "DEFECT", "deffect", "defekt"),
    "retry_after": ("Retry-After", "retryAfter", "retry-after", "RETRY_AFTER", "retryafer"),
}

OTHERS = (
    *("", " ", "[]", "username", "password", "scope", "client_id", "grant_type", "audience"),
    *("exp", "algo", "alh", "al", "lag", "algorithm", "expiry", "expired_at", "expired2x", "life"),
    *(
        "exiprad",
        "exipried",
        "exabred",
        "exzzred",
        "exipd",
        "xpire",
        "claimant",
        "head",
        "deflect2",
        "user[name]",
        "x" * 10_000,
        "é",
        "\0",
        "_",
        "-",
    ),
)


class NamesTests(TestCase):
    def test_a_misspelt_name_is_recognized(self) -> None:
        """By case, by what stands around it, by hyphens, and long ones by a letter."""
        for right, names in MISSPELT.items():
            for name in names:
                with self.subTest(name=name):
                    self.assertEqual(meant(name, KNOWN), right)
                    self.assertEqual(did_you_mean(name, KNOWN), f" (did you mean {right}?)")

    def test_other_names_are_others(self) -> None:
        """Two letters are another word, and so is one in a name of less than five."""
        for name in OTHERS:
            with self.subTest(name=name[:40]):
                self.assertIsNone(meant(name, KNOWN))
                self.assertEqual(did_you_mean(name, KNOWN), "")

    @given(st.sampled_from([name for name in KNOWN if len(name) >= 5]), st.data(), st.booleans())
    def test_any_one_letter_is_forgiven(self, name: str, data: st.DataObject, upper: bool) -> None:
        """Left out, added, changed, or swapped with its neighbour, at any place."""
        place = data.draw(st.integers(0, len(name) - 1))
        letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789"))
        before, after = name[:place], name[place:]
        for wrong in (
            before + after[1:],
            before + letter + after,
            before + letter + after[1:],
            before + after[1:2] + after[:1] + after[2:],
        ):
            self.assertEqual(meant(wrong.upper() if upper else wrong, KNOWN), name, wrong)

    @given(st.text(max_size=40))
    def test_any_text_is_a_name(self, text: str) -> None:
        """Nothing that a client may call a field makes this fail."""
        self.assertIn(meant(text, KNOWN), (None, *KNOWN))
