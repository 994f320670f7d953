"""The prompt of `debug.breakpoint`: commands on frames whose variables have values again."""

from __future__ import annotations

import cmd
import linecache
from types import CodeType
from typing import Any, NamedTuple

_AROUND = 5  # lines shown before and after the current one


class Frame(NamedTuple):
    """A place in the user's code, and the global names there."""

    code: CodeType
    line: int
    names: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.code.co_filename}:{self.line} ({self.code.co_name})"


class Quit(Exception):
    """The user asked the program to stop, at the prompt of debug.breakpoint."""


class Prompt:
    """The callback: given the variables of each frame, innermost first, it asks for commands."""

    def __init__(self, frames: list[Frame], stdin: Any = None, stdout: Any = None) -> None:
        self.frames, self.stdin, self.stdout = frames, stdin, stdout
        self.__name__ = "breakpoint"

    def __call__(self, *variables: dict[str, Any]) -> None:
        _Commands(self.frames, variables, self.stdin, self.stdout).cmdloop()


class _Commands(cmd.Cmd):
    """One command per method; its docstring is its help."""

    prompt = "(debug) "

    def __init__(self, frames: Any, variables: Any, stdin: Any, stdout: Any) -> None:
        super().__init__(stdin=stdin, stdout=stdout)
        self.use_rawinput = stdin is None
        self.frames, self.variables, self.position = frames, variables, 0

    def say(self, text: Any) -> None:
        self.stdout.write(f"{text}\n")

    def emptyline(self) -> bool:
        return False

    def default(self, line: str) -> None:
        self.do_p(line)

    def do_EOF(self, _: str) -> bool:
        """The end of the input: continue."""
        return True

    def do_p(self, expression: str) -> None:
        """p expression: its value, with the variables of this frame."""
        if not self.frames:
            return self.say("no variables here")
        try:
            names = self.frames[self.position].names
            self.say(eval(expression, dict(names), dict(self.variables[self.position])))
        except Exception as error:
            self.say(f"{type(error).__name__}: {error}")

    def do_locals(self, _: str) -> None:
        """locals: the variables of this frame."""
        for name, value in self.variables[self.position].items():
            self.say(f"{name} = {value!r}")

    def do_w(self, _: str) -> None:
        """w: where we are; the current frame is marked."""
        for i, frame in reversed(list(enumerate(self.frames))):
            self.say(f"{'>' if i == self.position else ' '} {frame}")

    def do_l(self, _: str) -> None:
        """l: the lines around this place."""
        frame = self.frames[self.position]
        for n in range(max(frame.line - _AROUND, 1), frame.line + _AROUND + 1):
            text = linecache.getline(frame.code.co_filename, n).rstrip()
            if text or n <= frame.line:
                self.say(f"{'>' if n == frame.line else ' '} {n:4} {text}")

    def _move(self, step: int) -> None:
        if 0 <= self.position + step < len(self.frames):
            self.position += step
            self.say(self.frames[self.position])
        else:
            self.say("there is no further frame")

    def do_u(self, _: str) -> None:
        """u: up, to the caller."""
        self._move(1)

    def do_d(self, _: str) -> None:
        """d: down, to what this frame called."""
        self._move(-1)

    def do_c(self, _: str) -> bool:
        """c: continue."""
        return True

    def do_q(self, _: str) -> None:
        """q: stop the program."""
        raise Quit("stopped at the prompt of debug.breakpoint.")
