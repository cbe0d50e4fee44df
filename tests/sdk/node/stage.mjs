// What run.py has set up, and what every SDK has to see of it: key modes, error codes, recorded requests.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { beforeEach, test } from 'node:test';

export const stage = JSON.parse(readFileSync(process.env.KEYFERRY_SDK_STAGE, 'utf8'));
export const { direct, generation, tokens, base_urls: baseUrls } = stage;

const HOSTS = {
  openai: 'api.openai.com',
  anthropic: 'api.anthropic.com',
  gemini: 'generativelanguage.googleapis.com',
};
// Where each provider speaks the dialect of OpenAI.
const OPENAI_DIALECT = { openai: '/v1', anthropic: '/v1', gemini: '/v1beta/openai' };
const AUTH_HEADERS = ['authorization', 'x-api-key', 'x-goog-api-key'];
const OURS = /^(x-keyferry-|x-byok-|x-encrypted-key|x-session-key|x-sealed-key|x-forwarded-|forwarded$|via$|x-real-ip$)/;
const PASSING = new RegExp('^(x-stainless-|x-goog-api-client|x-server-timeout|user-agent|content-type|' +
  'anthropic-version|anthropic-beta|openai-organization|openai-project|openai-beta|idempotency-key)');

/** The three ways in which an SDK brings the gateway token and the provider's key. */
const held = {
  name: 'held',
  credential: 'held',
  key: (_provider, token = 'acme') => tokens[token],
  headers: () => ({}),
  providerKey: (provider) => stage.held[provider],
};
const header = {
  name: 'header',
  credential: 'carried',
  key: (_provider, token = 'acme') => tokens[token],
  headers: (provider) => ({ 'X-BYOK-Key': stage.carried[provider] }),
  providerKey: (provider) => stage.carried[provider],
};
const ownSlot = {
  name: 'own_slot',
  credential: 'carried',
  key: (provider) => stage.carried[provider],
  headers: (_provider, token = 'acme') => (direct ? {} : { 'X-Keyferry-Token': tokens[token] }),
  providerKey: (provider) => stage.carried[provider],
};
export const modes = { held, header, ownSlot };

/** The name of a token whose tenant may make one request a day. */
export const quotaToken = (provider) => `quota-node-${generation}-${provider}`;

// ------------------------------------------------------------------------------------------------------- requests

/** What the SDKs sent since the test began: method, url, headers, body bytes, and the head of the answer. */
let sent = [];
const realFetch = globalThis.fetch;

globalThis.fetch = async (input, init = {}) => {
  if (String(input).startsWith('data:')) return realFetch(input, init); // how openai finds out what fetch can do
  const request = new Request(input, { ...init, ...(init.body && { duplex: 'half' }) });
  const body = Buffer.from(await request.arrayBuffer()); // a form gets its boundary here, once
  const entry = { method: request.method, url: request.url, headers: Object.fromEntries(request.headers), body };
  sent.push(entry);
  const { method, headers } = request;
  const answer = await realFetch(request.url, { ...init, method, headers, body: body.length ? body : undefined });
  entry.answer = Object.fromEntries(answer.headers);
  return answer;
};

async function takeRecords() {
  sent = [];
  return (await realFetch(`${stage.front}/__records`, { method: 'DELETE' })).json();
}
beforeEach(takeRecords);

/** The head of the answer to the last request. */
export const lastAnswer = () => sent.at(-1).answer;

export async function nothingArrived() {
  assert.deepEqual(await takeRecords(), [], 'a refused request reached the provider');
}

/** One request arrived: the SDK's own, with the provider's key in one header and nothing of ours. */
export async function arrivedAsSent(mode, provider) {
  const [request] = sent;
  const { pathname, search } = new URL(request.url);
  const prefix = new URL(baseUrls[provider]).pathname.replace(/\/v1$/, '');
  return arrived(mode, provider, (pathname + search).slice(prefix.length), request.body);
}

/** The same on the unified surface: the provider's own endpoint, and its name for the model; nothing else. */
export async function arrivedRenamed(mode, provider, asked) {
  const [request] = sent;
  const path = new URL(request.url).pathname.slice(new URL(baseUrls.unified).pathname.length);
  const [before, after, ...more] = request.body.toString('latin1').split(asked);
  assert.deepEqual([after !== undefined, more], [true, []], 'the model stands there once');
  const renamed = Buffer.from(before + asked.slice(asked.indexOf('/') + 1) + after, 'latin1');
  assert.equal(request.answer['x-keyferry-model'], asked);
  return arrived(mode, provider, OPENAI_DIALECT[provider] + path, renamed);
}

async function arrived(mode, provider, target, body) {
  const [request, ...more] = sent;
  const records = await takeRecords();
  assert.equal(records.length, 1, 'one call of the SDK is one request at the provider');
  assert.equal(more.length, 0, 'the SDK did not try again');
  const [record] = records;
  const headers = Object.fromEntries(record.headers);
  assert.equal(Object.keys(headers).length, record.headers.length, 'a header arrived twice');

  const keys = AUTH_HEADERS.filter((name) => name in headers);
  assert.equal(keys.length, 1, `exactly one header carries a key, not ${keys}`);
  assert.equal(headers[keys[0]].replace(/^Bearer /, ''), mode.providerKey(provider));
  assert.equal(record.provider, provider);
  assert.equal(record.method, request.method);
  assert.equal(record.target, target);
  assert.equal(record.body_sha256, createHash('sha256').update(body).digest('hex'), 'the body changed');
  for (const [name, value] of Object.entries(request.headers)) {
    if (PASSING.test(name)) assert.equal(headers[name], value, `${name} did not arrive as sent`);
  }
  if (direct) return record;
  assert.equal(record.host, HOSTS[provider]);
  assert.deepEqual(Object.keys(headers).filter((name) => OURS.test(name)), [], 'headers of ours left the gateway');
  const whole = JSON.stringify(record);
  assert.ok(!Object.values(tokens).some((token) => whole.includes(token)), 'a gateway token left the gateway');
  assert.equal(request.answer['x-keyferry-credential'], mode.credential);
  assert.equal(request.answer['x-keyferry-accounting'], 'BYOK_NO_BUDGET');
  assert.ok(request.answer['x-keyferry-request-id']);
  return record;
}

// ---------------------------------------------------------------------------------------------------------- tests

/** A test in each key mode. */
export function inEachMode(name, body) {
  for (const mode of direct ? [ownSlot] : [held, header, ownSlot]) test(`${name} [${mode.name}]`, () => body(mode));
}

/** A test that needs keyferry between the SDK and the mock provider. */
export function withGateway(name, body) {
  test(name, { skip: direct && 'needs the gateway' }, body);
}

export function withGatewayInEachMode(name, body) {
  for (const mode of [held, header, ownSlot]) withGateway(`${name} [${mode.name}]`, () => body(mode));
}

/** The error that a call is rejected with. */
export async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail('the call did not fail');
}

export async function collect(stream) {
  const items = [];
  for await (const item of await stream) items.push(item);
  return items;
}

/** A sentence for people: some words, no bare code and no dump. */
export function assertReadable(text) {
  assert.ok(typeof text === 'string' && text.trim().split(/\s+/).length >= 3 && !/^\s*[{[]/.test(text), `unreadable: ${text}`);
}

/** Neither the text nor the parsed body of an exception shows a key or a token. */
export function assertNoKey(error) {
  if (direct) return;
  const shown = `${error} ${error.stack} ${JSON.stringify(error)} ${JSON.stringify(error.error ?? '')}`;
  const secrets = [stage.held, stage.carried, tokens].flatMap(Object.values);
  assert.ok(!secrets.some((secret) => shown.includes(secret)), 'the exception shows a key');
}
