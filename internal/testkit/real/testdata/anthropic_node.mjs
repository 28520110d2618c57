// Exercises an Anthropic-compatible server with the official TypeScript SDK.
// Settings and output are those of openai_python.py (README.md beside this file).
import Anthropic from '@anthropic-ai/sdk';

const env = process.env;
const MODEL = env.MODEL;
const skipped = new Set((env.SKIP_CHECKS ?? '').split(',').filter(Boolean));
// AUTH=bearer sends Authorization instead of x-api-key.
const credential = (key) => (env.AUTH === 'bearer' ? { authToken: key, apiKey: null } : { apiKey: key, authToken: null });
const clientOf = (key) => new Anthropic({ baseURL: env.BASE_URL, maxRetries: 0, timeout: 120_000, ...credential(key) });
const client = clientOf(env.API_KEY);
const ask = [{ role: 'user', content: 'Say hi.' }];
const tool = { name: 'get_weather', description: 'Weather of a city',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } };

class Skip extends Error {}
const setting = (name) => { if (!env[name]) throw new Skip(`${name} is not set`); return env[name]; };
const want = (condition, why) => { if (!condition) throw new Error(why); };
const collect = async (stream) => { const all = []; for await (const x of stream) all.push(x); return all; };

async function expectError(kind, status, key, model, type) {
  try {
    await clientOf(key).messages.create({ model, max_tokens: 8, messages: ask });
  } catch (e) {
    want(e instanceof kind, `${e.constructor.name}: ${e.message}`);
    want(e.status === status, `status ${e.status}`);
    want(e.error?.type === 'error' && e.error.error?.type === type, `body ${JSON.stringify(e.error)}`);
    want(e.error.error.message, 'no message');
    return;
  }
  throw new Error(`no ${kind.name}`);
}

const checks = {
  'models-list': async () => {
    const models = await collect(await client.models.list());
    want(models.length > 0, 'the list is empty');
    want(!env.EXPECT_MODEL_LISTED || models.some((m) => m.id === MODEL), `${MODEL} is not listed`);
  },
  messages: async () => {
    const r = await client.messages.create({ model: MODEL, max_tokens: 16, system: 'Be short.', messages: ask });
    want(r.type === 'message' && r.role === 'assistant', `type ${r.type}, role ${r.role}`);
    want(r.content[0]?.type === 'text' && r.content[0].text, 'no text');
    want(r.usage.output_tokens > 0, 'no usage');
  },
  'messages-stream': async () => {
    const final = await client.messages.stream({ model: MODEL, max_tokens: 16, messages: ask }).finalMessage();
    want(final.content[0]?.text, 'no text');
    want(final.usage.output_tokens > 0, 'no usage');
  },
  'messages-events': async () => {
    const events = (await collect(await client.messages.create({ model: MODEL, max_tokens: 16, messages: ask, stream: true }))).map((e) => e.type);
    want(events[0] === 'message_start' && events.at(-1) === 'message_stop', `${events[0]} … ${events.at(-1)}`);
    want(events.includes('content_block_delta') && events.includes('message_delta'), `${[...new Set(events)]}`);
  },
  'messages-tools': async () => {
    const r = await client.messages.create({ model: MODEL, max_tokens: 64, messages: [{ role: 'user', content: 'Weather in Oslo?' }],
      tools: [tool], tool_choice: { type: 'auto', disable_parallel_tool_use: true } });
    want(r.content.length > 0, 'no content');
    want(!env.EXPECT_TOOL_CALL || r.content.some((b) => b.type === 'tool_use' && b.name === 'get_weather'), 'no tool_use of get_weather');
  },
  'messages-tool-result': async () => {
    const r = await client.messages.create({ model: MODEL, max_tokens: 16, tools: [tool], messages: [
      { role: 'user', content: 'Weather in Oslo?' },
      { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'get_weather', input: { city: 'Oslo' } }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: 'rain' }] }] });
    want(r.type === 'message', `type ${r.type}`);
  },
  'count-tokens': async () => {
    const r = await client.messages.countTokens({ model: MODEL, messages: ask });
    want(r.input_tokens > 0, `${r.input_tokens} tokens`);
  },
  unauthorized: () => expectError(Anthropic.AuthenticationError, 401, setting('BAD_API_KEY'), MODEL, 'authentication_error'),
  forbidden: () => expectError(Anthropic.PermissionDeniedError, 403, env.API_KEY, setting('FORBIDDEN_MODEL'), 'permission_error'),
  'rate-limited': () => expectError(Anthropic.RateLimitError, 429, setting('LIMITED_API_KEY'), env.LIMITED_MODEL ?? MODEL, 'rate_limit_error'),
};

for (const [name, check] of Object.entries(checks)) {
  try {
    if (skipped.has(name)) throw new Skip('named by SKIP_CHECKS');
    await check();
    console.log(`ok ${name}`);
  } catch (e) {
    const why = `${e.message}`.replace(/\s+/g, ' ').slice(0, 300);
    if (!(e instanceof Skip)) process.exitCode = 1;
    console.log(e instanceof Skip ? `skip ${name}: ${why}` : `FAIL ${name}: ${e.constructor.name}: ${why}`);
  }
}
