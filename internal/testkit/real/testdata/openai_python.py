"""Exercises an OpenAI-compatible server with the official Python SDK.

Settings come from the environment; README.md beside this file lists them. One
line a check: `ok NAME`, `skip NAME: why` or `FAIL NAME: why`. Exit 1 on a FAIL.
"""
import io
import json
import os
import sys
import wave

import openai

MODEL = os.environ["MODEL"]
SKIPPED = set(filter(None, os.environ.get("SKIP_CHECKS", "").split(",")))
CLIENT = dict(base_url=os.environ["BASE_URL"], max_retries=0, timeout=120)
client = openai.OpenAI(api_key=os.environ["API_KEY"], **CLIENT)
ASK = [{"role": "user", "content": "Say hi."}]
failed = False


class Skip(Exception):
    """A check that the settings leave out."""


def model_of(kind):
    return os.environ.get(kind + "_MODEL", MODEL)


def setting(name):
    if not os.environ.get(name):
        raise Skip(f"{name} is not set")
    return os.environ[name]


def want(condition, why):
    if not condition:
        raise AssertionError(why)


def want_answer(condition, why):
    # A validating upstream answers with generated examples: there, that it took the request is all there is to see.
    want(condition or os.environ.get("EXAMPLE_ANSWERS"), why)


def models_list():
    ids = [m.id for m in client.models.list()]
    want(ids, "the list is empty")
    if os.environ.get("EXPECT_MODEL_LISTED"):
        want(MODEL in ids, f"{MODEL} is not among {ids[:5]}")


def chat():
    r = client.chat.completions.create(model=MODEL, messages=ASK, max_completion_tokens=16)
    want(r.object == "chat.completion", f"object is {r.object}")
    want(isinstance(r.choices[0].message.content, str), "no content")
    want(r.id, "no id")


def chat_stream():
    chunks = list(client.chat.completions.create(
        model=MODEL, messages=ASK, max_completion_tokens=16, stream=True, stream_options={"include_usage": True}))
    want_answer(len(chunks) >= 2, f"{len(chunks)} chunks")
    want(all(c.object == "chat.completion.chunk" for c in chunks), "a chunk is of another kind")
    if os.environ.get("EXPECT_STREAM_USAGE"):
        want(any(c.usage and c.usage.total_tokens > 0 for c in chunks), "no chunk carries usage")


def chat_tools():
    tool = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "strict": True, "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}}}
    r = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Weather in Oslo?"}], tools=[tool],
        tool_choice="auto", parallel_tool_calls=False, max_completion_tokens=64)
    message = r.choices[0].message
    want(message.tool_calls or message.content is not None, "neither a call nor content")
    if os.environ.get("EXPECT_TOOL_CALL"):
        want(message.tool_calls and message.tool_calls[0].function.name == "get_weather", "no call of get_weather")
        json.loads(message.tool_calls[0].function.arguments)


def chat_tool_result():
    r = client.chat.completions.create(model=MODEL, max_completion_tokens=16, messages=[
        {"role": "user", "content": "Weather in Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\":\"Oslo\"}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"}])
    want(r.choices, "no choice")


def chat_extra_fields():
    field = setting("EXPECT_RESPONSE_FIELD")
    r = client.chat.completions.create(model=MODEL, messages=ASK, max_completion_tokens=8, extra_body={"cache_prompt": False, "min_p": 0.05})
    want(field in (r.model_extra or {}), f"{field} did not survive: {sorted(r.model_extra or {})}")


def completions():
    r = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=8)
    want(isinstance(r.choices[0].text, str), "no text")


def embeddings():
    r = client.embeddings.create(model=model_of("EMBEDDING"), input=["one", "two"])
    if os.environ.get("EXPECT_EMBEDDINGS"):
        want(len(r.data) == 2, f"{len(r.data)} vectors for two inputs")
    want(len(r.data[0].embedding) > 0, "an empty vector")


def responses():
    r = client.responses.create(model=MODEL, input="Say hi.", max_output_tokens=16)
    want(r.object == "response", f"object is {r.object}")
    want(r.output, "no output")


def responses_stream():
    events = [e.type for e in client.responses.create(model=MODEL, input="Say hi.", max_output_tokens=16, stream=True)]
    want_answer(events, "no event")
    if os.environ.get("EXPECT_EVENTS_IN_ORDER"):
        want(events[0] == "response.created" and events[-1] in ("response.completed", "response.incomplete"), f"{events[0]} … {events[-1]}")


def transcription():
    sound = io.BytesIO()
    with wave.open(sound, "wb") as w:
        w.setnchannels(1), w.setsampwidth(2), w.setframerate(8000)
        w.writeframes(bytes(8000))
    r = client.audio.transcriptions.create(model=model_of("AUDIO"), file=("half-a-second.wav", sound.getvalue()), language="en")
    want(isinstance(r.text, str), "no text")


def images():
    r = client.images.generate(model=model_of("IMAGE"), prompt="a lighthouse", n=1, size="1024x1024")
    want_answer(r.data and (r.data[0].url or r.data[0].b64_json), "no image")


def moderations():
    r = client.moderations.create(model=model_of("MODERATION"), input="hello")
    want(r.results, "no result")


def expect_error(kind, status, call, code):
    try:
        call()
    except kind as e:
        want(e.status_code == status, f"status {e.status_code}")
        want(code is None or e.code == code, f"code {e.code!r}, want {code!r}")
        want(e.body and isinstance(e.body, dict) and e.body.get("message"), f"the body has no message: {e.body!r}")
        want(os.environ.get("EXPECT_REQUEST_ID") is None or e.request_id, "no x-request-id")
        return
    raise AssertionError(f"no {kind.__name__}")


def ask(key, model):
    return lambda: openai.OpenAI(api_key=key, **CLIENT).chat.completions.create(model=model, messages=ASK, max_completion_tokens=8)


def unauthorized():
    expect_error(openai.AuthenticationError, 401, ask(setting("BAD_API_KEY"), MODEL), os.environ.get("UNAUTHORIZED_CODE"))


def forbidden():
    expect_error(openai.PermissionDeniedError, 403, ask(os.environ["API_KEY"], setting("FORBIDDEN_MODEL")),
                 os.environ.get("FORBIDDEN_CODE", "model_not_permitted"))


def rate_limited():
    key = setting("LIMITED_API_KEY")
    expect_error(openai.RateLimitError, 429, ask(key, os.environ.get("LIMITED_MODEL", MODEL)), os.environ.get("LIMITED_CODE"))


for check in (models_list, chat, chat_stream, chat_tools, chat_tool_result, chat_extra_fields, completions, embeddings,
              responses, responses_stream, transcription, images, moderations, unauthorized, forbidden, rate_limited):
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
