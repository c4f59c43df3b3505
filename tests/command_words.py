"""Command lines in documents and other files: whether medseg knows what they say."""

import re
import shlex

import click

from medseg.cli import cli


def commands(text):
    """Return the words of each line that begins with ``medseg`` in a block of code."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines = [re.sub(r"^\s*(\$ )?(\.venv/bin/)?", "", line) for line in lines]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("medseg ")]


def unknown(words):
    """Return the words of a command line that name no command or option."""
    command, rest = cli, list(words[1:])
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        found = command.get_command(click.Context(command), name)
        if found is None:
            return [name]
        command = found
    known = {"--help"} | {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    given = [word.split("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)]
    return [word for word in given if word not in known and not re.fullmatch("-v+", word)]
