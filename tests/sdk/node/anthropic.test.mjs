// The official @anthropic-ai/sdk through keyferry: version 1 sends its key as a bearer, version 0 as x-api-key.
import assert from 'node:assert/strict';
import {
  arrivedAsSent, assertNoKey, assertReadable, baseUrls, collect, direct, generation, inEachMode, lastAnswer, modes,
  nothingArrived, quotaToken, rejection, withGateway, withGatewayInEachMode,
} from './stage.mjs';

const { default: Anthropic } = await import(generation === 'newest' ? '@anthropic-ai/sdk' : 'anthropic-before');

const messages = [{ role: 'user', content: 'hello' }];
const weather = [{ role: 'user', content: 'How is the weather in Lisbon?' }];
const tools = [{ name: 'get_weather', input_schema: { type: 'object', properties: { city: { type: 'string' } } } }];
const question = { model: 'claude-mock', max_tokens: 64, messages };

const client = (mode, token = 'acme', more = {}) => new Anthropic({
  apiKey: mode.key('anthropic', token),
  baseURL: baseUrls.anthropic,
  defaultHeaders: mode.headers('anthropic', token),
  maxRetries: 0,
  ...more,
});
const hello = (claude, model = 'claude-mock') => claude.messages.create({ ...question, model });

/** The code where both generations can reach it; the newer one also reads it into a property. */
function codeOf(error) {
  const code = error.error.error.details.error_code;
  if (generation === 'newest') assert.equal(error.errorCode, code);
  return code;
}

inEachMode('a message answers', async (mode) => {
  const answer = await hello(client(mode));
  assert.equal(answer.content[0].text, 'Hello from the mock.');
  assert.ok(answer.usage.output_tokens > 0);
  await arrivedAsSent(mode, 'anthropic');
});

inEachMode('a message stream arrives in pieces', async (mode) => {
  const stream = client(mode).messages.stream(question);
  const pieces = [];
  stream.on('text', (text) => pieces.push(text));
  assert.equal((await stream.finalMessage()).stop_reason, 'end_turn');
  assert.equal(pieces.join(''), 'Hello from the mock.');
  assert.ok(pieces.length > 1);
  await arrivedAsSent(mode, 'anthropic');
});

inEachMode('a raw stream ends with its last event', async (mode) => {
  const events = await collect(client(mode).messages.create({ ...question, stream: true }));
  assert.deepEqual([events[0].type, events.at(-1).type], ['message_start', 'message_stop']);
  await arrivedAsSent(mode, 'anthropic');
});

inEachMode('a tool call makes a round trip', async (mode) => {
  const claude = client(mode);
  const asked = await claude.messages.create({ ...question, messages: weather, tools });
  const { type, id, name, input } = asked.content.at(-1);
  assert.deepEqual([type, name, input], ['tool_use', 'get_weather', { city: 'Lisbon' }]);
  await arrivedAsSent(mode, 'anthropic');

  const result = { type: 'tool_result', tool_use_id: id, content: '21' };
  const turns = [
    ...weather,
    { role: 'assistant', content: [{ type, id, name, input }] },
    { role: 'user', content: [result] },
  ];
  const answer = await claude.messages.create({ ...question, messages: turns, tools });
  assert.equal(answer.content[0].text, 'It is 21 degrees in Lisbon.');
  await arrivedAsSent(mode, 'anthropic');
});

inEachMode('a tool call can be streamed', async (mode) => {
  const answer = await client(mode).messages.stream({ ...question, messages: weather, tools }).finalMessage();
  assert.deepEqual(answer.content.at(-1).input, { city: 'Lisbon' });
  await arrivedAsSent(mode, 'anthropic');
});

inEachMode('tokens are counted', async (mode) => {
  const counted = await client(mode).messages.countTokens({ model: 'claude-mock', messages });
  assert.equal(counted.input_tokens, 11);
  await arrivedAsSent(mode, 'anthropic');
});

inEachMode('models are listed', async (mode) => {
  const models = await collect(client(mode).models.list({ limit: 5 }));
  assert.deepEqual(models.map((model) => model.id), ['claude-mock']);
  assert.equal((await arrivedAsSent(mode, 'anthropic')).target, '/v1/models?limit=5');
});

inEachMode('one model is shown', async (mode) => {
  assert.equal((await client(mode).models.retrieve('claude-mock')).display_name, 'Claude Mock');
  await arrivedAsSent(mode, 'anthropic');
});

inEachMode('a beta reaches Anthropic', async (mode) => {
  await client(mode, 'acme', { timeout: 30_000 }).beta.messages.create({ ...question, betas: ['mock-2026-01-01'] });
  const record = await arrivedAsSent(mode, 'anthropic');
  const headers = Object.fromEntries(record.headers);
  assert.equal(headers['anthropic-beta'], 'mock-2026-01-01');
  assert.ok(headers['anthropic-version']);
  assert.equal(record.target.endsWith('?beta=true'), generation === 'before');
});

const CLASSES = {
  400: Anthropic.BadRequestError,
  401: Anthropic.AuthenticationError,
  429: Anthropic.RateLimitError,
  500: Anthropic.InternalServerError,
};
for (const [status, errorClass] of Object.entries(CLASSES)) {
  inEachMode(`an error ${status} of the provider is raised as its own type`, async (mode) => {
    const error = await rejection(hello(client(mode), `claude-error-${status}`));
    assert.ok(error instanceof errorClass, `${error}`);
    assert.match(error.message, /The mock provider|Incorrect API key/);
    assert.equal(error.status, Number(status));
    assert.match(error.requestID, /^req_mock_/);
    assert.equal(error.headers.get('retry-after'), status === '429' ? '7' : null);
    assertNoKey(error);
    await arrivedAsSent(mode, 'anthropic');
  });
}

for (const end of ['cut', 'torn']) {
  inEachMode(`a stream that the provider leaves ${end} raises`, async (mode) => {
    const stream = await client(mode).messages.create({ ...question, model: `claude-${end}`, stream: true });
    const items = stream[Symbol.asyncIterator]();
    assert.equal((await items.next()).value.type, 'message_start');
    const error = await rejection(collect({ [Symbol.asyncIterator]: () => items }));
    if (direct) return;
    assert.ok(error instanceof Anthropic.APIError, `${error}`);
    assert.equal(codeOf(error), 'BYOK_UPSTREAM_ERROR');
    assertReadable(error.error.error.message);
  });

  inEachMode(`the stream helper does not take a ${end} message as whole`, async (mode) => {
    const error = await rejection(client(mode).messages.stream({ ...question, model: `claude-${end}` }).finalMessage());
    if (direct) return;
    assert.ok(error instanceof Anthropic.APIError, `${error}`);
    assert.equal(codeOf(error), 'BYOK_UPSTREAM_ERROR');
  });
}

withGatewayInEachMode('a provider that hangs up is our 502', async (mode) => {
  const error = await rejection(hello(client(mode), 'claude-dead'));
  assert.ok(error instanceof Anthropic.InternalServerError, `${error}`);
  assert.deepEqual([error.status, codeOf(error)], [502, 'BYOK_UPSTREAM_ERROR']);
});

/** The gateway itself refuses the call: typed, readable, with our code and request id, and not forwarded. */
async function refused(errorClass, code, call) {
  const error = await rejection(call());
  assert.ok(error instanceof errorClass, `${error}`);
  assert.equal(codeOf(error), code);
  assert.equal(error.error.type, 'error');
  assert.ok(error.type);
  assertReadable(error.error.error.message);
  assert.equal(error.requestID, lastAnswer()['x-keyferry-request-id']);
  assertNoKey(error);
  await nothingArrived();
  return error;
}

withGatewayInEachMode('a wrong token is unauthorized', async (mode) => {
  const error = await refused(Anthropic.AuthenticationError, 'unauthorized', () => hello(client(mode, 'wrong')));
  assert.equal(error.type, 'authentication_error');
});

withGateway('a provider key without a token is unauthorized', () =>
  refused(Anthropic.AuthenticationError, 'unauthorized',
    () => hello(client(modes.ownSlot, 'acme', { defaultHeaders: {} }))));

withGateway('a tenant without a key is told so', () =>
  refused(Anthropic.NotFoundError, 'BYOK_KEY_NOT_FOUND', () => hello(client(modes.held, 'keyless'))));

for (const mode of [modes.header, modes.ownSlot]) {
  withGateway(`a tenant without BYOK is told so [${mode.name}]`, () =>
    refused(Anthropic.NotFoundError, 'BYOK_DISABLED', () => hello(client(mode, 'disabled'))));
}

withGatewayInEachMode('an operation that is not offered is a bad request', (mode) =>
  refused(Anthropic.BadRequestError, 'BYOK_UNKNOWN_OPERATION', () => client(mode).messages.batches.list()));

withGatewayInEachMode('a key in the query is a bad request', (mode) =>
  refused(Anthropic.BadRequestError, 'invalid_request',
    () => hello(client(mode, 'acme', { defaultQuery: { api_key: 'not-here' } }))));

withGateway('a used up quota is a rate limit', async () => {
  const claude = client(modes.header, quotaToken('anthropic'));
  await hello(claude);
  await arrivedAsSent(modes.header, 'anthropic');
  const error = await refused(Anthropic.RateLimitError, 'BYOK_QUOTA_EXCEEDED', () => hello(claude));
  assert.ok(Number(error.headers.get('retry-after')) > 0);
});
