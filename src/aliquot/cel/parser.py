"""From text to syntax tree: a Pratt parser over the grammar of the CEL specification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aliquot.cel.errors import CompileError, Issue, Source
from aliquot.cel.lexer import LexicalError, Token, tokenize
from aliquot.cel.macros import MacroError, expand
from aliquot.cel.syntax import (
    Call,
    Entry,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    Select,
    Struct,
    StructField,
)

__all__ = ["MAX_EXPRESSION_LENGTH", "MAX_NESTING", "parse"]

MAX_EXPRESSION_LENGTH: Final = 10 * 1024
"""Longest accepted text in bytes of UTF-8 (resource.k8s.io CELSelectorExpressionMaxLength)."""

MAX_NESTING: Final = 100
"""Deepest accepted tree, after macro expansion; cel-go stops at a parser recursion of 250."""

MAX_BRACKETS: Final = 50
"""Brackets of any kind within one another: each costs the parser several Python frames."""

_RELATION: Final = 3
_SUM: Final = 4
_PRODUCT: Final = 5
_BINDING: Final = {
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), _RELATION),
    **dict.fromkeys("+-", _SUM),
    **dict.fromkeys("*/%", _PRODUCT),
}
_RESERVED: Final = frozenset(
    {
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
    }
    | {"namespace", "null", "package", "return", "true", "var", "void", "while"}
)
_FIELD_RESERVED: Final = frozenset({"in", "true", "false", "null"})
_EXPECTED: Final = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', "
    "NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
_INT_MAX: Final = 2**63 - 1


class _SyntaxError(Exception):
    def __init__(self, at: int, message: str) -> None:
        super().__init__(at, message)
        self.at = at
        self.message = message


def parse(text: str, *, two_variables: bool = True) -> tuple[Node, Source]:
    """Parse `text`, expanding macros; raise CompileError with one issue.

    `two_variables` enables the comprehensions over index and element (Kubernetes 1.32 and later).
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_EXPRESSION_LENGTH:
        message = f"expression is {size} bytes long, more than the {MAX_EXPRESSION_LENGTH} allowed"
        raise CompileError((Issue(1, 1, message),), message)
    source = Source(text)
    try:
        return _Parser(tokenize(text), two_variables=two_variables).parse(), source
    except (_SyntaxError, LexicalError, MacroError) as failure:
        raise CompileError((source.issue(failure.at, failure.message),)) from None


class _Parser:
    def __init__(self, tokens: list[Token], *, two_variables: bool) -> None:
        self._tokens = tokens
        self._index = 0
        self._nesting = 0
        self._two_variables = two_variables

    def parse(self) -> Node:
        node = self._expression()
        token = self._peek()
        if token.kind != "end":
            raise _SyntaxError(token.at, f"Syntax error: mismatched input '{token.text}' expecting <EOF>")
        return node

    def _peek(self) -> Token:
        return self._tokens[self._index]

    def _next(self) -> Token:
        token = self._tokens[self._index]
        if token.kind != "end":
            self._index += 1
        return token

    def _accept(self, kind: str) -> Token | None:
        return self._next() if self._peek().kind == kind else None

    def _expect(self, kind: str) -> Token:
        token = self._peek()
        if token.kind != kind:
            raise _SyntaxError(token.at, f"Syntax error: mismatched input '{token.text}' expecting '{kind}'")
        return self._next()

    def _bounded(self, node: Node) -> Node:
        if node.depth > MAX_NESTING:
            raise _SyntaxError(node.at, f"expression recursion limit exceeded: {MAX_NESTING}")
        return node

    def _expression(self) -> Node:
        self._nesting += 1
        if self._nesting > MAX_BRACKETS:
            raise _SyntaxError(self._peek().at, f"expression recursion limit exceeded: {MAX_BRACKETS}")
        # A ternary's last branch may be another ternary: collected here, built from the right.
        pending: list[tuple[Token, Node, Node]] = []
        node = self._disjunction()
        while (question := self._accept("?")) is not None:
            chosen = self._disjunction()
            self._expect(":")
            pending.append((question, node, chosen))
            node = self._disjunction()
        for question, condition, chosen in reversed(pending):
            node = self._bounded(Call(question.at, "_?_:_", [condition, chosen, node]))
        self._nesting -= 1
        return node

    def _disjunction(self) -> Node:
        return self._chain("||", "_||_", self._conjunction)

    def _conjunction(self) -> Node:
        return self._chain("&&", "_&&_", self._binary)

    def _chain(self, operator: str, function: str, term: Callable[[], Node]) -> Node:
        terms = [term()]
        places: list[int] = []
        while (token := self._accept(operator)) is not None:
            places.append(token.at)
            terms.append(term())
        return self._bounded(self._balanced(function, terms, places, 0, len(places) - 1))

    def _binary(self, minimum: int = _RELATION) -> Node:
        left = self._unary()
        while True:
            token = self._peek()
            operator = token.text if token.kind == "name" and token.text == "in" else token.kind
            binding = _BINDING.get(operator, 0)
            if binding < minimum:
                return left
            self._next()
            right = self._binary(binding + 1) if binding < _PRODUCT else self._unary()
            name = "@in" if operator == "in" else f"_{operator}_"
            left = self._bounded(Call(token.at, name, [left, right]))

    def _balanced(self, function: str, terms: list[Node], places: list[int], low: int, high: int) -> Node:
        """A tree over terms[low..high+1], shallow however long the chain is."""
        if low > high:
            return terms[low]
        middle = (low + high + 1) // 2
        left = self._balanced(function, terms, places, low, middle - 1)
        right = self._balanced(function, terms, places, middle + 1, high)
        return Call(places[middle], function, [left, right])

    def _unary(self) -> Node:
        token = self._peek()
        if token.kind == "!":
            count = self._repeated("!")
            operand = self._member()
            return self._bounded(Call(token.at, "!_", [operand])) if count % 2 else operand
        if token.kind == "-":
            if self._tokens[self._index + 1].kind in ("integer", "literal"):
                return self._member()
            count = self._repeated("-")
            operand = self._member()
            return self._bounded(Call(token.at, "-_", [operand])) if count % 2 else operand
        return self._member()

    def _repeated(self, kind: str) -> int:
        count = 0
        while self._accept(kind) is not None:
            count += 1
        return count

    def _member(self) -> Node:
        node = self._primary()
        while True:
            token = self._peek()
            if token.kind == ".":
                self._next()
                node = self._bounded(self._dotted(node, token.at))
            elif token.kind == "[":
                self._next()
                function = "_[?_]" if self._accept("?") else "_[_]"
                index = self._expression()
                self._expect("]")
                node = self._bounded(Call(token.at, function, [node, index]))
            else:
                return node

    def _dotted(self, target: Node, at: int) -> Node:
        if self._accept("?"):
            name = self._field_name()
            return Call(at, "_?._", [target, Literal(name.at, name.text)])
        name = self._field_name()
        opening = self._accept("(")
        if opening is None:
            return Select(at, target, name.text)
        args = self._arguments()
        return expand(opening.at, name.text, target, args, two_variables=self._two_variables)

    def _field_name(self) -> Token:
        token = self._peek()
        if token.kind != "name" or token.text in _FIELD_RESERVED:
            raise _SyntaxError(token.at, f"Syntax error: no viable alternative at input '.{token.text}'")
        return self._next()

    def _arguments(self) -> list[Node]:
        args: list[Node] = []
        if self._accept(")"):
            return args
        while True:
            args.append(self._expression())
            if self._accept(")"):
                return args
            self._expect(",")

    def _primary(self) -> Node:
        token = self._next()
        if token.kind == "-" and self._peek().kind in ("integer", "literal"):
            return self._number(self._next(), negative=True, at=token.at)
        if token.kind in ("integer", "literal"):
            return self._number(token, negative=False, at=token.at)
        if token.kind == "(":
            node = self._expression()
            self._expect(")")
            return node
        if token.kind == "[":
            return self._list(token.at)
        if token.kind == "{":
            return self._map(token.at)
        if token.kind == ".":
            token = self._next()
            if token.kind == "name" and token.text not in _FIELD_RESERVED:
                return self._name(token, "." + token.text)
        elif token.kind == "name":
            return self._name(token, token.text)
        reason = f"mismatched input '{token.text}' expecting" if token.kind == "end" else (
            f"extraneous input '{token.text}' expecting"
        )  # fmt: skip
        raise _SyntaxError(token.at, f"Syntax error: {reason} {_EXPECTED}")

    def _number(self, token: Token, *, negative: bool, at: int) -> Node:
        value = token.value
        if token.kind == "integer":
            assert isinstance(value, int)
            if value > _INT_MAX + negative:
                raise _SyntaxError(at, "Syntax error: invalid int literal")
            return Literal(at, -value if negative else value)
        if negative:
            if not isinstance(value, float):
                return self._bounded(Call(at, "-_", [Literal(token.at, value)]))
            value = -value
        return Literal(at, value)

    def _name(self, token: Token, name: str) -> Node:
        if token.text in ("true", "false", "null"):
            return Literal(token.at, {"true": True, "false": False, "null": None}[token.text])
        if token.text in _RESERVED:
            raise _SyntaxError(token.at, f"reserved identifier: {token.text}")
        opening = self._accept("(")
        if opening is not None:
            args = self._arguments()
            return expand(opening.at, name, None, args, two_variables=self._two_variables)
        end = self._struct_name_end()
        if end is None:
            return Ident(token.at, name)
        while self._index < end:
            self._expect(".")
            name += "." + self._next().text
        return self._struct(name)

    def _struct_name_end(self) -> int | None:
        """The index of the `{` if the name just read goes on as `a.b.C{`."""
        index = self._index
        while self._tokens[index].kind == "." and self._tokens[index + 1].kind == "name":
            index += 2
        return index if self._tokens[index].kind == "{" else None

    def _struct(self, name: str) -> Node:
        opening = self._expect("{")
        fields: list[StructField] = []
        while not self._accept("}"):
            optional = self._accept("?") is not None
            token = self._field_name()
            colon = self._expect(":")
            fields.append(StructField(colon.at, token.text, self._expression(), optional=optional))
            if not self._accept(","):
                self._expect("}")
                break
        return self._bounded(Struct(opening.at, name, fields))

    def _list(self, at: int) -> Node:
        elements: list[Node] = []
        optional: set[int] = set()
        while not self._accept("]"):
            if self._accept("?"):
                optional.add(len(elements))
            elements.append(self._expression())
            if not self._accept(","):
                self._expect("]")
                break
        return self._bounded(ListNode(at, elements, frozenset(optional)))

    def _map(self, at: int) -> Node:
        entries: list[Entry] = []
        while not self._accept("}"):
            optional = self._accept("?") is not None
            key = self._expression()
            self._expect(":")
            entries.append(Entry(key, self._expression(), optional=optional))
            if not self._accept(","):
                self._expect("}")
                break
        return self._bounded(MapNode(at, entries))
