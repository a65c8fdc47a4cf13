"""What the checkers share: which files there are, and their text without comments and literals."""

import os
import re
import subprocess
import sys

CODE_FOLDERS = ("include", "src", "tests", "bench", "examples")


def root_from_arguments(arguments):
    """The tree to check: the first argument, or the one that this script lies in."""
    if arguments:
        return os.path.abspath(arguments[0])
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files(root, folders=CODE_FOLDERS, suffixes=(".h", ".cc")):
    """Paths relative to root, sorted."""
    found = []
    for folder in folders:
        for where, _, names in os.walk(os.path.join(root, folder)):
            for name in names:
                if name.endswith(suffixes):
                    found.append(os.path.relpath(os.path.join(where, name), root))
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


_TOKEN = re.compile(
    r'R"(?P<tag>[^(\s]*)\((?s:.*?)\)(?P=tag)"'
    r"|//[^\n]*|/\*(?s:.*?)\*/"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f_])'(?:\\.|[^'\\\n])+'"
)


def strip(text):
    """The code alone: comments and literals become blanks, lines stay where they are."""

    def blank(match):
        token = match.group(0)
        if token.startswith('"') and text[: match.start()].rpartition("\n")[2].lstrip().startswith("#include"):
            return token
        return re.sub(r"[^\n]", " ", token)

    return _TOKEN.sub(blank, text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def includes(text):
    """(line, name, quoted) of each #include."""
    result = []
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            result.append((number, match.group(2), match.group(1) == '"'))
    return result


def finish(name, problems, what):
    """Prints the verdict and ends the program."""
    for problem in problems:
        print(problem)
    if problems:
        print(f"{name}: {len(problems)} problem(s)")
        sys.exit(1)
    print(f"{name}: {what}, ok")
    sys.exit(0)


def run_parallel(commands, jobs=2):
    """Runs shell-free commands, `jobs` at a time; yields (index, exit status, output)."""
    waiting = list(enumerate(commands))
    running = []
    while waiting or running:
        while waiting and len(running) < jobs:
            index, command = waiting.pop(0)
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            running.append((index, process))
        index, process = running.pop(0)
        output, _ = process.communicate()
        yield index, process.returncode, output
