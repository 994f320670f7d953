"""Nodes of trees that the tests of files save: a namedtuple and a registered dataclass."""

import dataclasses
from typing import Any, NamedTuple

from funcgrad import tree_util


class Pair(NamedTuple):
    left: Any
    right: Any


@tree_util.register_dataclass
@dataclasses.dataclass
class Line:
    slope: Any
    name: str = dataclasses.field(default="", metadata={"static": True})
