// The official openai package on the unified surface: one client before every provider.
import assert from 'node:assert/strict';
import OpenAI, { toFile } from 'openai';
import {
  arrivedRenamed, assertNoKey, assertReadable, baseUrls, collect, modes, nothingArrived, rejection, withGateway,
  withGatewayInEachMode,
} from './stage.mjs';

const messages = [{ role: 'user', content: 'hello' }];
const families = { openai: 'gpt', anthropic: 'claude', gemini: 'gemini' };

const client = (mode, provider, token = 'acme') => new OpenAI({
  apiKey: mode.key(provider, token),
  baseURL: baseUrls.unified,
  defaultHeaders: mode.headers(provider, token),
  maxRetries: 0,
});
const hello = (ai, model) => ai.chat.completions.create({ model, messages });

for (const [provider, family] of Object.entries(families)) {
  withGatewayInEachMode(`a chat completion of ${provider} answers`, async (mode) => {
    const answer = await hello(client(mode, provider), `${provider}/${family}-mock`);
    assert.equal(answer.choices[0].message.content, 'Hello from the mock.');
    await arrivedRenamed(mode, provider, `${provider}/${family}-mock`);
  });

  withGatewayInEachMode(`a chat stream of ${provider} arrives in pieces`, async (mode) => {
    const model = `${provider}/${family}-mock`;
    const chunks = await collect(client(mode, provider).chat.completions.create({ model, messages, stream: true }));
    const pieces = chunks.map((chunk) => chunk.choices[0].delta.content).filter(Boolean);
    assert.equal(pieces.join(''), 'Hello from the mock.');
    assert.ok(pieces.length > 1);
    await arrivedRenamed(mode, provider, model);
  });

  for (const [status, type] of [[401, OpenAI.AuthenticationError], [429, OpenAI.RateLimitError]]) {
    withGatewayInEachMode(`a ${status} of ${provider} is raised as its own type`, async (mode) => {
      const error = await rejection(hello(client(mode, provider), `${provider}/${family}-error-${status}`));
      assert.ok(error instanceof type, String(error));
      assert.match(error.requestID, /^req_mock_/);
      assertNoKey(error);
      await arrivedRenamed(mode, provider, `${provider}/${family}-error-${status}`);
    });
  }
}

for (const provider of ['openai', 'gemini']) {
  withGatewayInEachMode(`embeddings of ${provider} come back as numbers`, async (mode) => {
    const answer = await client(mode, provider).embeddings.create({ model: `${provider}/embed-mock`, input: ['one'] });
    assert.deepEqual(answer.data.map((item) => [...item.embedding]), [[0.25, -0.5, 0.125]]);
    await arrivedRenamed(mode, provider, `${provider}/embed-mock`);
  });
}

withGatewayInEachMode('a recording is transcribed', async (mode) => {
  const file = await toFile(Buffer.from('RIFF'.padEnd(20_000, '\u0001\u00ff')), 'words.wav');
  const answer = await client(mode, 'openai').audio.transcriptions.create({ model: 'openai/gpt-mock', file });
  assert.equal(answer.text, 'Words from the mock.');
  await arrivedRenamed(mode, 'openai', 'openai/gpt-mock');
});

withGateway('what may be used is listed and shown', async () => {
  const ai = client(modes.held, 'openai');
  const listed = (await collect(ai.models.list())).map((model) => model.id);
  assert.deepEqual(listed, ['anthropic/claude-mock', 'mock', 'openai/gpt-mock']);
  assert.equal((await ai.models.retrieve('mock')).owned_by, 'keyferry');
  assert.equal((await ai.models.retrieve('openai/gpt-mock')).owned_by, 'openai');
  await nothingArrived();
});

withGateway('refusals are raised as their types', async () => {
  const ai = client(modes.held, 'openai');
  for (const [call, type, code] of [
    [() => hello(ai, 'gpt-mock'), OpenAI.NotFoundError, 'not_found'],
    [() => hello(ai, 'best'), OpenAI.PermissionDeniedError, 'MODEL_NOT_ALLOWED'],
    [() => ai.responses.create({ model: 'anthropic/claude-mock', input: 'hello' }), OpenAI.BadRequestError, 'BYOK_UNKNOWN_OPERATION'],
    [() => hello(client(modes.held, 'openai', 'keyless'), 'mock'), OpenAI.NotFoundError, 'BYOK_KEY_NOT_FOUND'],
  ]) {
    const error = await rejection(call());
    assert.ok(error instanceof type, String(error));
    assert.equal(error.code, code);
    assertReadable(error.message.replace(/^\d+ /, ''));
    assertNoKey(error);
    await nothingArrived();
  }
});
