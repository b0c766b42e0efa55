"""The ``jwksd`` command: its help, its completion, and how wrong words are refused."""

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import TestCase

import click

from jwksd import __version__
from jwksd.cli import command as cli
from jwksd.config.options import OPTIONS
from tests.support.processes import CHECKOUT, environment


def run(*words: str) -> tuple[int, str, str]:
    """The exit code of ``jwksd``, and what it prints to stdout and stderr."""
    out, error = StringIO(), StringIO()
    code = 0
    with redirect_stdout(out), redirect_stderr(error):
        try:
            cli.main(words)
        except SystemExit as end:
            code = int(str(end.code))
    return code, out.getvalue(), error.getvalue()


def commands(group: click.Group, *path: str) -> list[list[str]]:
    """The words of every command and group, of jwksd itself first."""
    found = [list(path)]
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += commands(command, *path, name)
        else:
            found.append([*path, name])
    return found


class HelpTests(TestCase):
    def test_every_command_has_its_help(self) -> None:
        """By -h, by --help and by the command help, the same: its usage, and a line of meaning."""
        for words in commands(cli.root):
            with self.subTest(words=words):
                code, short, error = run(*words, "-h")
                self.assertEqual((code, error), (0, ""))
                self.assertEqual(run(*words, "--help"), (0, short, ""))
                self.assertEqual(run("help", *words), (0, short, ""))
                self.assertTrue(short.startswith(" ".join(["Usage: jwksd", *words])), short)
                self.assertRegex(short.splitlines()[2], r"\A  [A-Z].+")

    def test_every_command_has_our_version(self) -> None:
        """It is jwksd's, and ends the command with 0."""
        for words in commands(cli.root):
            with self.subTest(words=words):
                self.assertEqual(run(*words, "--version"), (0, f"jwksd {__version__}\n", ""))

    def test_usage_says_what_a_command_needs(self) -> None:
        """The options without which it does nothing stand in its usage line."""
        for words, said in (
            (["kek", "new"], "Usage: jwksd kek new > FILE"),
            (["kek", "rewrap"], "Usage: jwksd kek rewrap --store URL --kek-file FILE"),
            (["keys", "list"], "Usage: jwksd keys list --store URL [--json]"),
            (["keys", "import"], "jwksd keys import --store URL --kek-file FILE [--as ALG] KEY"),
            (["keys", "revoke"], "Usage: jwksd keys revoke --store URL KID"),
        ):
            self.assertIn(said, run(*words, "-h")[1].splitlines()[0])

    def test_a_group_alone_prints_its_help(self) -> None:
        """To stderr, and ends with 2, so that a script does not take it for done."""
        for words in ([], ["keys"], ["kek"]):
            self.assertEqual(run(*words), (2, "", run(*words, "-h")[1]))

    def test_the_help_of_the_server_has_every_option(self) -> None:
        """Each under a heading, with its default."""
        text = run("serve", "-h")[1]
        for option in OPTIONS:
            self.assertRegex(text, rf"(?m)^  (-\w, )?--{option.name}( |$)")
        flat = " ".join(text.split())
        for part in ("Where it listens:", "Where keys are kept:", "(default: 10000)", "-p, --port"):
            self.assertIn(part, flat)


class WrongWordsTests(TestCase):
    def test_wrong_words_are_one_line(self) -> None:
        """It says what is wrong, what was probably meant, and where the help is; exit code 2."""
        for words, said in (
            (["explode"], "Unknown command: explode (jwksd --help lists the commands)"),
            (["serv"], "Unknown command: serv; did you mean serve? (jwksd --help"),
            (["keys", "lst"], "did you mean list? (jwksd keys --help lists the commands)"),
            (["kek", "rewarp"], "did you mean rewrap?"),
            (["help", "keys", "lst"], "did you mean list? (jwksd keys --help"),
            (["help", "serve", "x"], "jwksd serve has no commands"),
            (["--explode"], "option --explode not recognized (jwksd --help lists the options)"),
            (["serve", "--isuer", "x"], "did you mean --issuer? (jwksd serve --help"),
            (["serve", "--kek"], "did you mean --kek-file?"),
            (["keys", "list", "--jsn"], "did you mean --json? (jwksd keys list --help"),
            (["serve", "--port"], "Option '--port' requires an argument (jwksd serve --help"),
            (["serve", "--dev=yes"], "'--dev' does not take a value"),
            (["keys", "list", "more"], "Wrong number of arguments"),
            (["keys", "revoke"], "Missing argument 'KID'"),
            (["completion", "tcsh"], "'bash', 'zsh', 'fish'"),
            (["serve", "--port", "abc"], "--port='abc' must be a whole number"),
            (["serve", "--policy", "daily"], "--policy='daily' must be per-token or rotating"),
        ):
            with self.subTest(words=words):
                code, out, error = run(*words)
                self.assertEqual((code, out), (2, ""))
                self.assertRegex(error, r"\Ajwksd: [^\n]+\n\Z")
                self.assertIn(said, error)

    def test_what_is_too_much_is_not_quoted(self) -> None:
        """A password or a key that was meant for an option is not shown to everyone."""
        for words in (["serve"], ["keys", "list"], ["kek", "new"]):
            self.assertNotIn("hunter2", "".join(map(str, run(*words, "jwksd-kek-hunter2"))))


class CompletionTests(TestCase):
    def test_bash_completes_commands_and_options(self) -> None:
        """The script that is printed, run in bash."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        program = folder / "jwksd"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m jwksd "$@"\n')
        program.chmod(0o700)
        for words, expected in (
            (["jwksd", "ke"], {"keys", "kek"}),
            (["jwksd", "keys", "re"], {"revoke"}),
            (
                ["jwksd", "serve", "--allow-remote"],
                {"--allow-remote-minting", "--allow-remote-dev"},
            ),
            (["jwksd", "completion", ""], {"bash", "zsh", "fish"}),
        ):
            with self.subTest(words=words):
                typed = " ".join(f"'{word}'" for word in words)
                script = (
                    'eval "$(jwksd completion bash)"\n'
                    f"COMP_WORDS=({typed}) COMP_CWORD={len(words) - 1}\n"
                    '_jwksd_completion jwksd\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
                )
                path = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(CHECKOUT)}
                done = subprocess.run(
                    ["bash", "-euc", script],
                    env=environment() | path,
                    capture_output=True,
                    text=True,
                    timeout=60,
                )
                self.assertEqual(done.stderr, "")
                self.assertEqual(set(done.stdout.split()), expected)

    def test_every_shell_has_its_script(self) -> None:
        """Each names the command, and needs no such shell to be printed."""
        for shell in ("bash", "zsh", "fish"):
            code, out, error = run("completion", shell)
            self.assertEqual((code, error), (0, ""))
            self.assertIn(f"_JWKSD_COMPLETE={shell}_complete", out)


class ImportTests(TestCase):
    """What is loaded, in a Python of its own."""

    def loaded(self, module: str) -> set[str]:
        """The names of all modules after one is imported."""
        program = f"import sys, {module}; print(*sys.modules)"
        return set(subprocess.check_output([sys.executable, "-c", program], text=True).split())

    def test_the_command_loads_no_server_before_it_is_asked_to_serve(self) -> None:
        """So help and completion are there at once."""
        heavy = {"twisted.web.server", "twisted.internet.defer", "sqlalchemy", "jwksd.tap"}
        self.assertEqual(self.loaded("jwksd.cli.command") & heavy, set())

    def test_twistd_does_not_load_what_only_the_command_needs(self) -> None:
        """The start of the daemon does not wait for it."""
        self.assertNotIn("click", self.loaded("jwksd.tap"))
