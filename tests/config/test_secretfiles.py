"""Key-encryption keys: where they are found, and which files are refused."""

from pathlib import Path

from jwksd.config.secretfiles import load_keks
from jwksd.jose.envelopes import write_kek
from tests.support.secretfiles import SECRET, SecretsTestCase


class KekTests(SecretsTestCase):
    def test_keks_come_from_files_then_the_variable_then_the_credential(self) -> None:
        """All that are given count, in this order: the first encrypts."""
        texts = list(map(write_kek, self.keks))
        files = [self.file("b", texts[0]), self.file("a", f"# old\n{texts[1]}\n", 0o400)]
        self.file("jwksd-kek", texts[3], 0o400)
        environment = {"JWKSD_KEK": texts[2], "CREDENTIALS_DIRECTORY": str(self.folder)}
        found = load_keks(files, environment)
        self.assertEqual([kek["k"] for kek in found], [kek["k"] for kek in self.keks])
        self.assertEqual(
            [kek["k"] for kek in load_keks([], environment)], [kek["k"] for kek in self.keks[2:]]
        )

    def test_without_any_there_is_none(self) -> None:
        """Nothing given, and a service with other credentials than ours."""
        self.assertEqual(load_keks([], {}), [])
        self.assertEqual(load_keks([], {"CREDENTIALS_DIRECTORY": str(self.folder)}), [])

    def test_a_credential_is_as_systemd_makes_it(self) -> None:
        """Its ACL for the service's user shows as read permission of the group."""
        name = self.file("jwksd-kek", write_kek(self.keks[0]), 0o440)
        environment = {"CREDENTIALS_DIRECTORY": str(self.folder)}
        self.assertEqual(len(load_keks([], environment)), 1)
        Path(name).chmod(0o444)
        self.assertIn("can be read by others", self.refusal(load_keks, [], environment))

    def test_files_that_others_can_read_are_refused(self) -> None:
        """Or write, or search: any permission of somebody else."""
        for mode in (0o640, 0o604, 0o620, 0o601, 0o666):
            with self.subTest(mode=oct(mode)):
                name = self.file("kek", write_kek(self.keks[0]), mode)
                line = self.refusal(load_keks, [name], {})
                self.assertEqual(line, f"jwksd: {name} can be read by others: chmod 600 {name}")

    def test_what_holds_no_keks_is_named_by_its_place(self) -> None:
        """Wrong text, no text, no file, a folder; the variable too."""
        kek = write_kek(self.keks[0])
        for said, text in (
            ("kek holds no key-encryption keys: line 2 is no key", f"{kek}\n{SECRET}\n"),
            ("kek holds no key-encryption keys: there is no key in it", "\n# none\n"),
            ("kek holds no key-encryption keys: it is no text", b"\xff\xfe" + kek.encode()),
        ):
            self.assertIn(said, self.refusal(load_keks, [self.file("kek", text)], {}))
        none = str(self.folder / "none")
        self.assertIn(f"cannot read {none}: No such file", self.refusal(load_keks, [none], {}))
        self.folder.chmod(0o700)
        line = self.refusal(load_keks, [str(self.folder)], {})
        self.assertIn("Is a directory", line)
        for text in ("", SECRET, self.keks[0]["k"], kek[:-1]):
            line = self.refusal(load_keks, [], {"JWKSD_KEK": text})
            self.assertIn("JWKSD_KEK holds no key-encryption keys", line)
