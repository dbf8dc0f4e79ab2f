"""Random text of the expression language: mostly well-typed, some of it damaged."""

from collections.abc import Callable
from random import Random

DEVICE = [
    "device.driver",
    "device.attributes",
    "device.attributes['d.example.com']",
    "device.attributes['d.example.com'].a",
    "device.attributes['d.example.com'].v",
    "device.attributes['d.example.com'].?k",
    "device.capacity['d.example.com'].m",
    "device.capacity",
    "device.allowMultipleAllocations",
    "device",
]
STRINGS = [
    "",
    "a",
    "aaaaaaaaaaaaaaaaaaaaaaaa!",
    "d.example.com",
    "1.2.3",
    "1Gi",
    "10.0.0.1",
    "10.0.0.0/8",
    "é\u0301😀",
]
PATTERNS = [
    "a",
    "(a+)+$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(a|a)*b",
    "[",
    "a{1,1000}",
    "(?i)x",
    "\\\\d+",
    "(?<n>a)",
    ".*" * 20,
]
KINDS = ("bool", "int", "string", "list", "map", "double", "quantity", "semver", "dyn")
PIECES = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    ",",
    "?",
    ":",
    "!",
    "-",
    "&&",
    "||",
    "==",
    "'",
    '"',
    "\\",
    "0x",
    "1e9",
    "\n",
    "//",
    "\u0000",
    "in",
    "r'",
    "b'",
    "'''",
    "true",
    "null",
    "device",
    "has(",
    "all(",
]


class Expressions:
    """Expressions of one random source; `budget` bounds how large one gets."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.budget = 0
        self.variables: list[str] = []

    def text(self) -> str:
        """An expression, now and then damaged or pathological."""
        random = self.random
        if random.random() < 0.03:
            return random.choice(self._deep())
        self.budget = random.choice([5, 20, 60])
        self.variables = []
        found = self.of("bool")
        if random.random() < 0.3:
            for _ in range(random.randrange(1, 4)):
                at = random.randrange(len(found) + 1)
                until = min(len(found), at + random.choice([0, 0, 1, 5]))
                found = found[:at] + random.choice(PIECES) + found[until:]
        return found

    def _deep(self) -> list[str]:
        count = self.random.choice([10, 40, 300, 3000])
        return [
            "(" * count + "true" + ")" * count,
            "!" * count + "true",
            "[" * count + "]" * count + " == []",
            "true" + " && true" * count,
            "1" + "+1" * count + " == 1",
            "true ? " * count + "true" + " : false" * count,
            "device" + ".attributes" * count,
            "'" + "a" * (count * 4) + "' == ''",
            "{" + ",".join(f"'{each}': {each}" for each in range(count)) + "}.size() > 0",
            "[1].all(x, " * min(count, 60) + "true" + ")" * min(count, 60),
            self._nested(count),
        ]

    @staticmethod
    def _nested(count: int) -> str:
        depth = min(count, 9)
        values = ",".join("1" for _ in range(12))
        return f"[{values}].all(x, " * depth + "x == 1" + ")" * depth

    def of(self, kind: str) -> str:
        """An expression of this type, or by mistake of another."""
        random = self.random
        self.budget -= 1
        if random.random() < 0.04:
            kind = random.choice(KINDS)
        if self.variables and random.random() < 0.15:
            return random.choice(self.variables)
        if self.budget <= 0 or random.random() < 0.15:
            return self._leaf(kind)
        make: dict[str, Callable[[], str]] = {
            "bool": self._bool,
            "int": self._int,
            "string": self._string,
            "list": self._list,
            "map": self._map,
            "double": lambda: f"double({self.of(random.choice(['int', 'string']))})",
            "quantity": self._quantity,
            "semver": lambda: f"semver({self.of('string')})",
            "dyn": lambda: f"dyn({self.of(random.choice(KINDS[:-1]))})",
        }
        return make[kind]()

    def _leaf(self, kind: str) -> str:
        random = self.random
        if random.random() < 0.2:
            return random.choice(DEVICE)
        match kind:
            case "bool":
                return random.choice(["true", "false", "device.allowMultipleAllocations"])
            case "int":
                return random.choice(
                    ["0", "1", "-1", "9223372036854775807", "-9223372036854775808", "0xff", "7u"]
                )
            case "string":
                return random.choice(["device.driver", *(repr(each) for each in STRINGS)])
            case "list":
                return random.choice(["[]", "[1, 2]", "['a', 'b']", "[true]", "[[1]]", "[1, 'a']"])
            case "map":
                return random.choice(["{}", "{'a': 1}", "{1: 'a'}", "device.attributes['d.example.com']"])
            case "double":
                return random.choice(["1.5", "-0.0", "1e308", "1e-300"])
            case "quantity":
                return random.choice(["quantity('1Gi')", "device.capacity['d.example.com'].m"])
            case "semver":
                return random.choice(["semver('1.2.3')", "device.attributes['d.example.com'].v"])
        return random.choice(
            [
                "null",
                "dyn(1)",
                "optional.none()",
                "optional.of(1)",
                "duration('1h')",
                "timestamp('2026-01-01T00:00:00Z')",
            ]
        )

    def _bool(self) -> str:
        random, of = self.random, self.of
        kind = random.choice(KINDS[:-1])
        match random.randrange(17):
            case 0:
                return f"({of('bool')} && {of('bool')})"
            case 1:
                return f"({of('bool')} || {of('bool')})"
            case 2:
                return f"!{of('bool')}"
            case 3 | 4:
                return f"({of(kind)} {random.choice(['==', '!='])} {of(kind)})"
            case 5:
                kind = random.choice(["int", "string", "double", "bool"])
                return f"({of(kind)} {random.choice(['<', '<=', '>', '>='])} {of(kind)})"
            case 6:
                return f"({of(random.choice(['int', 'string']))} in {of(random.choice(['list', 'map']))})"
            case 7:
                return (
                    f"{of('string')}.{random.choice(['startsWith', 'endsWith', 'contains'])}({of('string')})"
                )
            case 8:
                return f"{of('string')}.matches(r{random.choice(PATTERNS)!r})"
            case 9:
                return self._loop(random.choice(["all", "exists", "exists_one"]), "bool")
            case 10:
                call = random.choice(["isGreaterThan", "isLessThan"])
                return f"{of('quantity')}.{call}({of('quantity')})"
            case 11:
                call = random.choice(["isGreaterThan", "isLessThan"])
                return f"{of('semver')}.{call}({of('semver')})"
            case 12:
                return f"({of('bool')} ? {of('bool')} : {of('bool')})"
            case 13:
                return (
                    f"{random.choice(['isQuantity', 'isSemver', 'isIP', 'isCIDR', 'isURL'])}({of('string')})"
                )
            case 14:
                call = random.choice(["contains", "equivalent", "intersects"])
                return f"sets.{call}({of('list')}, {of('list')})"
            case 15:
                return self._bound("bool")
            case _:
                return f"has({random.choice(DEVICE)})"

    def _int(self) -> str:
        random, of = self.random, self.of
        match random.randrange(6):
            case 0 | 1:
                return f"({of('int')} {random.choice(['+', '-', '*', '/', '%'])} {of('int')})"
            case 2:
                return f"{of(random.choice(['string', 'list', 'map']))}.size()"
            case 3:
                return f"int({of(random.choice(['string', 'double', 'int']))})"
            case 4:
                return f"{of('list')}.{random.choice(['sum', 'min', 'max'])}()"
            case _:
                return f"{of('string')}.{random.choice(['indexOf', 'lastIndexOf'])}({of('string')})"

    def _string(self) -> str:
        random, of = self.random, self.of
        match random.randrange(9):
            case 0:
                return f"({of('string')} + {of('string')})"
            case 1:
                return f"{of('string')}.{random.choice(['lowerAscii', 'upperAscii', 'trim', 'reverse'])}()"
            case 2:
                return f"{of('string')}.replace({of('string')}, {of('string')}, {of('int')})"
            case 3:
                return f"{of('string')}.substring({of('int')}, {of('int')})"
            case 4:
                return f"{of('list')}.join({of('string')})"
            case 5:
                kinds = ["%s", "%d", "%f", "%e", "%x", "%b", "%q", "%.99999f", "%%"]
                return f"'{''.join(random.choice(kinds) for _ in range(3))}'.format({of('list')})"
            case 6:
                return f"string({of(random.choice(['int', 'double', 'bool', 'quantity', 'semver']))})"
            case 7:
                return f"{of('string')}.find(r{random.choice(PATTERNS)!r})"
            case _:
                return f"{of('string')}.charAt({of('int')})"

    def _list(self) -> str:
        random, of = self.random, self.of
        match random.randrange(8):
            case 0:
                kind = random.choice(KINDS)
                return f"[{', '.join(of(kind) for _ in range(random.randrange(5)))}]"
            case 1:
                return f"({of('list')} + {of('list')})"
            case 2:
                return self._loop("map", random.choice(KINDS))
            case 3:
                return self._loop("filter", "bool")
            case 4:
                return f"{of('string')}.split({of('string')}, {of('int')})"
            case 5:
                return f"{of('string')}.findAll(r{random.choice(PATTERNS)!r}, {of('int')})"
            case 6:
                return f"{of('list')}.{random.choice(['sort', 'flatten', 'distinct', 'reverse'])}()"
            case _:
                return f"lists.range({random.choice(['3', '1000', '100000000', of('int')])})"

    def _map(self) -> str:
        random, of = self.random, self.of
        if random.random() < 0.7:
            kind = random.choice(["int", "string"])
            return "{" + ", ".join(f"{of(kind)}: {of('dyn')}" for _ in range(random.randrange(4))) + "}"
        return f"{of('map')}.transformMap(k, v, {of('dyn')})"

    def _quantity(self) -> str:
        random, of = self.random, self.of
        if random.random() < 0.5:
            return f"quantity({of('string')})"
        return f"{of('quantity')}.{random.choice(['add', 'sub'])}({of(random.choice(['quantity', 'int']))})"

    def _loop(self, macro: str, kind: str) -> str:
        over = self.of(self.random.choice(["list", "map"]))
        name = f"v{len(self.variables)}"
        self.variables.append(name)
        body = self.of(kind)
        self.variables.pop()
        return f"{over}.{macro}({name}, {body})"

    def _bound(self, kind: str) -> str:
        value = self.of(self.random.choice(KINDS))
        name = f"v{len(self.variables)}"
        self.variables.append(name)
        body = self.of(kind)
        self.variables.pop()
        return f"cel.bind({name}, {value}, {body})"
