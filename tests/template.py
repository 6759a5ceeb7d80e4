#!/usr/bin/env python3
"""What template.yaml makes, for every choice of its endpoint, destinations and options: the actions that the role gets,
the function's environment, the alarms, and the dashboard; and what its rules refuse. Needs what `sam` brings: SAM's
translator and PyYAML. No network, no account.

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
NOTHING = object()


def translated():
    """The template as SAM hands it to CloudFormation."""
    with open(PATH) as file:
        template = yaml_parse(file)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    session = boto3.Session(region_name=REGION)
    return Translator({}, Parser(), boto_session=session).translate(template, {})


class Refused(AssertionError):
    """What the rules say against the parameters that were given."""


class Stack:
    """A template with its parameters given: the intrinsic functions that it uses are worked out, and no others."""

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
        said = [
            one["AssertDescription"]
            for rule in template["Rules"].values()
            if self.solve(rule.get("RuleCondition", True))
            for one in rule["Assertions"]
            if not self.solve(one["Assert"])
        ]
        if said:
            raise Refused(said)
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
        """That a name is a resource of this stack: a reference to one that is not made would end the deployment."""
        resource = self.template["Resources"][name]
        assert "Condition" not in resource or self.condition(resource["Condition"]), f"{name} is not made here"
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
            return [value for value in map(self.solve, it) if value is not NOTHING]
        if not isinstance(it, dict):
            return it
        if len(it) == 1:
            (function, of), = it.items()
            if function == "Ref":
                return NOTHING if of == "AWS::NoValue" else self.name(of)
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
            assert not function.startswith("Fn::"), f"{function} is new here"
        solved = {key: self.solve(value) for key, value in it.items()}
        return {key: value for key, value in solved.items() if value is not NOTHING}


def several(it):
    return it if isinstance(it, list) else [it]


def permissions(stack):
    """(action, resource) of all that is allowed, from whatever gives a permission; and its condition, if any."""
    roles = [name for name, it in stack.template["Resources"].items() if it["Type"].startswith("AWS::IAM::")]
    assert roles == ["FunctionRole"], f"other permissions: {roles}"
    role = stack.resources["FunctionRole"]
    assert set(role) <= {"AssumeRolePolicyDocument", "PermissionsBoundary", "Policies", "Tags"}, set(role)
    assert stack.resources["Function"]["Role"] == "<FunctionRole.Arn>"
    allowed = Counter()
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert set(statement) - {"Condition"} == {"Effect", "Action", "Resource"}, statement
            assert statement["Effect"] == "Allow", statement
            condition = [json.dumps(statement["Condition"])] if "Condition" in statement else []
            pairs = itertools.product(several(statement["Action"]), several(statement["Resource"]))
            allowed.update((*pair, *condition) for pair in pairs)
    return set(allowed)


# What is always allowed: reading the stream, what the mapping discards, and the function's own log.
STREAM_ARN = f"arn:aws:kinesis:{REGION}:444455556666:stream/in"
READS = ["DescribeStream", "DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"]


def always(stream):
    return {
        ("s3:ListBucket", "<DeadLetterBucket.Arn>"),
        ("s3:PutObject", "<DeadLetterBucket.Arn>/*"),
        ("logs:CreateLogStream", "<LogGroup.Arn>"),
        ("logs:PutLogEvents", "<LogGroup.Arn>"),
        *((f"kinesis:{action}", stream) for action in READS),
    }


def invoke(name, region=REGION):
    return "sagemaker:InvokeEndpoint", f"arn:aws:sagemaker:{region}:{ACCOUNT}:endpoint/{name}"


# A destination, what may be done to it, and to a key that it is encrypted with.
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
    "s3:bucket/some/prefix": ({("s3:PutObject", "arn:aws:s3:::bucket/some/prefix/*")}, {"kms:GenerateDataKey"}),
    "s3:bucket": ({("s3:PutObject", "arn:aws:s3:::bucket/*")}, {"kms:GenerateDataKey"}),
}
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/"


def check_role(template):
    """Every Output with every DeadLetter, with keys and without: exactly these actions on exactly these resources."""
    count = 0
    dead_letters = {"": (set(), set()), **DESTINATIONS}
    for (output, (to, keys)), (dead, (dead_to, dead_keys)), keyed, stream in itertools.product(
        DESTINATIONS.items(), dead_letters.items(), [False, True], ["", STREAM_ARN]
    ):
        given = {"Output": output, "DeadLetter": dead, "StreamArn": stream}
        expected = always(stream or "<Stream.Arn>") | {invoke("fraud-detector")} | to | dead_to
        if keyed:
            names = ["stream", "output", "dead", "bucket", "log"]
            parameters = ["StreamKeyArn", "OutputKeyArn", "DeadLetterKeyArn", "BucketKeyArn", "LogKeyArn"]
            given.update({parameter: KEY + name for parameter, name in zip(parameters, names)})
            expected |= {("kms:Decrypt", KEY + "stream"), ("kms:GenerateDataKey", KEY + "bucket")}
            expected |= {(action, KEY + "output") for action in keys}
            expected |= {(action, KEY + "dead") for action in dead_keys}
        stack = Stack(template, **given)
        real = permissions(stack)
        assert real == expected, f"{given}: too much {real - expected}, too little {expected - real}"
        goes_to = stack.resources["Function"]["Environment"]["Variables"]["DEAD_LETTER"]
        assert goes_to == (dead or "s3:<DeadLetterBucket>/dead-letters"), goes_to
        count += 1
    return f"{count} choices of destinations, keys and stream: the role may do what is listed here for them, and nothing more"


METHOD = "arn:aws:execute-api:eu-central-1:444455556666:a1b2c3/prod/POST/score"
CALLED = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:score"
ROLE = "arn:aws:iam::444455556666:role/models/caller"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:models/score-AbCdEf"
URL = "https://a1b2c3.execute-api.eu-central-1.amazonaws.com/prod/score"
BY_URL = {"EndpointName": "", "EndpointUrl": URL}
SIGNED = {**BY_URL, "EndpointAuth": "sigv4"}


def by_function_url(arn):
    """Since October 2025 a function URL wants two permissions: lambda:InvokeFunction too, by the URL only."""
    return {
        ("lambda:InvokeFunctionUrl", arn),
        ("lambda:InvokeFunction", arn, json.dumps({"Bool": {"lambda:InvokedViaFunctionUrl": "true"}})),
    }


# An endpoint, and what may be done to call it.
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
PLACES = [{}, {"EndpointRegion": "eu-central-1"}, {"EndpointRegion": "eu-central-1", "EndpointService": "execute-api"}]
URLS = [
    (BY_URL, set()),
    *(
        ({**SIGNED, **permitted, **place}, allowed)
        for place in PLACES
        for permitted, allowed in [
            ({"EndpointInvokeArn": METHOD}, {("execute-api:Invoke", METHOD)}),
            ({"EndpointInvokeArn": CALLED}, by_function_url(CALLED)),
            ({"EndpointInvokeArn": f"{CALLED}:live"}, by_function_url(f"{CALLED}:live")),
            ({"EndpointRoleArn": ROLE}, {("sts:AssumeRole", ROLE)}),
        ]
    ),
]
HEADERS = '{"x-team":"fraud","x-version":"3"}'
# A secret, what may be done to read it, and where the function looks for it.
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
# A parameter, and the variable that is its value.
VARIABLES = {
    "EndpointName": "ENDPOINT_NAME", "EndpointUrl": "ENDPOINT_URL", "EndpointRegion": "ENDPOINT_REGION",
    "EndpointService": "ENDPOINT_SERVICE", "EndpointRoleArn": "ENDPOINT_ROLE_ARN",
    "EndpointHeaders": "ENDPOINT_HEADERS",
}


# What a parameter allows, and what it does not: above all no permission for more than one thing, and no secret.
VALUES = [
    ("EndpointName", ["", "a", "Fraud-1"], ["-a", "a-", "a_b", "a" * 64]),
    (
        "EndpointUrl",
        ["", URL, "https://model.example.com:8443/v1/score?version=3", "http://127.0.0.1:8080/invocations",
         "http://[::1]:8080/", f"https://abc.lambda-url.{REGION}.on.aws/"],
        ["https://model.example.com", "ftp://a/b", "https://user:password@a/b", "https://a/b c", 'https://a/"',
         "https://a/b\\c", "https://a/b#c", "a/b"],
    ),
    ("EndpointRegion", ["", "eu-central-1", "us-gov-west-1", "eusc-de-east-1"], ["eu", "EU-CENTRAL-1", "*"]),
    ("EndpointService", ["", "execute-api", "lambda", "a" * 63], ["execute api", "*", "a" * 64]),
    (
        "EndpointInvokeArn",
        ["", METHOD, f"arn:aws-cn:execute-api:cn-north-1:{ACCOUNT}:a1b2c3/$default/POST/", CALLED, f"{CALLED}:live"],
        ["*", METHOD.replace("POST", "*"), METHOD.replace("POST", "GET"), METHOD.replace("score", "*"),
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
    """Every kind of endpoint, with each secret and without: exactly these permissions, and these variables."""
    named = [(endpoint, SECRETS[0], "", "false") for endpoint in NAMED]
    choices = named + list(itertools.product(URLS, SECRETS, ["", HEADERS], ["false", "true"]))
    for (endpoint, allowed), (secret, read, key), headers, http in choices:
        given = {**endpoint, **secret, "EndpointHeaders": headers, "EndpointAllowHttp": http}
        stack = Stack(template, **given)
        real, expected = permissions(stack), always("<Stream.Arn>") | allowed | read
        assert real == expected, f"{given}: too much {real - expected}, too little {expected - real}"
        variables = stack.resources["Function"]["Environment"]["Variables"]
        told = {name: it for name, it in variables.items() if name.startswith("ENDPOINT_") and it != ""}
        wanted = {variable: stack.values[parameter] for parameter, variable in VARIABLES.items()}
        wanted = {name: value for name, value in wanted.items() if value} | key
        if given.get("EndpointAuth") == "sigv4":
            wanted["ENDPOINT_AUTH"] = "sigv4"
        if http == "true":
            wanted["ENDPOINT_ALLOW_HTTP"] = "1"
        assert told == wanted, f"{given}: the function is told {told} instead of {wanted}"
    for name, good, bad in VALUES:
        for value in good:
            assert allows(template, name, value), f"{name} does not allow {value!r}"
        for value in bad:
            assert not allows(template, name, value), f"{name} allows {value!r}"
    values = sum(len(good) + len(bad) for _, good, bad in VALUES)
    return f"{len(choices)} choices of endpoint and secret, each with its permissions and variables; {values} values"


# Parameters that a rule refuses, what mends them, and what it says.
REFUSED = [
    ({"StartingPosition": "AT_TIMESTAMP"}, {"StartingPositionTimestamp": "1795419096"},
     "AT_TIMESTAMP needs StartingPositionTimestamp"),
    ({"SubnetIds": "subnet-0a"}, {"SecurityGroupIds": "sg-0a"}, "SubnetIds needs SecurityGroupIds"),
    ({"SecurityGroupIds": "sg-0a"}, {"SubnetIds": "subnet-0a"}, "SecurityGroupIds needs SubnetIds"),
    ({"EndpointName": ""}, {"EndpointName": "fraud"}, "EndpointName or EndpointUrl is needed"),
    ({"EndpointName": ""}, {"EndpointUrl": URL}, "EndpointName or EndpointUrl is needed"),
    ({"EndpointUrl": URL}, {"EndpointName": ""}, "EndpointName and EndpointUrl exclude each other"),
    ({"EndpointAuth": "sigv4", "EndpointRoleArn": ROLE}, BY_URL,
     "EndpointAuth is EndpointUrl's, calls of EndpointName are always signed"),
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
    (SIGNED, {"EndpointInvokeArn": METHOD}, "EndpointAuth=sigv4 needs EndpointInvokeArn, or EndpointRoleArn"),
    (SIGNED, {"EndpointRoleArn": ROLE}, "EndpointAuth=sigv4 needs EndpointInvokeArn, or EndpointRoleArn"),
    ({**SIGNED, "EndpointRoleArn": ROLE, "EndpointInvokeArn": METHOD}, {"EndpointRoleArn": ""},
     "EndpointInvokeArn is for the function's own role, EndpointRoleArn has its own permissions"),
    ({"LowerCaseEndpoint": "fraud", "EndpointRoleArn": ROLE}, {"EndpointRoleArn": ""},
     "LowerCaseEndpoint is for the function's own role, EndpointRoleArn has its own permissions"),
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
    """Only what CloudFormation knows in rules, where there are no conditions by name and no Fn::If: no linter tells."""
    for value in it if isinstance(it, list) else []:
        check_functions(value)
    for key, value in it.items() if isinstance(it, dict) else []:
        known = key in ("Ref", "Fn::And", "Fn::Or", "Fn::Not", "Fn::Equals")
        assert known or not (key.startswith("Fn::") or key == "Condition"), f"{key} is nothing in a rule"
        assert key not in ("Fn::And", "Fn::Or") or 2 <= len(value) <= 10, f"{key} of {len(value)}"
        check_functions(value)


def check_rules(template):
    """Each assertion of a rule refuses what it is for, and that alone; mended, nothing is refused."""
    for given, mended, said in REFUSED:
        real = refused(template, given)
        assert real == [said], f"{given}: refused with {real} instead of {said!r}"
        real = refused(template, {**given, **mended})
        assert not real, f"{given} with {mended}: refused with {real}"
    check_functions(template["Rules"])
    told = [one["AssertDescription"] for rule in template["Rules"].values() for one in rule["Assertions"]]
    assert len(told) == len(set(told)), told
    unasked = set(told) - {said for *_, said in REFUSED}
    assert not unasked, f"nothing here is refused with {unasked}"
    return f"{len(template['Rules'])} rules, {len(told)} assertions: each refuses what it is for, and nothing else"


# What the variables of the examples stand for.
SHELL = {"MODELS": "444455556666", "CALLER": "instream-caller", "REGION": "eu-central-1", "SECRET_ARN": SECRET}


def check_examples(template):
    """Each `deploy` in docs/deploy.md, as a shell and sam read it, is let through; what is not given stays."""
    with open(os.path.join(ROOT, "docs", "deploy.md")) as file:
        commands = re.findall(r"^deploy ((?:.*\\\n)*.*)$", file.read(), re.MULTILINE)
    given, roles = {}, []
    for command in commands:
        words = shlex.split(string.Template(command.replace("\\\n", " ")).substitute(SHELL))
        new = CfnParameterOverridesType().convert(tuple(words), None, None)
        assert len(new) == len(words), f"{command}: sam reads {new}"
        is_other = {"EndpointName", "EndpointUrl"} & set(new)
        given = {"EndpointName": "", **new} if is_other else {**given, **new}
        roles.append(permissions(Stack(template, **given)) - always("<Stream.Arn>"))
    kinds = sorted({action for role in roles for action, *_ in role})
    assert kinds == ["execute-api:Invoke", "secretsmanager:GetSecretValue", "sts:AssumeRole"], kinds
    return f"{len(commands)} deployments of another endpoint in docs/deploy.md, all let through: {', '.join(kinds)}"


ENI = ["CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface",
       "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"]


def check_options(template):
    """Each option changes what it is for, and only where it is chosen."""
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
    made = [it for it in stack.resources if template["Resources"][it]["Type"].startswith("AWS::CloudWatch")]
    assert not made, made
    return "12 options: each changes what it is for, with its own permissions and no others"


def named():
    """The metrics that docs/metrics.md lists."""
    with open(os.path.join(ROOT, "docs", "metrics.md")) as file:
        rows = re.findall(r"^\| (`.*?) \|", file.read(), re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(names) > 20, f"docs/metrics.md lists {names}"
    return names


# What is used of AWS's own metrics, and the dimensions under which they are.
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
        assert name in AWS.get(namespace, {}), f"{where}: {namespace} {name} is not known here"
        values = {"FunctionName": "<Function>", "EventSourceMappingUUID": "<Mapping>",
                  "EndpointName": "fraud-detector", "VariantName": "AllTraffic"}
        expected = {dimension: values[dimension] for dimension in AWS[namespace][name]}
    assert dimensions == expected, f"{where}: {name} has {dimensions} instead of {expected}"


FUNCTIONS = {"IF", "FILL", "PERIOD", "TIME_SERIES", "AND", "OR"}


def check_math(where, expressions, ids):
    """Every name in an expression is a function or another metric of the same place, and no id is there twice."""
    assert len(ids) == len(set(ids)), f"{where}: an id twice in {ids}"
    for own, expression in expressions:
        names = set(re.findall(r"[A-Za-z_]\w*", expression))
        unknown = names - FUNCTIONS - (set(ids) - {own})
        assert not unknown, f"{where}: {unknown} in {expression!r} is nothing"
        assert expression.count("(") == expression.count(")"), f"{where}: {expression!r}"
        assert all(re.fullmatch(r"[a-z]\w*", it) for it in ids), f"{where}: {ids}"
    return set().union(*(set(re.findall(r"[A-Za-z_]\w*", expression)) for _, expression in expressions), set())


def check_alarms(template):
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:page"
    stack = Stack(template, ReservedConcurrency="10", AlarmTopicArn=topic)
    quiet = Stack(template, ReservedConcurrency="10")
    ours, watched, missing = named(), 0, Counter()
    alarms = [name for name, it in template["Resources"].items() if it["Type"] == "AWS::CloudWatch::Alarm"]
    assert alarms
    for name in alarms:
        alarm = stack.resources[name]
        said = alarm.get("AlarmDescription", "")
        assert 80 < len(said) <= 1024 and re.search(r"\bFirst\b|\bfirst\b|raise", said), f"{name} says {said!r}"
        assert alarm["AlarmActions"] == alarm["OKActions"] == [topic], name
        assert "AlarmActions" not in quiet.resources[name] and "OKActions" not in quiet.resources[name], name
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
    ours, done = named(), set()
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
                assert cell not in taken, f"{title!r} lies over {taken[cell]!r}"
                taken[cell] = title
        rows = max(y for _, y in taken) + 1
        assert len(taken) == 24 * rows, f"{24 * rows - len(taken)} cells of the grid are empty"
        seen = set().union(*(check_widget(widget, ours, stack) for widget in body["widgets"]))
        # SageMaker has no metrics of a URL, and another account's are not seen from this one.
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
    # SageMaker's metrics are in the endpoint's region.
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
    assert hidden <= used, f"{title}: {hidden - used} is hidden and not used"
    assert len(labels) == len(set(labels)), f"{title}: a label twice in {labels}"
    for line in properties.get("annotations", {}).get("horizontal", []):
        assert isinstance(line["value"], (int, float)), f"{title}: {line}"
    return done


def check_parameters(template):
    """Each parameter is used, described, and says what it allows."""
    parameters = template["Parameters"]
    uses = json.dumps([template["Conditions"], template["Resources"], template.get("Rules", {})])
    for name, parameter in parameters.items():
        assert f'"{name}"' in uses or "${" + name + "}" in uses, f"{name} is not used"
        assert 10 < len(parameter["Description"]) <= 4000, f"{name} is not described"
        assert ("AllowedPattern" in parameter) == ("ConstraintDescription" in parameter), f"{name}: what is allowed?"
    for name in template["Conditions"]:
        assert f'"{name}"' in uses, f"{name} is not used"
    assert len(parameters) <= 200, len(parameters)
    default = [name for name, it in parameters.items() if "Default" in it]
    assert len(default) == len(parameters), f"no default: {set(parameters) - set(default)}"
    with open(os.path.join(ROOT, "docs", "deploy.md")) as file:
        text = file.read()
    absent = [name for name in parameters if f"`{name}`" not in text]
    assert not absent, f"docs/deploy.md does not tell of {absent}"
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
