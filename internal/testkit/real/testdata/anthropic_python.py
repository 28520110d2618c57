"""Exercises an Anthropic-compatible server with the official Python SDK.

Settings and output are those of openai_python.py (README.md beside this file).
"""
import os
import sys

import anthropic

MODEL = os.environ["MODEL"]
SKIPPED = set(filter(None, os.environ.get("SKIP_CHECKS", "").split(",")))
ASK = [{"role": "user", "content": "Say hi."}]
TOOL = {"name": "get_weather", "description": "Weather of a city", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
failed = False


class Skip(Exception):
    """A check that the settings leave out."""


def client_of(key):
    # AUTH=bearer sends Authorization instead of x-api-key.
    credential = {"auth_token": key} if os.environ.get("AUTH") == "bearer" else {"api_key": key}
    return anthropic.Anthropic(base_url=os.environ["BASE_URL"], max_retries=0, timeout=120, **credential)


client = client_of(os.environ["API_KEY"])


def setting(name):
    if not os.environ.get(name):
        raise Skip(f"{name} is not set")
    return os.environ[name]


def want(condition, why):
    if not condition:
        raise AssertionError(why)


def models_list():
    models = list(client.models.list())
    want(models, "the list is empty")
    if os.environ.get("EXPECT_MODEL_LISTED"):
        want(MODEL in [m.id for m in models], f"{MODEL} is not listed")


def messages():
    r = client.messages.create(model=MODEL, max_tokens=16, system="Be short.", messages=ASK)
    want(r.type == "message" and r.role == "assistant", f"type {r.type}, role {r.role}")
    want(r.content and r.content[0].type == "text" and r.content[0].text, "no text")
    want(r.usage.output_tokens > 0, "no usage")


def messages_stream():
    with client.messages.stream(model=MODEL, max_tokens=16, messages=ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    want(text, "no text")
    want(final.stop_reason in ("end_turn", "max_tokens", "stop_sequence"), f"stop_reason {final.stop_reason}")
    want(final.usage.output_tokens > 0, "no usage")


def messages_events():
    events = [e.type for e in client.messages.create(model=MODEL, max_tokens=16, messages=ASK, stream=True)]
    want(events[0] == "message_start" and events[-1] == "message_stop", f"{events[0]} … {events[-1]}")
    want("content_block_delta" in events and "message_delta" in events, f"{sorted(set(events))}")


def messages_tools():
    r = client.messages.create(model=MODEL, max_tokens=64, messages=[{"role": "user", "content": "Weather in Oslo?"}],
                               tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    want(r.content, "no content")
    if os.environ.get("EXPECT_TOOL_CALL"):
        want(any(b.type == "tool_use" and b.name == "get_weather" for b in r.content), "no tool_use of get_weather")


def messages_tool_result():
    r = client.messages.create(model=MODEL, max_tokens=16, tools=[TOOL], messages=[
        {"role": "user", "content": "Weather in Oslo?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}]}])
    want(r.type == "message", f"type {r.type}")


def count_tokens():
    r = client.messages.count_tokens(model=MODEL, messages=ASK)
    want(r.input_tokens > 0, f"{r.input_tokens} tokens")


def expect_error(kind, status, key, model, error_type):
    try:
        client_of(key).messages.create(model=model, max_tokens=8, messages=ASK)
    except kind as e:
        want(e.status_code == status, f"status {e.status_code}")
        want(isinstance(e.body, dict) and e.body.get("type") == "error", f"body {e.body!r}")
        want(e.body["error"].get("type") == error_type, f"error.type {e.body['error'].get('type')!r}, want {error_type!r}")
        want(e.body["error"].get("message"), "no message")
        return
    raise AssertionError(f"no {kind.__name__}")


def unauthorized():
    expect_error(anthropic.AuthenticationError, 401, setting("BAD_API_KEY"), MODEL, "authentication_error")


def forbidden():
    expect_error(anthropic.PermissionDeniedError, 403, os.environ["API_KEY"], setting("FORBIDDEN_MODEL"), "permission_error")


def rate_limited():
    key = setting("LIMITED_API_KEY")
    expect_error(anthropic.RateLimitError, 429, key, os.environ.get("LIMITED_MODEL", MODEL), "rate_limit_error")


for check in (models_list, messages, messages_stream, messages_events, messages_tools, messages_tool_result,
              count_tokens, unauthorized, forbidden, rate_limited):
    name = check.__name__.replace("_", "-")
    try:
        if name in SKIPPED:
            raise Skip("named by SKIP_CHECKS")
        check()
        print("ok", name)
    except Skip as why:
        print(f"skip {name}: {why}")
    except Exception as why:  # a script of checks: whatever went wrong is the finding
        failed = True
        print(f"FAIL {name}: {type(why).__name__}: {' '.join(str(why).split())[:300]}")
sys.exit(1 if failed else 0)
