// Seals and opens sealed keys with `@hpke/core`, written from the section "Sealed keys" of crates/envelope/README.md.
// One JSON object a line in, one out; see ../README.md.

import { createInterface } from "node:readline";
import { createPrivateKey, createPublicKey, randomBytes, sign, verify } from "node:crypto";
import { Aes256Gcm, CipherSuite, DhkemP256HkdfSha256, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";

const HEADER = '{"alg":"EdDSA","typ":"keyferry-sealing-keys+jws"}';
const utf8 = (text) => new TextEncoder().encode(text);
const encode = (bytes) => Buffer.from(bytes).toString("base64url");
const decode = (text) => new Uint8Array(Buffer.from(text, "base64url"));
const info = (kid) => utf8(`keyferry/sealed/v1\0${kid}`);
const aad = (...fields) => utf8(fields.join("\n"));

function suite(kem) {
  const kems = { 0x10: DhkemP256HkdfSha256, 0x20: DhkemX25519HkdfSha256 };
  return new CipherSuite({ kem: new kems[kem](), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
}

const todo = {
  async public({ kem, secret }) {
    const pair = await suite(kem).kem.deriveKeyPair(decode(secret).buffer);
    return { public_key: encode(await suite(kem).kem.serializePublicKey(pair.publicKey)) };
  },

  async seal({ kem, public_key, kid, purpose, tenant, provider, ts, key }) {
    const n = encode(randomBytes(16));
    const recipientPublicKey = await suite(kem).kem.deserializePublicKey(decode(public_key));
    const { enc, ct } = await suite(kem).seal(
      { recipientPublicKey, info: info(kid) }, utf8(key), aad(purpose, tenant, provider, ts, n));
    return { text: `v=1;kid=${kid};provider=${provider};ts=${ts};n=${n};enc=${encode(enc)};ct=${encode(ct)}` };
  },

  async open({ kem, secret, purpose, tenant, text }) {
    const field = Object.fromEntries(text.split(";").map((part) => part.split("=")));
    const pair = await suite(kem).kem.deriveKeyPair(decode(secret).buffer);
    const key = await suite(kem).open(
      { recipientKey: pair.privateKey, enc: decode(field.enc), info: info(field.kid) },
      decode(field.ct), aad(purpose, tenant, field.provider, field.ts, field.n));
    return { key: Buffer.from(key).toString(), kid: field.kid, provider: field.provider, ts: Number(field.ts) };
  },

  sign({ pem, list }) {
    const signed = `${encode(HEADER)}.${encode(list)}`;
    return { jws: `${signed}.${encode(sign(null, utf8(signed), createPrivateKey(pem)))}` };
  },

  verify({ pem, jws }) {
    const [header, payload, signature] = jws.split(".");
    const key = createPublicKey(pem);
    if (!verify(null, utf8(`${header}.${payload}`), key, decode(signature))) throw new Error("the signature does not hold");
    return { list: Buffer.from(payload, "base64url").toString() };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let answer;
  try {
    answer = await todo[asked.do](asked);
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
