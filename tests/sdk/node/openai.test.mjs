// The official openai package through keyferry.
import assert from 'node:assert/strict';
import OpenAI, { toFile } from 'openai';
import {
  arrivedAsSent, assertNoKey, assertReadable, baseUrls, collect, direct, inEachMode, lastAnswer, modes, nothingArrived,
  quotaToken, rejection, withGateway, withGatewayInEachMode,
} from './stage.mjs';

const messages = [{ role: 'user', content: 'hello' }];
const weather = [{ role: 'user', content: 'How is the weather in Lisbon?' }];
const tools = [{
  type: 'function',
  function: { name: 'get_weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } },
}];
const recording = () => toFile(Buffer.from('RIFF'.padEnd(20_000, '\u0001\u00ff')), 'words.wav');

const client = (mode, token = 'acme', more = {}) => new OpenAI({
  apiKey: mode.key('openai', token),
  baseURL: baseUrls.openai,
  defaultHeaders: mode.headers('openai', token),
  maxRetries: 0,
  ...more,
});
const hello = (ai, model = 'gpt-mock') => ai.chat.completions.create({ model, messages });

inEachMode('a chat completion answers', async (mode) => {
  const answer = await hello(client(mode));
  assert.equal(answer.choices[0].message.content, 'Hello from the mock.');
  assert.ok(answer.usage.total_tokens > 0);
  await arrivedAsSent(mode, 'openai');
});

inEachMode('a chat stream arrives in pieces', async (mode) => {
  const chunks = await collect(client(mode).chat.completions.create({ model: 'gpt-mock', messages, stream: true }));
  const pieces = chunks.map((chunk) => chunk.choices[0].delta.content).filter(Boolean);
  assert.equal(pieces.join(''), 'Hello from the mock.');
  assert.ok(pieces.length > 1);
  await arrivedAsSent(mode, 'openai');
});

inEachMode('a tool call makes a round trip', async (mode) => {
  const ai = client(mode);
  const asked = (await ai.chat.completions.create({ model: 'gpt-mock', messages: weather, tools })).choices[0].message;
  const [call] = asked.tool_calls;
  assert.deepEqual([call.function.name, JSON.parse(call.function.arguments)], ['get_weather', { city: 'Lisbon' }]);
  await arrivedAsSent(mode, 'openai');

  const result = { role: 'tool', tool_call_id: call.id, content: '21' };
  const answer = await ai.chat.completions.create({ model: 'gpt-mock', messages: [...weather, asked, result], tools });
  assert.equal(answer.choices[0].message.content, 'It is 21 degrees in Lisbon.');
  await arrivedAsSent(mode, 'openai');
});

inEachMode('a tool call can be streamed', async (mode) => {
  const stream = client(mode).chat.completions.create({ model: 'gpt-mock', messages: weather, tools, stream: true });
  const calls = (await collect(stream)).flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
  assert.equal(calls.map((call) => call.function.arguments ?? '').join(''), '{"city":"Lisbon"}');
  await arrivedAsSent(mode, 'openai');
});

inEachMode('a response answers', async (mode) => {
  const answer = await client(mode).responses.create({ model: 'gpt-mock', input: 'hello' });
  assert.equal(answer.output_text, 'Hello from the mock.');
  await arrivedAsSent(mode, 'openai');
});

inEachMode('a response stream completes', async (mode) => {
  const events = await collect(client(mode).responses.create({ model: 'gpt-mock', input: 'hello', stream: true }));
  assert.ok(events.filter((event) => event.type === 'response.output_text.delta').length > 1);
  assert.equal(events.at(-1).type, 'response.completed');
  await arrivedAsSent(mode, 'openai');
});

inEachMode('embeddings come back as numbers', async (mode) => {
  const answer = await client(mode).embeddings.create({ model: 'gpt-mock', input: ['one', 'two'] });
  assert.deepEqual(answer.data.map((item) => [...item.embedding]), [[0.25, -0.5, 0.125], [0.25, -0.5, 0.125]]);
  await arrivedAsSent(mode, 'openai');
});

inEachMode('models are listed', async (mode) => {
  assert.ok((await collect(client(mode).models.list())).some((model) => model.id === 'gpt-mock'));
  await arrivedAsSent(mode, 'openai');
});

inEachMode('one model is shown', async (mode) => {
  assert.equal((await client(mode).models.retrieve('gpt-mock')).id, 'gpt-mock');
  await arrivedAsSent(mode, 'openai');
});

inEachMode('speech comes back as bytes', async (mode) => {
  const answer = await client(mode).audio.speech.create({ model: 'gpt-mock', voice: 'alloy', input: 'Say something.' });
  assert.equal(answer.headers.get('content-type'), 'audio/mpeg');
  assert.equal(Buffer.from(await answer.arrayBuffer()).toString(), 'mock speech');
  await arrivedAsSent(mode, 'openai');
});

inEachMode('a recording is transcribed', async (mode) => {
  const answer = await client(mode).audio.transcriptions.create({ model: 'gpt-mock', file: await recording() });
  assert.equal(answer.text, 'Words from the mock.');
  await arrivedAsSent(mode, 'openai');
});

inEachMode('a recording is translated', async (mode) => {
  const answer = await client(mode).audio.translations.create({ model: 'whisper-1', file: await recording() });
  assert.equal(answer.text, 'English words from the mock.');
  await arrivedAsSent(mode, 'openai');
});

inEachMode('headers meant for OpenAI reach it', async (mode) => {
  const ai = client(mode, 'acme', { organization: 'org-mock', project: 'proj-mock', timeout: 30_000 });
  await ai.chat.completions.create({ model: 'gpt-mock', messages }, { headers: { 'Idempotency-Key': 'once' } });
  const headers = Object.fromEntries((await arrivedAsSent(mode, 'openai')).headers);
  assert.equal(headers['openai-organization'], 'org-mock');
  assert.equal(headers['openai-project'], 'proj-mock');
  assert.equal(headers['idempotency-key'], 'once');
});

const CLASSES = {
  400: OpenAI.BadRequestError,
  401: OpenAI.AuthenticationError,
  429: OpenAI.RateLimitError,
  500: OpenAI.InternalServerError,
};
for (const [status, errorClass] of Object.entries(CLASSES)) {
  inEachMode(`an error ${status} of the provider is raised as its own type`, async (mode) => {
    const error = await rejection(hello(client(mode), `gpt-error-${status}`));
    assert.ok(error instanceof errorClass, `${error}`);
    assert.match(error.message, /The mock provider|Incorrect API key/);
    assert.equal(error.status, Number(status));
    assert.equal(error.code, `mock_${status}`);
    assert.match(error.requestID, /^req_mock_/);
    assert.equal(error.headers.get('retry-after'), status === '429' ? '7' : null);
    assertNoKey(error);
    await arrivedAsSent(mode, 'openai');
  });
}

for (const end of ['cut', 'torn']) {
  const broken = {
    chat: (ai) => ai.chat.completions.create({ model: `gpt-${end}`, messages, stream: true }),
    responses: (ai) => ai.responses.create({ model: `gpt-${end}`, input: 'hello', stream: true }),
  };
  for (const [api, open] of Object.entries(broken)) {
    inEachMode(`a ${api} stream that the provider leaves ${end} raises`, async (mode) => {
      const stream = await open(client(mode));
      const items = stream[Symbol.asyncIterator]();
      assert.ok((await items.next()).value);
      const error = await rejection(collect({ [Symbol.asyncIterator]: () => items }));
      if (direct) return;
      assert.ok(error instanceof OpenAI.APIError, `${error}`);
      assert.equal(error.code, 'BYOK_UPSTREAM_ERROR');
      assertReadable(error.message);
    });
  }
}

withGatewayInEachMode('a provider that hangs up is our 502', async (mode) => {
  const error = await rejection(hello(client(mode), 'gpt-dead'));
  assert.ok(error instanceof OpenAI.InternalServerError, `${error}`);
  assert.deepEqual([error.status, error.code], [502, 'BYOK_UPSTREAM_ERROR']);
});

/** The gateway itself refuses the call: typed, readable, with our code and request id, and not forwarded. */
async function refused(errorClass, code, call) {
  const error = await rejection(call());
  assert.ok(error instanceof errorClass, `${error}`);
  assert.equal(error.code, code);
  assertReadable(error.error.message);
  assert.equal(error.requestID, lastAnswer()['x-keyferry-request-id']);
  assertNoKey(error);
  await nothingArrived();
  return error;
}

withGatewayInEachMode('a wrong token is unauthorized', (mode) =>
  refused(OpenAI.AuthenticationError, 'unauthorized', () => hello(client(mode, 'wrong'))));

withGateway('a provider key without a token is unauthorized', () =>
  refused(OpenAI.AuthenticationError, 'unauthorized',
    () => hello(client(modes.ownSlot, 'acme', { defaultHeaders: {} }))));

withGateway('a tenant without a key is told so', () =>
  refused(OpenAI.NotFoundError, 'BYOK_KEY_NOT_FOUND', () => hello(client(modes.held, 'keyless'))));

for (const mode of [modes.header, modes.ownSlot]) {
  withGateway(`a tenant without BYOK is told so [${mode.name}]`, () =>
    refused(OpenAI.NotFoundError, 'BYOK_DISABLED', () => hello(client(mode, 'disabled'))));
}

withGatewayInEachMode('an operation that is not offered is a bad request', (mode) =>
  refused(OpenAI.BadRequestError, 'BYOK_UNKNOWN_OPERATION', () => client(mode).vectorStores.list()));

withGatewayInEachMode('a key in the query is a bad request', (mode) =>
  refused(OpenAI.BadRequestError, 'invalid_request',
    () => hello(client(mode, 'acme', { defaultQuery: { api_key: 'not-here' } }))));

withGateway('a used up quota is a rate limit', async () => {
  const ai = client(modes.header, quotaToken('openai'));
  await hello(ai);
  await arrivedAsSent(modes.header, 'openai');
  const error = await refused(OpenAI.RateLimitError, 'BYOK_QUOTA_EXCEEDED', () => hello(ai));
  assert.ok(Number(error.headers.get('retry-after')) > 0);
});
