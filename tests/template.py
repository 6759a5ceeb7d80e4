#!/usr/bin/env python3
"""Checks the resources of template.yaml for every combination of endpoint, destinations and options.

Covers the permissions of the role, the function's environment variables, the alarms, the dashboard, and the parameters
that the rules refuse. Needs the packages that `sam` installs: SAM's translator and PyYAML. Uses no network and no AWS
account.

    python tests/template.py [TEMPLATE]
"""

import itertools
import json
import os
import re
import shlex
import string
import sys
from collections import Counter

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
import boto3
from samcli.cli.types import CfnParameterOverridesType
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
PATH = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "template.yaml")
ACCOUNT, REGION = "111122223333", "us-east-1"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": "fraud",
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE = object()


def translated():
    """Returns the template as SAM passes it to CloudFormation."""
    with open(PATH) as file:
        template = yaml_parse(file)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    session = boto3.Session(region_name=REGION)
    return Translator({}, Parser(), boto_session=session).translate(template, {})


class Refused(AssertionError):
    """Raised with the descriptions of the failed assertions if the rules refuse the parameters."""


class Stack:
    """A template with parameter values. Evaluates only the intrinsic functions that the template uses."""

    def __init__(self, template, **given):
        self.template = template
        self.values = {name: str(it["Default"]) for name, it in template["Parameters"].items() if "Default" in it}
        self.values.update({"EndpointName": "fraud-detector"}, **given)
        self.conditions = {}
        for name, value in self.values.items():
            parameter = template["Parameters"][name]
            pattern = parameter.get("AllowedPattern")
            assert pattern is None or re.fullmatch(pattern, value), f"{name} does not allow {value!r}"
            assert value in map(str, parameter.get("AllowedValues", [value])), f"{name} does not allow {value!r}"
        failed = [
            one["AssertDescription"]
            for rule in template["Rules"].values()
            if self.solve(rule.get("RuleCondition", True))
            for one in rule["Assertions"]
            if not self.solve(one["Assert"])
        ]
        if failed:
            raise Refused(failed)
        self.resources = {
            name: self.solve(it.get("Properties", {}))
            for name, it in template["Resources"].items()
            if "Condition" not in it or self.condition(it["Condition"])
        }

    def condition(self, name):
        if name not in self.conditions:
            self.conditions[name] = self.solve(self.template["Conditions"][name])
        return self.conditions[name]

    def exists(self, name):
        """Returns the name if the stack has this resource. A reference to an absent resource fails the deployment."""
        resource = self.template["Resources"][name]
        assert "Condition" not in resource or self.condition(resource["Condition"]), f"{name} is not in this stack"
        return name

    def name(self, name):
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.values:
            return self.values[name]
        return f"<{self.exists(name)}>"

    def attribute(self, path):
        name, attribute = path if isinstance(path, list) else path.split(".", 1)
        return f"<{self.exists(name)}.{attribute}>"

    def substitute(self, text):
        own = {}
        if isinstance(text, list):
            text, own = text[0], {key: self.solve(value) for key, value in text[1].items()}

        def one(match):
            inner = match.group(1)
            if inner.startswith("!"):
                return "${" + inner[1:] + "}"
            if inner in own:
                return own[inner]
            return self.attribute(inner) if "." in inner else self.name(inner)

        used = set(re.findall(r"\$\{([^!}]+)\}", text))
        assert set(own) <= used, f"unused in Fn::Sub: {set(own) - used}"
        return re.sub(r"\$\{([^}]+)\}", one, text)

    def solve(self, it):
        if isinstance(it, list):
            return [value for value in map(self.solve, it) if value is not NO_VALUE]
        if not isinstance(it, dict):
            return it
        if len(it) == 1:
            (function, of), = it.items()
            if function == "Ref":
                return NO_VALUE if of == "AWS::NoValue" else self.name(of)
            if function == "Condition" and isinstance(of, str):
                return self.condition(of)
            if function == "Fn::GetAtt":
                return self.attribute(of)
            if function == "Fn::Sub":
                return self.substitute(of)
            if function == "Fn::If":
                return self.solve(of[1] if self.condition(of[0]) else of[2])
            if function == "Fn::Equals":
                left, right = map(str, self.solve(of))
                return left == right
            if function == "Fn::Not":
                return not self.solve(of)[0]
            if function == "Fn::And":
                return all(self.solve(of))
            if function == "Fn::Or":
                return any(self.solve(of))
            if function == "Fn::Split":
                separator, text = self.solve(of)
                return text.split(separator)
            if function == "Fn::Join":
                separator, texts = self.solve(of)
                return separator.join(texts)
            if function == "Fn::Select":
                index, texts = self.solve(of)
                return texts[int(index)]
            assert not function.startswith("Fn::"), f"{function} is not implemented in this check"
        solved = {key: self.solve(value) for key, value in it.items()}
        return {key: value for key, value in solved.items() if value is not NO_VALUE}


def as_list(it):
    return it if isinstance(it, list) else [it]


def permissions(stack):
    """Returns (action, resource) or (action, resource, condition) for each permission in the stack."""
    roles = [name for name, it in stack.template["Resources"].items() if it["Type"].startswith("AWS::IAM::")]
    assert roles == ["FunctionRole"], f"resources with permissions: {roles}, expected only FunctionRole"
    role = stack.resources["FunctionRole"]
    assert set(role) <= {"AssumeRolePolicyDocument", "PermissionsBoundary", "Policies", "Tags"}, set(role)
    assert stack.resources["Function"]["Role"] == "<FunctionRole.Arn>"
    allowed = Counter()
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert set(statement) - {"Condition"} == {"Effect", "Action", "Resource"}, statement
            assert statement["Effect"] == "Allow", statement
            condition = [json.dumps(statement["Condition"])] if "Condition" in statement else []
            pairs = itertools.product(as_list(statement["Action"]), as_list(statement["Resource"]))
            allowed.update((*pair, *condition) for pair in pairs)
    return set(allowed)


# The permissions in every stack: to read the stream, to save discarded batches, and to write the function's log.
STREAM_ARN = f"arn:aws:kinesis:{REGION}:444455556666:stream/in"
READS = ["DescribeStream", "DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"]


def base_permissions(stream):
    return {
        ("s3:ListBucket", "<DeadLetterBucket.Arn>"),
        ("s3:PutObject", "<DeadLetterBucket.Arn>/*"),
        ("logs:CreateLogStream", "<LogGroup.Arn>"),
        ("logs:PutLogEvents", "<LogGroup.Arn>"),
        *((f"kinesis:{action}", stream) for action in READS),
    }


def invoke(name, region=REGION):
    return "sagemaker:InvokeEndpoint", f"arn:aws:sagemaker:{region}:{ACCOUNT}:endpoint/{name}"


# Each destination with the permissions for it, and with the actions on the key that encrypts it.
DESTINATIONS = {
    "stdout:": (set(), set()),
    "none:": (set(), set()),
    "kinesis:out.1": (
        {("kinesis:PutRecords", f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/out.1")},
        {"kms:GenerateDataKey"},
    ),
    "firehose:out": (
        {("firehose:PutRecordBatch", f"arn:aws:firehose:{REGION}:{ACCOUNT}:deliverystream/out")},
        set(),
    ),
    f"sqs:https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/out.fifo": (
        {("sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:out.fifo")},
        {"kms:GenerateDataKey", "kms:Decrypt"},
    ),
    "eventbridge:alerts": (
        {("events:PutEvents", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/alerts")},
        set(),
    ),
    "s3:bucket/some/prefix": ({("s3:PutObject", "arn:aws:s3:::bucket/some/prefix/*")}, {"kms:GenerateDataKey"}),
    "s3:bucket": ({("s3:PutObject", "arn:aws:s3:::bucket/*")}, {"kms:GenerateDataKey"}),
}
ALERTS = [
    {},
    {"Alert": "eventbridge:alerts", "AlertPattern": "{}"},
    {"Alert": f"sqs:https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/out.fifo", "AlertPattern": "{}"},
]
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/"


def check_role(template):
    """Checks that the role has exactly the expected permissions, for all destinations, with and without keys."""
    count = 0
    dead_letters = {"": (set(), set()), **DESTINATIONS}
    for (output, (to, keys)), (dead, (dead_to, dead_keys)), keyed, stream, alert in itertools.product(
        DESTINATIONS.items(), dead_letters.items(), [False, True], ["", STREAM_ARN], ALERTS
    ):
        given = {"Output": output, "DeadLetter": dead, "StreamArn": stream, **alert}
        alert_to, _ = DESTINATIONS[alert.get("Alert", "none:")]
        expected = base_permissions(stream or "<Stream.Arn>") | {invoke("fraud-detector")} | to | dead_to | alert_to
        if keyed:
            names = ["stream", "output", "dead", "bucket", "log"]
            parameters = ["StreamKeyArn", "OutputKeyArn", "DeadLetterKeyArn", "BucketKeyArn", "LogKeyArn"]
            given.update({parameter: KEY + name for parameter, name in zip(parameters, names)})
            expected |= {("kms:Decrypt", KEY + "stream"), ("kms:GenerateDataKey", KEY + "bucket")}
            expected |= {(action, KEY + "output") for action in keys}
            expected |= {(action, KEY + "dead") for action in dead_keys}
        stack = Stack(template, **given)
        real = permissions(stack)
        assert real == expected, f"{given}: unexpected {real - expected}, missing {expected - real}"
        goes_to = stack.resources["Function"]["Environment"]["Variables"]["DEAD_LETTER"]
        assert goes_to == (dead or "s3:<DeadLetterBucket>/dead-letters"), goes_to
        count += 1
    return f"{count} combinations of destinations, keys and stream: the role has exactly the expected permissions"


METHOD = "arn:aws:execute-api:eu-central-1:444455556666:a1b2c3/prod/POST/score"
CALLED = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:score"
ROLE = "arn:aws:iam::444455556666:role/models/caller"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:models/score-AbCdEf"
URL = "https://a1b2c3.execute-api.eu-central-1.amazonaws.com/prod/score"
BY_URL = {"EndpointName": "", "EndpointUrl": URL}
SIGNED = {**BY_URL, "EndpointAuth": "sigv4"}


def by_function_url(arn):
    """Since October 2025, a function URL needs two permissions. The second is lambda:InvokeFunction, by URL only."""
    return {
        ("lambda:InvokeFunctionUrl", arn),
        ("lambda:InvokeFunction", arn, json.dumps({"Bool": {"lambda:InvokedViaFunctionUrl": "true"}})),
    }


# Parameters for an endpoint, and the permissions to call it.
NAMED = [
    ({}, {invoke("fraud-detector")}),
    ({"EndpointName": "Fraud", "LowerCaseEndpoint": "fraud"}, {invoke("Fraud"), invoke("fraud")}),
    ({"EndpointRegion": "eu-central-1"}, {invoke("fraud-detector", "eu-central-1")}),
    (
        {"EndpointName": "Fraud", "LowerCaseEndpoint": "fraud", "EndpointRegion": "eu-central-1"},
        {invoke("Fraud", "eu-central-1"), invoke("fraud", "eu-central-1")},
    ),
    ({"EndpointRoleArn": ROLE}, {("sts:AssumeRole", ROLE)}),
    ({"EndpointRoleArn": ROLE, "EndpointRegion": "eu-central-1"}, {("sts:AssumeRole", ROLE)}),
]
SIGNING_SCOPES = [
    {}, {"EndpointRegion": "eu-central-1"}, {"EndpointRegion": "eu-central-1", "EndpointService": "execute-api"}
]
URLS = [
    (BY_URL, set()),
    ({**BY_URL, "EndpointMethod": "GET"}, set()),
    *(
        ({**SIGNED, **permitted, **scope}, allowed)
        for scope in SIGNING_SCOPES
        for permitted, allowed in [
            ({"EndpointInvokeArn": METHOD}, {("execute-api:Invoke", METHOD)}),
            ({"EndpointInvokeArn": CALLED}, by_function_url(CALLED)),
            ({"EndpointInvokeArn": f"{CALLED}:live"}, by_function_url(f"{CALLED}:live")),
            ({"EndpointRoleArn": ROLE}, {("sts:AssumeRole", ROLE)}),
        ]
    ),
]
HEADERS = '{"x-team":"fraud","x-version":"3"}'
# Parameters for an API key, the permissions to read its secret, and the function's variables for the key.
READ = ("secretsmanager:GetSecretValue", SECRET)
DECRYPT = ("kms:Decrypt", KEY + "secret")
SECRETS = [
    ({}, set(), {}),
    *(
        (
            {
                "EndpointApiKeySecretArn": SECRET, "EndpointApiKeyMember": member, "EndpointApiKeyHeader": header,
                **({"SecretKeyArn": KEY + "secret"} if keyed else {}),
            },
            {READ, DECRYPT} if keyed else {READ},
            {
                "ENDPOINT_API_KEY": f"secretsmanager:{SECRET}" + (f"#{member}" if member else ""),
                **({"ENDPOINT_API_KEY_HEADER": header} if header else {}),
            },
        )
        for member in ["", "token"]
        for header in ["", "x-token", "authorization: Bearer"]
        for keyed in [False, True]
    ),
]
# Parameters, and the environment variables with their values.
VARIABLES = {
    "EndpointName": "ENDPOINT_NAME", "EndpointUrl": "ENDPOINT_URL", "EndpointRegion": "ENDPOINT_REGION",
    "EndpointService": "ENDPOINT_SERVICE", "EndpointRoleArn": "ENDPOINT_ROLE_ARN",
    "EndpointHeaders": "ENDPOINT_HEADERS",
}


# Allowed and refused values of each parameter. A parameter must not allow wildcards in permissions, or secrets.
VALUES = [
    ("EndpointName", ["", "a", "Fraud-1"], ["-a", "a-", "a_b", "a" * 64]),
    (
        "EndpointUrl",
        ["", URL, "https://model.example.com:8443/v1/score?version=3", "http://127.0.0.1:8080/invocations",
         "http://[::1]:8080/", f"https://abc.lambda-url.{REGION}.on.aws/",
         "https://a/{$.city}/fare?km={$['distance']}&at={$.at[0]}"],
        ["https://model.example.com", "https://{$.host}/a", "ftp://a/b", "https://user:password@a/b", "https://a/b c", 'https://a/"',
         "https://a/b\\c", "https://a/b#c", "a/b"],
    ),
    ("EndpointRegion", ["", "eu-central-1", "us-gov-west-1", "eusc-de-east-1"], ["eu", "EU-CENTRAL-1", "*"]),
    ("EndpointService", ["", "execute-api", "lambda", "a" * 63], ["execute api", "*", "a" * 64]),
    (
        "EndpointInvokeArn",
        ["", METHOD, METHOD.replace("POST", "GET"), f"{METHOD}/*", f"{METHOD}/*/fare",
         f"arn:aws-cn:execute-api:cn-north-1:{ACCOUNT}:a1b2c3/$default/POST/", CALLED, f"{CALLED}:live"],
        ["*", METHOD.replace("POST", "*"), METHOD.replace("POST", "PUT"), METHOD.replace("score", "*"), f"{METHOD}*",
         METHOD.replace("/prod/POST/score", "/*"), METHOD.replace("a1b2c3", "*"), METHOD.replace("444455556666", "*"),
         f"{CALLED}:*", CALLED.replace("score", "*"), f"arn:aws:lambda:{REGION}:{ACCOUNT}:*",
         f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/fraud"],
    ),
    ("EndpointRoleArn", ["", ROLE], ["*", ROLE.replace("models/caller", "*"), ROLE.replace("role", "user")]),
    (
        "EndpointApiKeySecretArn",
        ["", SECRET],
        ["*", "models/score", SECRET[:-7], SECRET.replace("score-AbCdEf", "*"), SECRET + "*"],
    ),
    ("EndpointApiKeyMember", ["", "api_key"], ["a#b", "a b"]),
    ("EndpointApiKeyHeader", ["", "x-api-key", "authorization: Bearer"], ["a:", "a b", "authorization: Bearer key"]),
    ("EndpointHeaders", ["", HEADERS], ["x-team: fraud", "[]"]),
]


def allows(template, name, value):
    parameter = template["Parameters"][name]
    return bool(re.fullmatch(parameter["AllowedPattern"], value)) and len(value) <= parameter.get("MaxLength", 4096)


def check_endpoints(template):
    """Checks the exact permissions and variables for every kind of endpoint, with and without a secret."""
    by_name = [(endpoint, SECRETS[0], "", "false") for endpoint in NAMED]
    choices = by_name + list(itertools.product(URLS, SECRETS, ["", HEADERS], ["false", "true"]))
    for (endpoint, allowed), (secret, read, key), headers, http in choices:
        given = {**endpoint, **secret, "EndpointHeaders": headers, "EndpointAllowHttp": http}
        stack = Stack(template, **given)
        real, expected = permissions(stack), base_permissions("<Stream.Arn>") | allowed | read
        assert real == expected, f"{given}: unexpected {real - expected}, missing {expected - real}"
        variables = stack.resources["Function"]["Environment"]["Variables"]
        actual = {name: it for name, it in variables.items() if name.startswith("ENDPOINT_") and it != ""}
        expected = {variable: stack.values[parameter] for parameter, variable in VARIABLES.items()}
        expected = {name: value for name, value in expected.items() if value} | key
        if given.get("EndpointAuth") == "sigv4":
            expected["ENDPOINT_AUTH"] = "sigv4"
        if given.get("EndpointMethod") == "GET":
            expected["ENDPOINT_METHOD"] = "GET"
        if http == "true":
            expected["ENDPOINT_ALLOW_HTTP"] = "1"
        assert actual == expected, f"{given}: the function has {actual} instead of {expected}"
    for name, good, bad in VALUES:
        for value in good:
            assert allows(template, name, value), f"{name} does not allow {value!r}"
        for value in bad:
            assert not allows(template, name, value), f"{name} allows {value!r}"
    values = sum(len(good) + len(bad) for _, good, bad in VALUES)
    return f"{len(choices)} combinations of endpoint and secret, with exact permissions and variables; {values} values"


# Parameters that a rule refuses, the parameters that fix them, and the rule's description.
REFUSED = [
    ({"StartingPosition": "AT_TIMESTAMP"}, {"StartingPositionTimestamp": "1795419096"},
     "AT_TIMESTAMP needs StartingPositionTimestamp"),
    ({"SubnetIds": "subnet-0a"}, {"SecurityGroupIds": "sg-0a"}, "SubnetIds needs SecurityGroupIds"),
    ({"SecurityGroupIds": "sg-0a"}, {"SubnetIds": "subnet-0a"}, "SecurityGroupIds needs SubnetIds"),
    ({"EndpointName": ""}, {"EndpointName": "fraud"}, "EndpointName or EndpointUrl is required"),
    ({"EndpointName": ""}, {"EndpointUrl": URL}, "EndpointName or EndpointUrl is required"),
    ({"EndpointUrl": URL}, {"EndpointName": ""}, "EndpointName and EndpointUrl cannot be combined"),
    ({"EndpointAuth": "sigv4", "EndpointRoleArn": ROLE}, BY_URL,
     "EndpointAuth needs EndpointUrl; calls to EndpointName are always signed"),
    ({"EndpointMethod": "GET"}, BY_URL, "EndpointMethod needs EndpointUrl"),
    ({"EndpointService": "execute-api"}, {**SIGNED, "EndpointInvokeArn": METHOD}, "EndpointService needs EndpointUrl"),
    ({"EndpointInvokeArn": METHOD}, SIGNED, "EndpointInvokeArn needs EndpointUrl"),
    ({"EndpointApiKeySecretArn": SECRET}, BY_URL, "EndpointApiKeySecretArn needs EndpointUrl"),
    ({"EndpointHeaders": HEADERS}, BY_URL, "EndpointHeaders needs EndpointUrl"),
    ({"EndpointAllowHttp": "true"}, BY_URL, "EndpointAllowHttp needs EndpointUrl"),
    ({**BY_URL, "LowerCaseEndpoint": "fraud"}, {"EndpointName": "Fraud", "EndpointUrl": ""},
     "LowerCaseEndpoint needs EndpointName"),
    ({**BY_URL, "EndpointRoleArn": ROLE}, SIGNED, "EndpointRoleArn with EndpointUrl needs EndpointAuth=sigv4"),
    ({**BY_URL, "EndpointRegion": "eu-central-1"}, {**SIGNED, "EndpointInvokeArn": METHOD},
     "EndpointRegion with EndpointUrl needs EndpointAuth=sigv4"),
    ({**BY_URL, "EndpointService": "execute-api"}, {**SIGNED, "EndpointInvokeArn": METHOD},
     "EndpointService needs EndpointAuth=sigv4"),
    ({**BY_URL, "EndpointInvokeArn": METHOD}, SIGNED, "EndpointInvokeArn needs EndpointAuth=sigv4"),
    (SIGNED, {"EndpointInvokeArn": METHOD}, "EndpointAuth=sigv4 needs EndpointInvokeArn or EndpointRoleArn"),
    (SIGNED, {"EndpointRoleArn": ROLE}, "EndpointAuth=sigv4 needs EndpointInvokeArn or EndpointRoleArn"),
    ({**SIGNED, "EndpointRoleArn": ROLE, "EndpointInvokeArn": METHOD}, {"EndpointRoleArn": ""},
     "EndpointInvokeArn cannot be combined with EndpointRoleArn, which has its own permissions"),
    ({"LowerCaseEndpoint": "fraud", "EndpointRoleArn": ROLE}, {"EndpointRoleArn": ""},
     "LowerCaseEndpoint cannot be combined with EndpointRoleArn, which has its own permissions"),
    ({**BY_URL, "EndpointApiKeyMember": "token"}, {"EndpointApiKeySecretArn": SECRET},
     "EndpointApiKeyMember needs EndpointApiKeySecretArn"),
    ({**BY_URL, "EndpointApiKeyHeader": "x-token"}, {"EndpointApiKeySecretArn": SECRET},
     "EndpointApiKeyHeader needs EndpointApiKeySecretArn"),
    ({**BY_URL, "SecretKeyArn": KEY + "secret"}, {"EndpointApiKeySecretArn": SECRET},
     "SecretKeyArn needs EndpointApiKeySecretArn"),
]


def refused(template, given):
    try:
        Stack(template, **given)
    except Refused as error:
        return error.args[0]
    return []


def check_functions(it):
    """Checks that rules use only the functions CloudFormation allows there. Linters do not check this.

    Named conditions and Fn::If are not allowed in rules.
    """
    for value in it if isinstance(it, list) else []:
        check_functions(value)
    for key, value in it.items() if isinstance(it, dict) else []:
        known = key in ("Ref", "Fn::And", "Fn::Or", "Fn::Not", "Fn::Equals")
        assert known or not (key.startswith("Fn::") or key == "Condition"), f"{key} is not allowed in a rule"
        assert key not in ("Fn::And", "Fn::Or") or 2 <= len(value) <= 10, f"{key} has {len(value)} terms, not 2 to 10"
        check_functions(value)


def check_rules(template):
    """Checks that each rule assertion refuses only the parameters it is for, and allows the fixed parameters."""
    for given, fix, description in REFUSED:
        real = refused(template, given)
        assert real == [description], f"{given}: refused with {real} instead of {description!r}"
        real = refused(template, {**given, **fix})
        assert not real, f"{given} with {fix}: refused with {real}"
    check_functions(template["Rules"])
    descriptions = [one["AssertDescription"] for rule in template["Rules"].values() for one in rule["Assertions"]]
    assert len(descriptions) == len(set(descriptions)), descriptions
    untested = set(descriptions) - {description for *_, description in REFUSED}
    assert not untested, f"no test for {untested}"
    return f"{len(template['Rules'])} rules, {len(descriptions)} assertions: each refuses only the parameters it is for"


# The values of the shell variables in the examples.
SHELL = {"MODELS": "444455556666", "CALLER": "instream-caller", "REGION": "eu-central-1", "SECRET_ARN": SECRET}


def check_examples(template):
    """Checks that the template accepts each `deploy` command in docs/deploy.md, as a shell and sam parse it.

    Parameters that a command does not set keep their previous values.
    """
    with open(os.path.join(ROOT, "docs", "deploy.md")) as file:
        commands = re.findall(r"^deploy ((?:.*\\\n)*.*)$", file.read(), re.MULTILINE)
    given, roles = {}, []
    for command in commands:
        words = shlex.split(string.Template(command.replace("\\\n", " ")).substitute(SHELL))
        new = CfnParameterOverridesType().convert(tuple(words), None, None)
        assert len(new) == len(words), f"{command}: sam reads {new}"
        is_new_endpoint = {"EndpointName", "EndpointUrl"} & set(new)
        given = {"EndpointName": "", **new} if is_new_endpoint else {**given, **new}
        roles.append(permissions(Stack(template, **given)) - base_permissions("<Stream.Arn>"))
    kinds = sorted({action for role in roles for action, *_ in role})
    assert kinds == ["execute-api:Invoke", "secretsmanager:GetSecretValue", "sts:AssumeRole"], kinds
    return f"{len(commands)} deploy commands in docs/deploy.md, all accepted: {', '.join(kinds)}"


ENI = ["CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface",
       "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"]


def check_options(template):
    """Checks that each option changes only the resources it is for, and only if it is set."""
    plain = Stack(template)
    base = permissions(plain)
    function, mapping = plain.resources["Function"], plain.resources["Mapping"]
    for absent in ["VpcConfig", "ReservedConcurrentExecutions"]:
        assert absent not in function, absent
    assert "StartingPositionTimestamp" not in mapping and "Consumer" not in plain.resources
    assert "PermissionsBoundary" not in plain.resources["FunctionRole"]
    assert "KmsKeyId" not in plain.resources["LogGroup"]
    assert mapping["MaximumRetryAttempts"] == -1 and mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]

    def more(**given):
        stack = Stack(template, **given)
        return stack, permissions(stack) - base, base - permissions(stack)

    stack, added, gone = more(SubnetIds="subnet-0a,subnet-0b", SecurityGroupIds="sg-0a")
    assert added == {(f"ec2:{action}", "*") for action in ENI} and not gone, added
    assert stack.resources["Function"]["VpcConfig"] == {
        "SubnetIds": ["subnet-0a", "subnet-0b"], "SecurityGroupIds": ["sg-0a"]}
    stack, added, gone = more(Tracing="Active")
    assert added == {("xray:PutTraceSegments", "*"), ("xray:PutTelemetryRecords", "*")} and not gone, added
    assert stack.resources["Function"]["TracingConfig"] == {"Mode": "Active"}
    stack, added, gone = more(EnhancedFanOut="true")
    consumer = "<Consumer.ConsumerARN>"
    assert added == {("kinesis:DescribeStreamConsumer", consumer), ("kinesis:SubscribeToShard", consumer)}, added
    assert not gone and stack.resources["Mapping"]["EventSourceArn"] == consumer
    assert "NothingReadAlarm" not in stack.resources
    stack, added, gone = more(LowerCaseEndpoint="fraud")
    assert added == {invoke("fraud")} and not gone, added
    stack, added, gone = more(ReservedConcurrency="10")
    assert not added and not gone and stack.resources["Function"]["ReservedConcurrentExecutions"] == "10"
    assert "ConcurrencyAlarm" in stack.resources and "ConcurrencyAlarm" not in plain.resources
    stack, *_ = more(StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp="1795419096")
    assert stack.resources["Mapping"]["StartingPositionTimestamp"] == "1795419096"
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/edge"
    stack, *_ = more(PermissionsBoundaryArn=boundary)
    assert stack.resources["FunctionRole"]["PermissionsBoundary"] == boundary
    stack, *_ = more(LogKeyArn=KEY + "log", BucketKeyArn=KEY + "bucket", StreamKeyArn=KEY + "stream")
    assert stack.resources["LogGroup"]["KmsKeyId"] == KEY + "log"
    assert stack.resources["Stream"]["StreamEncryption"]["KeyId"] == KEY + "stream"
    assert KEY + "bucket" in json.dumps(stack.resources["DeadLetterBucket"])
    stack, *_ = more(AlarmsEnabled="false", DashboardEnabled="false", ReservedConcurrency="10")
    monitoring = [it for it in stack.resources if template["Resources"][it]["Type"].startswith("AWS::CloudWatch")]
    assert not monitoring, monitoring
    return "12 options: each changes only its resources, and adds only its permissions"


def documented_metrics():
    """Returns the names of the metrics in docs/metrics.md."""
    with open(os.path.join(ROOT, "docs", "metrics.md")) as file:
        rows = re.findall(r"^\| (`.*?) \|", file.read(), re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(names) > 20, f"docs/metrics.md lists {names}"
    return names


# The AWS metrics that the template uses, with their dimensions.
AWS = {
    "AWS/Lambda": {
        "Duration": ["FunctionName"], "Errors": ["FunctionName"], "Invocations": ["FunctionName"],
        "IteratorAge": ["FunctionName"], "Throttles": ["FunctionName"],
        "DroppedEventCount": ["EventSourceMappingUUID"], "PolledEventCount": ["EventSourceMappingUUID"],
        "OnFailureDestinationDeliveredEventCount": ["EventSourceMappingUUID"],
    },
    "AWS/SageMaker": {
        name: ["EndpointName", "VariantName"]
        for name in ["Invocations", "Invocation4XXErrors", "Invocation5XXErrors", "ModelLatency", "OverheadLatency"]
    },
}


def check_metric(where, namespace, name, dimensions, ours):
    if namespace == "instream":
        assert name in ours, f"{where}: docs/metrics.md has no {name}"
        expected = {"FunctionName": "<Function>"}
    else:
        assert name in AWS.get(namespace, {}), f"{where}: {namespace} {name} is not in the list of this check"
        values = {"FunctionName": "<Function>", "EventSourceMappingUUID": "<Mapping>",
                  "EndpointName": "fraud-detector", "VariantName": "AllTraffic"}
        expected = {dimension: values[dimension] for dimension in AWS[namespace][name]}
    assert dimensions == expected, f"{where}: {name} has {dimensions} instead of {expected}"


FUNCTIONS = {"IF", "FILL", "PERIOD", "TIME_SERIES", "AND", "OR"}


def check_math(where, expressions, ids):
    """Checks that each name in an expression is a function or another metric's ID, and that IDs are unique."""
    assert len(ids) == len(set(ids)), f"{where}: duplicate ID in {ids}"
    for own, expression in expressions:
        names = set(re.findall(r"[A-Za-z_]\w*", expression))
        unknown = names - FUNCTIONS - (set(ids) - {own})
        assert not unknown, f"{where}: unknown {unknown} in {expression!r}"
        assert expression.count("(") == expression.count(")"), f"{where}: {expression!r}"
        assert all(re.fullmatch(r"[a-z]\w*", it) for it in ids), f"{where}: {ids}"
    return set().union(*(set(re.findall(r"[A-Za-z_]\w*", expression)) for _, expression in expressions), set())


def check_alarms(template):
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:page"
    stack = Stack(template, ReservedConcurrency="10", AlarmTopicArn=topic)
    no_topic = Stack(template, ReservedConcurrency="10")
    ours, watched, missing = documented_metrics(), 0, Counter()
    alarms = [name for name, it in template["Resources"].items() if it["Type"] == "AWS::CloudWatch::Alarm"]
    assert alarms
    for name in alarms:
        alarm = stack.resources[name]
        text = alarm.get("AlarmDescription", "")
        assert 80 < len(text) <= 1024 and re.search(r"\bFirst\b|\bfirst\b|raise", text), f"{name}: {text!r}"
        assert alarm["AlarmActions"] == alarm["OKActions"] == [topic], name
        assert "AlarmActions" not in no_topic.resources[name] and "OKActions" not in no_topic.resources[name], name
        assert alarm["DatapointsToAlarm"] <= alarm["EvaluationPeriods"], name
        missing[alarm["TreatMissingData"]] += 1
        if "Metrics" not in alarm:
            dimensions = {it["Name"]: it["Value"] for it in alarm["Dimensions"]}
            check_metric(name, alarm["Namespace"], alarm["MetricName"], dimensions, ours)
            watched += 1
            continue
        returned = [it for it in alarm["Metrics"] if it.get("ReturnData", True)]
        assert len(returned) == 1 and "Expression" in returned[0], f"{name} returns {returned}"
        expressions = [(it["Id"], it["Expression"]) for it in alarm["Metrics"] if "Expression" in it]
        used = check_math(name, expressions, [it["Id"] for it in alarm["Metrics"]])
        for it in alarm["Metrics"]:
            if "MetricStat" in it:
                metric = it["MetricStat"]["Metric"]
                dimensions = {one["Name"]: one["Value"] for one in metric["Dimensions"]}
                check_metric(name, metric["Namespace"], metric["MetricName"], dimensions, ours)
                assert it["Id"] in used, f"{name}: {it['Id']} is not used"
                watched += 1
    with open(PATH) as file:
        assert f"they watch {watched} metrics" in file.read(), f"the alarms watch {watched} metrics"
    return f"{len(alarms)} alarms on {watched} metrics, each with its description; missing data: {dict(missing)}"


def check_dashboard(template):
    ours, done = documented_metrics(), set()
    for given in [{}, {"AlarmsEnabled": "false"}, {"ReservedConcurrency": "10"}, {"Architecture": "arm64"},
                  {"EnhancedFanOut": "true"}, {"EndpointDollarsPerHour": "0.23", "StreamArn": STREAM_ARN},
                  {**BY_URL, "EndpointUrl": URL + "?version=2"},
                  {**SIGNED, "EndpointRoleArn": ROLE}, {"EndpointRegion": "eu-central-1"}, {"EndpointRoleArn": ROLE},
                  {"EndpointRoleArn": ROLE.replace("444455556666", ACCOUNT)}]:
        stack = Stack(template, **given)
        body = json.loads(stack.resources["Dashboard"]["DashboardBody"])
        taken = {}
        for widget in body["widgets"]:
            x, y, width, height = (widget[it] for it in ("x", "y", "width", "height"))
            title = widget["properties"].get("title") or widget["properties"]["markdown"][:30]
            assert 0 <= x and x + width <= 24 and 0 <= y and 1 <= height <= 1000 and width >= 1, f"{title!r} is outside"
            for cell in itertools.product(range(x, x + width), range(y, y + height)):
                assert cell not in taken, f"{title!r} overlaps {taken[cell]!r}"
                taken[cell] = title
        rows = max(y for _, y in taken) + 1
        assert len(taken) == 24 * rows, f"{24 * rows - len(taken)} cells of the grid are empty"
        seen = set().union(*(check_widget(widget, ours, stack) for widget in body["widgets"]))
        # SageMaker has no metrics for a URL, and the metrics of another account are not visible in this account.
        elsewhere = "EndpointUrl" in given or given.get("EndpointRoleArn") == ROLE
        shown = {name for namespace, name in seen if namespace == "AWS/SageMaker"}
        assert shown == (set() if elsewhere else set(AWS["AWS/SageMaker"])), f"{given}: {shown}"
        done |= seen
        endpoint = f"the endpoint **{given.get('EndpointUrl', 'fraud-detector').split('?')[0]}**."
        assert endpoint in body["widgets"][0]["properties"]["markdown"], f"{given}: {body['widgets'][0]}"
        shown = [it for it in body["widgets"] if it["type"] == "alarm"]
        alarms = {name for name in stack.resources if template["Resources"][name]["Type"] == "AWS::CloudWatch::Alarm"}
        listed = [name for it in shown for name in it["properties"]["alarms"]]
        assert sorted(listed) == sorted(f"<{name}.Arn>" for name in alarms), f"{given}: {listed}"
        sections = [it["properties"]["markdown"] for it in body["widgets"] if it["type"] == "text"]
        order = ["in time?", "failing?", "the limit?", "cost?"]
        found = [word for text in sections for word in order if word in text.split("\n")[0]]
        assert found == order, found
    widgets = Counter(it["type"] for it in body["widgets"])
    unseen = sorted(ours - {name for namespace, name in done if namespace == "instream"})
    return f"the dashboard: {dict(widgets)}, {rows} rows of 24, {len(done)} metrics; not on it: {', '.join(unseen)}"


def check_widget(widget, ours, stack):
    properties, done = widget["properties"], set()
    if widget["type"] != "metric":
        return done
    title = properties["title"]
    # The SageMaker metrics are in the region of the endpoint.
    is_endpoints = any(entry[0] == "AWS/SageMaker" for entry in properties["metrics"])
    region = (is_endpoints and stack.values["EndpointRegion"]) or REGION
    assert properties["region"] == region and properties["period"] % 60 == 0, title
    assert properties["yAxis"]["left"]["label"], title
    ids, expressions, hidden, labels = [], [], set(), []
    for entry in properties["metrics"]:
        options = entry[-1]
        assert isinstance(options, dict), f"{title}: {entry} has no options"
        if "id" in options:
            ids.append(options["id"])
        if options.get("visible", True):
            labels.append(options["label"])
        else:
            hidden.add(options["id"])
        if options.get("yAxis") == "right":
            assert properties["yAxis"]["right"]["label"], f"{title}: the right axis has no label"
        if "expression" in options:
            expressions.append((options["id"], options["expression"]))
            continue
        namespace, name, *rest = entry[:-1]
        assert re.fullmatch(r"Sum|Average|Minimum|Maximum|p\d\d", options["stat"]), f"{title}: {options}"
        check_metric(title, namespace, name, dict(zip(rest[::2], rest[1::2])), ours)
        done.add((namespace, name))
    used = check_math(title, expressions, ids)
    assert hidden <= used, f"{title}: {hidden - used} is hidden, but not used"
    assert len(labels) == len(set(labels)), f"{title}: duplicate label in {labels}"
    for line in properties.get("annotations", {}).get("horizontal", []):
        assert isinstance(line["value"], (int, float)), f"{title}: {line}"
    return done


def check_parameters(template):
    """Checks that each parameter is used and described, and that each pattern has a description."""
    parameters = template["Parameters"]
    uses = json.dumps([template["Conditions"], template["Resources"], template.get("Rules", {})])
    for name, parameter in parameters.items():
        assert f'"{name}"' in uses or "${" + name + "}" in uses, f"{name} is not used"
        assert 10 < len(parameter["Description"]) <= 4000, f"{name} is not described"
        assert ("AllowedPattern" in parameter) == ("ConstraintDescription" in parameter), f"{name}: undescribed pattern"
    for name in template["Conditions"]:
        assert f'"{name}"' in uses, f"{name} is not used"
    assert len(parameters) <= 200, len(parameters)
    default = [name for name, it in parameters.items() if "Default" in it]
    assert len(default) == len(parameters), f"parameters without a default: {set(parameters) - set(default)}"
    with open(os.path.join(ROOT, "docs", "deploy.md")) as file:
        text = file.read()
    absent = [name for name in parameters if f"`{name}`" not in text]
    assert not absent, f"docs/deploy.md does not mention {absent}"
    return f"{len(parameters)} parameters, each with a default, all used, described, and in docs/deploy.md"


def main():
    template = translated()
    failed = 0
    for check in [check_parameters, check_rules, check_role, check_endpoints, check_examples, check_options,
                  check_alarms, check_dashboard]:
        try:
            print("ok   ", check(template))
        except (AssertionError, KeyError, IndexError, ValueError) as error:
            failed += 1
            print("WRONG", f"{check.__name__}: {type(error).__name__}: {error}")
    sys.exit(1 if failed else 0)


main()
