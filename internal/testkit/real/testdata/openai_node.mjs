// Exercises an OpenAI-compatible server with the official TypeScript SDK.
// Settings and output are those of openai_python.py (README.md beside this file).
import OpenAI, { toFile } from 'openai';

const env = process.env;
const MODEL = env.MODEL;
const skipped = new Set((env.SKIP_CHECKS ?? '').split(',').filter(Boolean));
const clientOf = (apiKey) => new OpenAI({ baseURL: env.BASE_URL, apiKey, maxRetries: 0, timeout: 120_000 });
const client = clientOf(env.API_KEY);
const ask = [{ role: 'user', content: 'Say hi.' }];

class Skip extends Error {}
const modelOf = (kind) => env[`${kind}_MODEL`] ?? MODEL;
const setting = (name) => { if (!env[name]) throw new Skip(`${name} is not set`); return env[name]; };
const want = (condition, why) => { if (!condition) throw new Error(why); };
// A validating upstream answers with generated examples: there, that it took the request is all there is to see.
const wantAnswer = (condition, why) => want(condition || env.EXAMPLE_ANSWERS, why);
const collect = async (stream) => { const all = []; for await (const x of stream) all.push(x); return all; };

// Half a second of silence: a WAV header and samples of 8 kHz, 16 bits, mono.
function silence() {
  const samples = 4000;
  const b = Buffer.alloc(44 + 2 * samples);
  b.write('RIFF', 0); b.writeUInt32LE(36 + 2 * samples, 4); b.write('WAVEfmt ', 8);
  b.writeUInt32LE(16, 16); b.writeUInt16LE(1, 20); b.writeUInt16LE(1, 22); b.writeUInt32LE(8000, 24);
  b.writeUInt32LE(16000, 28); b.writeUInt16LE(2, 32); b.writeUInt16LE(16, 34);
  b.write('data', 36); b.writeUInt32LE(2 * samples, 40);
  return b;
}

async function expectError(kind, status, key, model, code) {
  try {
    await clientOf(key).chat.completions.create({ model, messages: ask, max_completion_tokens: 8 });
  } catch (e) {
    want(e instanceof kind, `${e.constructor.name}: ${e.message}`);
    want(e.status === status, `status ${e.status}`);
    want(!code || e.code === code, `code ${e.code}, want ${code}`);
    want(e.error?.message, 'the body has no message');
    want(!env.EXPECT_REQUEST_ID || e.requestID, 'no x-request-id');
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
  chat: async () => {
    const r = await client.chat.completions.create({ model: MODEL, messages: ask, max_completion_tokens: 16 });
    want(r.object === 'chat.completion', `object is ${r.object}`);
    want(typeof r.choices[0].message.content === 'string', 'no content');
  },
  'chat-stream': async () => {
    const chunks = await collect(await client.chat.completions.create({
      model: MODEL, messages: ask, max_completion_tokens: 16, stream: true, stream_options: { include_usage: true } }));
    wantAnswer(chunks.length >= 2, `${chunks.length} chunks`);
    want(!env.EXPECT_STREAM_USAGE || chunks.some((c) => c.usage?.total_tokens > 0), 'no chunk carries usage');
  },
  'chat-tools': async () => {
    const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
    const r = await client.chat.completions.create({
      model: MODEL, messages: [{ role: 'user', content: 'Weather in Oslo?' }], max_completion_tokens: 64,
      tools: [{ type: 'function', function: { name: 'get_weather', description: 'Weather of a city', strict: true, parameters } }],
      tool_choice: 'auto', parallel_tool_calls: false });
    const { message } = r.choices[0];
    want(message.tool_calls?.length || message.content !== null, 'neither a call nor content');
    want(!env.EXPECT_TOOL_CALL || message.tool_calls?.[0]?.function.name === 'get_weather', 'no call of get_weather');
  },
  'chat-tool-result': async () => {
    const call = { id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Oslo"}' } };
    const r = await client.chat.completions.create({ model: MODEL, max_completion_tokens: 16, messages: [
      { role: 'user', content: 'Weather in Oslo?' }, { role: 'assistant', content: null, tool_calls: [call] },
      { role: 'tool', tool_call_id: 'call_1', content: 'rain' }] });
    want(r.choices.length > 0, 'no choice');
  },
  'chat-extra-fields': async () => {
    const field = setting('EXPECT_RESPONSE_FIELD');
    const r = await client.chat.completions.create({ model: MODEL, messages: ask, max_completion_tokens: 8, cache_prompt: false, min_p: 0.05 });
    want(field in r, `${field} did not survive: ${Object.keys(r)}`);
  },
  completions: async () => {
    const r = await client.completions.create({ model: MODEL, prompt: 'Once upon a time', max_tokens: 8 });
    want(typeof r.choices[0].text === 'string', 'no text');
  },
  embeddings: async () => {
    const r = await client.embeddings.create({ model: modelOf('EMBEDDING'), input: ['one', 'two'] });
    want(!env.EXPECT_EMBEDDINGS || r.data.length === 2, `${r.data.length} vectors for two inputs`);
    want(r.data[0].embedding.length > 0, 'an empty vector');
  },
  responses: async () => {
    const r = await client.responses.create({ model: MODEL, input: 'Say hi.', max_output_tokens: 16 });
    want(r.object === 'response' && r.output.length > 0, 'no output');
  },
  'responses-stream': async () => {
    const events = await collect(await client.responses.create({ model: MODEL, input: 'Say hi.', max_output_tokens: 16, stream: true }));
    wantAnswer(events.length > 0, 'no event');
    want(!env.EXPECT_EVENTS_IN_ORDER || (events[0].type === 'response.created' && /^response\.(completed|incomplete)$/.test(events.at(-1).type)),
      `${events[0]?.type} … ${events.at(-1)?.type}`);
  },
  transcription: async () => {
    const r = await client.audio.transcriptions.create({ model: modelOf('AUDIO'), file: await toFile(silence(), 'silence.wav'), language: 'en' });
    want(typeof r.text === 'string', 'no text');
  },
  images: async () => {
    const r = await client.images.generate({ model: modelOf('IMAGE'), prompt: 'a lighthouse', n: 1, size: '1024x1024' });
    wantAnswer(r.data?.[0]?.url || r.data?.[0]?.b64_json, 'no image');
  },
  moderations: async () => {
    const r = await client.moderations.create({ model: modelOf('MODERATION'), input: 'hello' });
    want(r.results.length > 0, 'no result');
  },
  unauthorized: () => expectError(OpenAI.AuthenticationError, 401, setting('BAD_API_KEY'), MODEL, env.UNAUTHORIZED_CODE),
  forbidden: () => expectError(OpenAI.PermissionDeniedError, 403, env.API_KEY, setting('FORBIDDEN_MODEL'), env.FORBIDDEN_CODE ?? 'model_not_permitted'),
  'rate-limited': () => expectError(OpenAI.RateLimitError, 429, setting('LIMITED_API_KEY'), env.LIMITED_MODEL ?? MODEL, env.LIMITED_CODE),
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
