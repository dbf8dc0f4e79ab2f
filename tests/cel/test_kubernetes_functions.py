"""Functions that Kubernetes adds: quantities, versions, addresses, URLs, named formats, authorization."""

from collections.abc import Callable
from typing import Any

import pytest

from aliquot.cel import AuthorizationQuery, Authorizer, Decision, Environment, EvaluationError, ResourceCheck

Evaluate = Callable[..., Any]


@pytest.mark.parametrize(
    "text",
    [
        "quantity('1Gi').isGreaterThan(quantity('1000Mi')) && quantity('1').isLessThan(quantity('2'))",
        "quantity('1Ki') == quantity('1024') && quantity('1') != quantity('2')",
        "quantity('1.5').compareTo(quantity('1500m')) == 0 && quantity('1').compareTo(quantity('2')) == -1",
        "quantity('50k').asInteger() == 50000",
        "quantity('50k').isInteger() && !quantity('1500m').isInteger()",
        "quantity('1500m').asApproximateFloat() == 1.5",
        "sign(quantity('-1')) == -1 && sign(quantity('0')) == 0",
        "quantity('1').add(quantity('500m')) == quantity('1500m') && quantity('1').add(2) == quantity('3')",
        "quantity('1').sub(quantity('500m')) == quantity('500m') && quantity('1').sub(2) == quantity('-1')",
        "isQuantity('1Gi') && !isQuantity('1GG')",
        "!isQuantity('') && !quantity('9223372036854775808').isInteger()",
        "semver('1.2.3').major() == 1 && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0').compareTo(semver('1.0.0-rc')) == 1",
        "semver('v1.2', true) == semver('1.2.0') && isSemver('1.2.3') && !isSemver('v1.2.3')",
        "isSemver('v1', true) && !isSemver('x', true) && semver('1.0.0+a') == semver('1.0.0+b')",
        # addresses
        "ip('192.168.0.1').family() == 4 && ip('::1').family() == 6",
        "isIP('10.0.0.1') && !isIP('10.0.0.256')",
        "!isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0') && !isIP('010.0.0.1') && !isIP('')",
        "ip.isCanonical('2001:db8::1') && !ip.isCanonical('2001:DB8::1')",
        "ip('0.0.0.0').isUnspecified() && ip('127.0.0.1').isLoopback() && ip('fe80::1').isLinkLocalUnicast()",
        "ip('169.254.1.1').isLinkLocalUnicast() && ip('224.0.0.1').isLinkLocalMulticast()",
        "!ip('224.0.1.1').isLinkLocalMulticast() && ip('ff02::1').isLinkLocalMulticast()",
        "ip('10.0.0.1').isGlobalUnicast()",
        "!ip('255.255.255.255').isGlobalUnicast() && !ip('ff00::1').isGlobalUnicast()",
        "string(ip('2001:DB8::1')) == '2001:db8::1'",
        "ip('1.2.3.4') == ip('1.2.3.4') && ip('1.2.3.4') != ip('1.2.3.5')",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsIP(ip('10.1.2.3'))",
        "!cidr('10.0.0.0/8').containsIP('11.0.0.1') && !cidr('10.0.0.0/8').containsIP('::1')",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR('10.0.0.0/8')",
        "cidr('10.0.0.0/8').containsCIDR(cidr('10.0.0.0/8')) && cidr('::/0').containsCIDR('2001:db8::/32')",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.1.2.3/8').ip() == ip('10.1.2.3')",
        "cidr('10.0.0.0/8').prefixLength() == 8 && string(cidr('10.0.0.0/8')) == '10.0.0.0/8'",
        "isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0/33') && !isCIDR('10.0.0.0') && !isCIDR('10.0.0.0/08')",
        "type(ip('1.2.3.4')) == net.IP && type(cidr('1.2.3.4/32')) == net.CIDR",
        # URLs
        "isURL('https://user@example.com:80/a?b=c#d') && !isURL('example.com')",
        "!isURL('../a') && isURL('/a')",
        "!isURL('https://a.example.com:xx/') && !isURL('https://a%zz/') && !isURL('') && !isURL(':/a')",
        "url('https://example.com:80/').getHost() == 'example.com:80' && url('/p').getHost() == ''",
        "url('https://example.com:80/').getHostname() == 'example.com'",
        "url('https://[::1]:80/').getHostname() == '::1'",
        "url('HTTPS://example.com/').getScheme() == 'https' && url('https://a:81').getPort() == '81'",
        "url('https://a/b c').getEscapedPath() == '/b%20c'",
        "url('https://a/b%20c').getEscapedPath() == '/b%20c'",
        "url('https://a/?k=1&k=2&x=').getQuery() == {'k': ['1', '2'], 'x': ['']}",
        "url('/').getQuery() == {}",
        "url('https://a') == url('https://a') && url('https://a') != url('https://b')",
        # formats
        "!format.dns1123Label().validate('my-label').hasValue()",
        "format.dns1123Label().validate('A').hasValue()",
        "format.named('dns1123Subdomain').value().validate('a.b') == optional.none()",
        "!format.named('nope').hasValue() && !format.dns1123LabelPrefix().validate('a-').hasValue()",
        "!format.qualifiedName().validate('example.com/MyName').hasValue()",
        "format.qualifiedName().validate('a/b/c').hasValue()",
        "format.qualifiedName().validate('/a').hasValue()",
        "!format.labelValue().validate('').hasValue() && format.labelValue().validate('a b').hasValue()",
        "format.dns1035Label().validate('1a').value()[0].contains('DNS-1035 label must consist of')",
        "!format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()",
        "format.uuid().validate('x').value() == ['does not match the UUID format']",
        "!format.byte().validate('aGVsbG8=').hasValue()",
        "format.byte().validate('*').value() == ['invalid base64']",
        "!format.date().validate('2024-02-29').hasValue() && format.date().validate('2023-02-29').hasValue()",
        "!format.datetime().validate('2024-02-29T00:00:00Z').hasValue()",
        "format.datetime().validate('x').hasValue()",
        "!format.uri().validate('https://example.com').hasValue()",
        "format.uri().validate('example').hasValue()",
        "format.dns1123Label() == format.named('dns1123Label').value()",
        "jsonpatch.escapeKey('k8s.io/a~b') == 'k8s.io~1a~0b'",
    ],
)
def test_functions_give_true(evaluate: Evaluate, text: str) -> None:
    assert evaluate(text) is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quantity('x') == quantity('1')", "'x' is not a quantity"),
        ("quantity('1500m').asInteger() == 1", "cannot convert value to integer"),
        ("semver('v1.0.0') == semver('1.0.0')", "is not a semantic version"),
        ("ip('1.2.3') == ip('1.2.3.4')", 'IP Address "1.2.3" parse error'),
        ("ip('::ffff:1.2.3.4').family() == 6", "IPv4-mapped IPv6 address"),
        ("ip('fe80::1%eth0').family() == 6", "with zone value is not allowed"),
        ("cidr('1.2.3.4').prefixLength() == 1", "network address parse error"),
        ("cidr('10.0.0.0/8').containsIP('x')", "parse error"),
        ("url('example') == url('/')", "URL parse error during conversion from string"),
        ("dyn('a').isGreaterThan(quantity('1'))", "no such overload"),
    ],
)
def test_functions_fail(evaluate: Evaluate, text: str, message: str) -> None:
    with pytest.raises(EvaluationError) as failed:
        evaluate(text)
    assert message in failed.value.message


def test_the_authorizer_asks_the_question_that_the_expression_spells(admission: Environment) -> None:
    asked: list[AuthorizationQuery] = []

    def decide(query: AuthorizationQuery) -> Decision:
        asked.append(query)
        return Decision(query.verb == "get", reason="told so", error="" if query.verb != "boom" else "no")

    values = {
        "authorizer": Authorizer(decide),
        "authorizer.requestResource": ResourceCheck(decide, AuthorizationQuery(resource="pods")),
    }
    text = (
        "authorizer.group('apps').resource('deployments').subresource('status').namespace('ns').name('n')"
        ".fieldSelector('a=b').labelSelector('c=d').check('get').allowed()"
    )
    assert admission.compile(text).evaluate(values) is True
    assert asked.pop() == AuthorizationQuery(
        verb="get", group="apps", resource="deployments", subresource="status", namespace="ns", name="n",
        field_selector="a=b", label_selector="c=d",
    )  # fmt: skip
    text = "authorizer.serviceAccount('ns', 'sa').path('/healthz').check('list').reason()"
    assert admission.compile(text).evaluate(values) == "told so"
    assert asked.pop() == AuthorizationQuery(verb="list", path="/healthz", service_account=("ns", "sa"))
    assert admission.compile("authorizer.requestResource.check('get').allowed()").evaluate(values) is True
    assert asked.pop().resource == "pods"
    text = "authorizer.requestResource.check('boom').errored()"
    assert admission.compile(text).evaluate(values) is True


def test_two_authorizer_checks_fit_the_cost_limit_and_three_do_not(admission: Environment) -> None:
    values = {"authorizer": Authorizer(lambda _: Decision(True))}
    check = "authorizer.path('/').check('get').allowed()"
    assert admission.compile(" && ".join([check] * 2)).evaluate(values) is True
    with pytest.raises(EvaluationError, match="actual cost limit exceeded"):
        admission.compile(" && ".join([check] * 3)).evaluate(values)
