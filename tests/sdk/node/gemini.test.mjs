// The official @google/genai through keyferry: version 3 calls /v1, version 2 /v1beta.
import assert from 'node:assert/strict';
import {
  arrivedAsSent, assertNoKey, assertReadable, baseUrls, collect, direct, generation, inEachMode, lastAnswer, modes,
  nothingArrived, quotaToken, rejection, withGateway, withGatewayInEachMode,
} from './stage.mjs';

const { ApiError, GoogleGenAI } = await import(generation === 'newest' ? '@google/genai' : 'genai-before');
const version = { newest: 'v1', before: 'v1beta' }[generation];

const WEATHER = 'How is the weather in Lisbon?';
const weatherTool = { name: 'get_weather', parametersJsonSchema: { type: 'object', properties: { city: { type: 'string' } } } };
const config = { tools: [{ functionDeclarations: [weatherTool] }] };
const question = { model: 'gemini-mock', contents: 'hello' };

const client = (mode, token = 'acme', more = {}) => new GoogleGenAI({
  apiKey: mode.key('gemini', token),
  httpOptions: { baseUrl: baseUrls.gemini, headers: mode.headers('gemini', token), ...more },
});
const hello = (gemini, model = 'gemini-mock') => gemini.models.generateContent({ model, contents: 'hello' });

/** The SDK keeps the body of an error as its message: as it is, or behind a few words when it came in a stream. */
const bodyOf = (error) => JSON.parse(error.message.slice(error.message.indexOf('{'))).error;

/** The integer code and the named status are Google's; ours is the reason of an ErrorInfo. */
function codeOf(error) {
  const body = bodyOf(error);
  assert.equal(body.code, error.status);
  return body.details.find((detail) => detail['@type'].endsWith('google.rpc.ErrorInfo')).reason;
}

inEachMode('content is generated', async (mode) => {
  const answer = await hello(client(mode));
  assert.equal(answer.text, 'Hello from the mock.');
  assert.ok(answer.usageMetadata.totalTokenCount > 0);
  assert.equal((await arrivedAsSent(mode, 'gemini')).target, `/${version}/models/gemini-mock:generateContent`);
});

inEachMode('a content stream arrives in pieces', async (mode) => {
  const pieces = (await collect(client(mode).models.generateContentStream(question))).map((chunk) => chunk.text);
  assert.equal(pieces.join(''), 'Hello from the mock.');
  assert.ok(pieces.length > 1);
  assert.match((await arrivedAsSent(mode, 'gemini')).target, /:streamGenerateContent\?alt=sse$/);
});

inEachMode('a tool call makes a round trip', async (mode) => {
  const gemini = client(mode);
  const asked = await gemini.models.generateContent({ model: 'gemini-mock', contents: WEATHER, config });
  const [call] = asked.functionCalls;
  assert.deepEqual([call.name, call.args], ['get_weather', { city: 'Lisbon' }]);
  await arrivedAsSent(mode, 'gemini');

  const contents = [
    { role: 'user', parts: [{ text: WEATHER }] },
    asked.candidates[0].content,
    { role: 'user', parts: [{ functionResponse: { name: 'get_weather', response: { degrees: 21 } } }] },
  ];
  const answer = await gemini.models.generateContent({ model: 'gemini-mock', contents, config });
  assert.equal(answer.text, 'It is 21 degrees in Lisbon.');
  await arrivedAsSent(mode, 'gemini');
});

inEachMode('a tool call can be streamed', async (mode) => {
  const stream = client(mode).models.generateContentStream({ model: 'gemini-mock', contents: WEATHER, config });
  const calls = (await collect(stream)).flatMap((chunk) => chunk.functionCalls ?? []);
  assert.deepEqual(calls.map((call) => call.args), [{ city: 'Lisbon' }]);
  await arrivedAsSent(mode, 'gemini');
});

inEachMode('tokens are counted', async (mode) => {
  assert.equal((await client(mode).models.countTokens(question)).totalTokens, 11);
  await arrivedAsSent(mode, 'gemini');
});

inEachMode('embeddings come back as numbers', async (mode) => {
  const answer = await client(mode).models.embedContent({ model: 'embedding-mock', contents: ['one', 'two'] });
  assert.deepEqual(answer.embeddings.map((item) => item.values), [[0.25, -0.5, 0.125], [0.25, -0.5, 0.125]]);
  await arrivedAsSent(mode, 'gemini');
});

inEachMode('models are listed', async (mode) => {
  const models = await collect(client(mode).models.list({ config: { pageSize: 5 } }));
  assert.deepEqual(models.map((model) => model.name), ['models/gemini-mock']);
  assert.equal((await arrivedAsSent(mode, 'gemini')).target, `/${version}/models?pageSize=5`);
});

inEachMode('one model is shown', async (mode) => {
  assert.equal((await client(mode).models.get({ model: 'gemini-mock' })).displayName, 'Gemini Mock');
  await arrivedAsSent(mode, 'gemini');
});

inEachMode('the time limit reaches Google', async (mode) => {
  await hello(client(mode, 'acme', { timeout: 30_000 }));
  const headers = Object.fromEntries((await arrivedAsSent(mode, 'gemini')).headers);
  assert.equal(headers['x-server-timeout'], '30');
  assert.match(headers['x-goog-api-client'], /^google-genai-sdk\//);
});

for (const status of [400, 401, 429, 500]) {
  inEachMode(`an error ${status} of the provider is raised as its own type`, async (mode) => {
    const error = await rejection(hello(client(mode), `gemini-error-${status}`));
    assert.ok(error instanceof ApiError, `${error}`);
    assert.equal(error.status, status);
    assert.match(bodyOf(error).message, /^(The mock provider|Incorrect API key)/);
    assert.equal(lastAnswer()['retry-after'], status === 429 ? '7' : undefined);
    assertNoKey(error);
    await arrivedAsSent(mode, 'gemini');
  });
}

for (const end of ['cut', 'torn']) {
  inEachMode(`a stream that the provider leaves ${end} raises`, async (mode) => {
    const items = await client(mode).models.generateContentStream({ ...question, model: `gemini-${end}` });
    assert.ok((await items.next()).value.text);
    const error = await rejection(collect(items));
    if (direct) return;
    assert.ok(error instanceof ApiError, `${error}`);
    assert.deepEqual([error.status, codeOf(error)], [502, 'BYOK_UPSTREAM_ERROR']);
    assertReadable(bodyOf(error).message);
  });
}

withGatewayInEachMode('a provider that hangs up is our 502', async (mode) => {
  const error = await rejection(hello(client(mode), 'gemini-dead'));
  assert.ok(error instanceof ApiError, `${error}`);
  assert.deepEqual([error.status, codeOf(error)], [502, 'BYOK_UPSTREAM_ERROR']);
});

/** The gateway itself refuses the call: typed, readable, with our code and request id, and not forwarded. */
async function refused(status, name, code, call) {
  const error = await rejection(call());
  assert.ok(error instanceof ApiError, `${error}`);
  assert.deepEqual([error.status, bodyOf(error).status, codeOf(error)], [status, name, code]);
  assertReadable(bodyOf(error).message);
  assert.ok(lastAnswer()['x-keyferry-request-id']);
  assertNoKey(error);
  await nothingArrived();
}

withGatewayInEachMode('a wrong token is unauthorized', (mode) =>
  refused(401, 'UNAUTHENTICATED', 'unauthorized', () => hello(client(mode, 'wrong'))));

withGateway('a provider key without a token is unauthorized', () =>
  refused(401, 'UNAUTHENTICATED', 'unauthorized', () => hello(client(modes.ownSlot, 'acme', { headers: {} }))));

withGateway('a tenant without a key is told so', () =>
  refused(404, 'NOT_FOUND', 'BYOK_KEY_NOT_FOUND', () => hello(client(modes.held, 'keyless'))));

for (const mode of [modes.header, modes.ownSlot]) {
  withGateway(`a tenant without BYOK is told so [${mode.name}]`, () =>
    refused(404, 'NOT_FOUND', 'BYOK_DISABLED', () => hello(client(mode, 'disabled'))));
}

withGatewayInEachMode('an operation that is not offered is a bad request', (mode) =>
  refused(400, 'INVALID_ARGUMENT', 'BYOK_UNKNOWN_OPERATION', () => client(mode).caches.list()));

withGateway('a used up quota is a rate limit', async () => {
  const gemini = client(modes.header, quotaToken('gemini'));
  await hello(gemini);
  await arrivedAsSent(modes.header, 'gemini');
  let retryAfter;
  await refused(429, 'RESOURCE_EXHAUSTED', 'BYOK_QUOTA_EXCEEDED', () =>
    hello(gemini).finally(() => { retryAfter = lastAnswer()['retry-after']; }));
  assert.ok(Number(retryAfter) > 0);
});
