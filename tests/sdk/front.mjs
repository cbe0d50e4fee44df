// The simulated providers: aimock, and in front of it a recorder that answers what aimock has no route for.
//
// One port plays all three providers. The gateway is told to dial it for api.openai.com, api.anthropic.com and
// generativelanguage.googleapis.com, so the Host header says which provider is meant; without a gateway (DIRECT=1)
// the first path segment does. Prints one JSON line {"port": …} when it is ready and lives until its standard input
// is closed.
import { createHash } from 'node:crypto';
import http from 'node:http';
import { LLMock } from '@copilotkit/aimock';

const PROVIDER_OF_HOST = {
  'api.openai.com': 'openai',
  'api.anthropic.com': 'anthropic',
  'generativelanguage.googleapis.com': 'gemini',
};

// ---------------------------------------------------------------------------------------------------------- aimock

/** Model prefix and words for an error in the dialect of each provider. */
const FAMILIES = {
  'gpt': { 400: 'invalid_request_error', 401: 'invalid_request_error', 429: 'rate_limit_error', 500: 'server_error' },
  'claude': { 400: 'invalid_request_error', 401: 'authentication_error', 429: 'rate_limit_error', 500: 'api_error' },
  'gemini': { 400: 'INVALID_ARGUMENT', 401: 'UNAUTHENTICATED', 429: 'RESOURCE_EXHAUSTED', 500: 'INTERNAL' },
};
const MESSAGES = {
  400: 'The mock provider cannot read this request.',
  401: 'Incorrect API key provided: {{presented key}}.', // real providers echo the key: the front fills it in
  429: 'The mock provider asks you to slow down.',
  500: 'The mock provider had an accident.',
};

const USAGE = {
  'gpt-mock': { prompt_tokens: 5, completion_tokens: 4, input_tokens: 5, output_tokens: 4 },
  'claude-mock': { input_tokens: 5, output_tokens: 4 },
  'gemini-mock': { promptTokenCount: 5, candidatesTokenCount: 4 },
};

async function startAimock() {
  const aimock = new LLMock({ port: 0, host: '127.0.0.1', chunkSize: 8 });
  for (const [family, types] of Object.entries(FAMILIES)) {
    for (const [status, type] of Object.entries(types)) {
      const error = { message: MESSAGES[status], type, code: family === 'gpt' ? `mock_${status}` : undefined };
      aimock.on({ model: new RegExp(`^${family}-error-${status}$`) }, { error, status: Number(status), retryAfter: 7 });
    }
  }
  const story = { content: 'Once upon a time there was a stream that nobody was allowed to finish.' };
  aimock.on({ model: /-cut$/ }, story, { truncateAfterChunks: 4, latency: 5 });
  aimock.on({ model: /-torn$/ }, story);
  aimock.on({ userMessage: 'weather', hasToolResult: true }, { content: 'It is 21 degrees in Lisbon.' });
  aimock.on({ userMessage: 'weather' }, { toolCalls: [{ name: 'get_weather', arguments: { city: 'Lisbon' } }] });
  aimock.onEmbedding(/.*/, { embedding: [0.25, -0.5, 0.125] });
  aimock.onSpeech(/.*/, { audio: Buffer.from('mock speech').toString('base64'), format: 'mp3' });
  aimock.onTranscription({ transcription: { text: 'Words from the mock.' } });
  aimock.onTranslation({ transcription: { text: 'English words from the mock.' } });
  for (const [model, usage] of Object.entries(USAGE)) {
    aimock.on({ model, userMessage: /hello/i }, { content: 'Hello from the mock.', usage });
  }
  await aimock.start();
  return aimock;
}

// ------------------------------------------------------------------------------ routes that aimock does not have

const ANTHROPIC_MODEL = { type: 'model', id: 'claude-mock', display_name: 'Claude Mock', created_at: '2026-01-01T00:00:00Z' };
const GEMINI_MODEL = { name: 'models/gemini-mock', displayName: 'Gemini Mock', supportedGenerationMethods: ['generateContent'] };

const OWN_ROUTES = {
  'openai GET /v1/models/gpt-mock': () => ({ id: 'gpt-mock', object: 'model', created: 1767225600, owned_by: 'mock' }),
  'anthropic GET /v1/models': () =>
    ({ data: [ANTHROPIC_MODEL], has_more: false, first_id: 'claude-mock', last_id: 'claude-mock' }),
  'anthropic GET /v1/models/claude-mock': () => ANTHROPIC_MODEL,
  'anthropic POST /v1/messages/count_tokens': () => ({ input_tokens: 11 }),
  'gemini GET /models': () => ({ models: [GEMINI_MODEL] }),
  'gemini GET /models/gemini-mock': () => GEMINI_MODEL,
  'gemini POST /models/gemini-mock:countTokens': () => ({ totalTokens: 11 }),
  'gemini POST /models/embedding-mock:batchEmbedContents': (body) =>
    ({ embeddings: JSON.parse(body).requests.map(() => ({ values: [0.25, -0.5, 0.125] })) }),
};

/** The answer of a route of our own, or undefined: then aimock is asked. Gemini's v1 and v1beta are one. */
function ownAnswer(provider, method, path, body) {
  const bare = provider === 'gemini' ? path.replace(/^\/v1(beta)?(?=\/)/, '') : path;
  const answer = OWN_ROUTES[`${provider} ${method} ${bare}`]?.(body);
  return answer && Buffer.from(JSON.stringify(answer));
}

/** Gemini's v1 is its v1beta, and its endpoint in the dialect of OpenAI is OpenAI's. */
function pathAtAimock(provider, target) {
  if (provider !== 'gemini') return target;
  return target.startsWith('/v1beta/openai/') ? target.replace('/v1beta/openai/', '/v1/') : target.replace(/^\/v1\//, '/v1beta/');
}

// ----------------------------------------------------------------------------------------------------------- front

const TEAR_AT = 700;
let records = [];
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

function presentedKey(headers) {
  return headers['x-goog-api-key'] ?? headers['x-api-key'] ?? headers.authorization?.replace(/^Bearer /, '') ?? '';
}

async function serve(aimockPort, request, response) {
  const body = Buffer.concat(await request.toArray());
  if (request.url === '/__records') {
    const taken = JSON.stringify(records);
    if (request.method === 'DELETE') records = [];
    return response.writeHead(200, { 'content-type': 'application/json' }).end(taken);
  }
  let target = request.url;
  let provider = PROVIDER_OF_HOST[request.headers.host];
  if (!provider) [, provider, target] = /^\/(openai|anthropic|gemini)(\/.*)$/.exec(target) ?? [];
  if (!provider) return response.writeHead(421).end();

  const path = target.split('?')[0];
  const record = {
    provider, method: request.method, target, headers: pairs(request.rawHeaders),
    host: request.headers.host, body_sha256: sha256(body), body: body.toString('latin1'),
    response_sha256: null, status: null,
  };
  records.push(record);
  const ids = { 'x-request-id': `req_mock_${records.length}`, 'request-id': `req_mock_${records.length}` };

  if (/-dead\b/.test(path + body.toString('latin1'))) return response.destroy();
  const own = ownAnswer(provider, request.method, path, body);
  if (own) {
    Object.assign(record, { status: 200, response_sha256: sha256(own) });
    return response.writeHead(200, { ...ids, 'content-type': 'application/json', 'content-length': own.length }).end(own);
  }
  const upstream = http.request({
    host: '127.0.0.1', port: aimockPort, method: request.method, agent: false,
    path: pathAtAimock(provider, target),
    headers: { 'content-type': request.headers['content-type'] ?? '', 'content-length': body.length },
  });
  upstream.on('error', () => response.destroy());
  upstream.on('response', (answer) => {
    record.status = answer.statusCode;
    const { 'content-length': _length, connection: _connection, 'transfer-encoding': _coding, ...headers } = answer.headers;
    if (answer.statusCode >= 400) return fillInKey(request, response, answer, { ...headers, ...ids });
    response.writeHead(answer.statusCode, { ...headers, ...ids });
    const hash = createHash('sha256');
    const torn = /-torn\b/.test(path + body.toString('latin1')); // ends in the middle of an event
    let sent = 0;
    answer.on('data', (chunk) => {
      const piece = torn ? chunk.subarray(0, Math.max(0, TEAR_AT - sent)) : chunk;
      sent += chunk.length;
      hash.update(piece);
      if (piece.length) response.write(piece);
      if (piece.length < chunk.length) answer.destroy(new Error('torn'));
    });
    answer.on('end', () => { record.response_sha256 = hash.digest('hex'); response.end(); });
    answer.once('error', () => response.socket?.destroySoon()); // what was cut or torn does not end cleanly
  });
  upstream.end(body);
}

async function fillInKey(request, response, answer, headers) {
  const text = Buffer.concat(await answer.toArray()).toString();
  const filled = text.replaceAll('{{presented key}}', presentedKey(request.headers));
  response.writeHead(answer.statusCode, { ...headers, 'content-length': Buffer.byteLength(filled) }).end(filled);
}

function pairs(flat) {
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i].toLowerCase(), flat[2 * i + 1]]);
}

const aimock = await startAimock();
const server = http.createServer((request, response) =>
  serve(aimock.port, request, response).catch((error) => { console.error(error); response.destroy(); }));
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.resume().on('end', () => process.exit(0));
