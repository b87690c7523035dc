// Writes test/vectors/public-keys.json: requests that are signed with public-key algorithms.
// Follows docs/wire-format.md with node:crypto alone, without the packages. Keeps the keys, and
// keeps a random signature while its string to sign is the same.
//
//     node scripts/make-public-key-vectors.mjs

import {
  constants,
  createHash,
  createPublicKey,
  generateKeyPairSync,
  sign,
  verify,
} from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const place = new URL('../test/vectors/public-keys.json', import.meta.url);
const before = existsSync(place)
  ? JSON.parse(readFileSync(place, 'utf8'))
  : { keys: [], positive: [] };

const signedAt = 1_795_299_926;
const timestamp = '20261121T222526Z';
const audience = 'video-api';
const nonce = 'q83vASNFZ4mrze8BI0VniQ';
const json = '{"videoUrl":"https://videos.example.net/cats.mp4"}';
const sha256 = (data) => createHash('sha256').update(data).digest('hex');

const pss = (saltLength) => ({ padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
const p1363 = { dsaEncoding: 'ieee-p1363' };
const algorithms = {
  ed25519: [() => generateKeyPairSync('ed25519'), null, {}],
  'ecdsa-p256-sha256': [() => generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'sha256', p1363],
  'ecdsa-p384-sha384': [() => generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'sha384', p1363],
  'rsa-pss-sha512': [() => generateKeyPairSync('rsa', { modulusLength: 2048 }), 'sha512', pss(64)],
  'rsa-v1_5-sha256': [() => generateKeyPairSync('rsa', { modulusLength: 2048 }), 'sha256', {}],
};
const DETERMINISTIC = ['ed25519', 'rsa-v1_5-sha256'];
const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

const keys = Object.entries(algorithms).map(([algorithm, [make]], index) => {
  const known = before.keys.find((it) => it.publicKey.algorithm === algorithm);
  if (known !== undefined) return known;
  const pair = make();
  return {
    accessKeyId: `CSAK${CROCKFORD[index + 1].repeat(20)}`,
    publicKey: { algorithm, key: pair.publicKey.export({ format: 'pem', type: 'spki' }) },
    privateKey: pair.privateKey.export({ format: 'pem', type: 'pkcs8' }),
    subject: `owner of ${algorithm}`,
    scopes: [],
    status: 'active',
  };
});

/** Everything of a request except its signature. */
function prepare(key, form) {
  const { algorithm } = key.publicKey;
  const name = `COUNTERSIGN1-${algorithm.toUpperCase()}`;
  const credential = `${key.accessKeyId}/${timestamp.slice(0, 8)}/${audience}/countersign1_request`;
  const isHeader = form === 'header';
  const bodyHash = sha256(isHeader ? json : '');
  const headers = isHeader
    ? [
        ['Host', 'api.example.com'],
        ['Content-Type', 'application/json'],
        ['X-Countersign-Date', timestamp],
        ['X-Countersign-Nonce', nonce],
        ['X-Countersign-Content-Sha256', bodyHash],
      ]
    : [['Host', 'api.example.com']];
  const names = headers.map(([header]) => header.toLowerCase()).sort();
  const parameters = [
    ['Algorithm', name],
    ['Credential', encodeURIComponent(credential)],
    ['Date', timestamp],
    ['Expires', '600'],
    ['Nonce', nonce],
    ['SignedHeaders', 'host'],
  ].map(([parameter, value]) => `X-Countersign-${parameter}=${value}`);
  const [method, path, query] = isHeader
    ? ['POST', '/VideoParser/', 'lang=en']
    : ['GET', '/videos/42', ['format=mp4', ...parameters].join('&')];
  const lines = names.map(
    (it) => `${it}:${headers.find(([header]) => header.toLowerCase() === it)[1]}\n`,
  );
  const canonicalRequest = [method, path, query, lines.join(''), names.join(';'), bodyHash].join(
    '\n',
  );
  const stringToSign = [name, timestamp, credential, sha256(canonicalRequest)].join('\n');
  return {
    name,
    credential,
    isHeader,
    method,
    path,
    query,
    headers,
    names,
    canonicalRequest,
    stringToSign,
  };
}

function finish(it, signature) {
  const { name, credential, isHeader, method, path, query, headers, names } = it;
  const authorization = `${name} Credential=${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  return {
    method,
    target: isHeader ? `${path}?${query}` : `${path}?${query}&X-Countersign-Signature=${signature}`,
    headers: isHeader ? [...headers, ['Authorization', authorization]] : headers,
    body: isHeader ? Buffer.from(json).toString('base64') : '',
  };
}

function signatureOf(key, stringToSign, known) {
  const [, hash, how] = algorithms[key.publicKey.algorithm];
  const publicKey = createPublicKey(key.publicKey.key);
  const data = Buffer.from(stringToSign);
  const isGood =
    known !== undefined &&
    verify(hash, data, { key: publicKey, ...how }, Buffer.from(known, 'hex'));
  if (isGood && !DETERMINISTIC.includes(key.publicKey.algorithm)) return known;
  return sign(hash, data, { key: key.privateKey, ...how }).toString('hex');
}

const positive = keys.flatMap((key) =>
  ['header', 'query'].map((form) => {
    const prepared = prepare(key, form);
    const { algorithm } = key.publicKey;
    const name = `${algorithm} in ${form === 'header' ? 'headers' : 'a URL'}`;
    const known = before.positive.find((it) => it.name === name);
    const signature = signatureOf(key, prepared.stringToSign, known?.signature);
    const { canonicalRequest, stringToSign } = prepared;
    return {
      name,
      form,
      algorithm,
      isDeterministic: DETERMINISTIC.includes(algorithm),
      accessKeyId: key.accessKeyId,
      canonicalRequest,
      stringToSign,
      signature,
      request: finish(prepared, signature),
    };
  }),
);

const keyOf = (algorithm) => keys.find((it) => it.publicKey.algorithm === algorithm);
/**
 * Makes a request that is signed in its headers, with a wrong signature. Keeps random signatures.
 */
function refused(name, expect, algorithm, change) {
  const key = keyOf(algorithm);
  const prepared = prepare(key, 'header');
  const good = positive.find((it) => it.algorithm === algorithm && it.form === 'header').signature;
  const known = (before.mustRefuse ?? []).find((it) => it.name === name)?.request;
  const request = change({ key, prepared, good, known });
  return { name, expect, now: signedAt + 1, request };
}
const reSigned =
  (how, hash) =>
  ({ key, prepared, known }) =>
    known ??
    finish(
      prepared,
      sign(hash, Buffer.from(prepared.stringToSign), { key: key.privateKey, ...how }).toString(
        'hex',
      ),
    );
const written =
  (change) =>
  ({ prepared, good }) =>
    finish(prepared, change(good));
const renamed =
  (name) =>
  ({ prepared, good }) =>
    finish({ ...prepared, name }, good);
const order = (1n << 252n) + 27742317777372353535851937790883648493n;
const reverse = (hex) => Buffer.from(hex, 'hex').reverse().toString('hex');

const mustRefuse = [
  refused(
    'Ed25519 under the name of another algorithm of the same length',
    'ERR_SIGNATURE_MISMATCH',
    'ed25519',
    renamed('COUNTERSIGN1-ECDSA-P256-SHA256'),
  ),
  refused(
    'Ed25519 under the name of HMAC-SHA256',
    'ERR_SIGNATURE_MALFORMED',
    'ed25519',
    renamed('COUNTERSIGN1-HMAC-SHA256'),
  ),
  refused(
    'the algorithm in lower case',
    'ERR_SIGNATURE_MALFORMED',
    'ed25519',
    renamed('countersign1-ed25519'),
  ),
  refused(
    'an algorithm of ours that there is not',
    'ERR_SIGNATURE_MALFORMED',
    'ed25519',
    renamed('COUNTERSIGN1-ED448'),
  ),
  refused(
    'Ed25519 with S + L',
    'ERR_SIGNATURE_MISMATCH',
    'ed25519',
    written((hex) => {
      const s = BigInt(`0x${reverse(hex.slice(64))}`) + order;
      return hex.slice(0, 64) + reverse(s.toString(16).padStart(64, '0'));
    }),
  ),
  refused(
    'Ed25519 in upper case',
    'ERR_SIGNATURE_MALFORMED',
    'ed25519',
    written((hex) => hex.toUpperCase()),
  ),
  refused(
    'Ed25519 cut short',
    'ERR_SIGNATURE_MALFORMED',
    'ed25519',
    written((hex) => hex.slice(2)),
  ),
  refused(
    'ECDSA as DER',
    'ERR_SIGNATURE_MALFORMED',
    'ecdsa-p256-sha256',
    reSigned({ dsaEncoding: 'der' }, 'sha256'),
  ),
  refused(
    'ECDSA with s in front of r',
    'ERR_SIGNATURE_MISMATCH',
    'ecdsa-p256-sha256',
    written((hex) => hex.slice(64) + hex.slice(0, 64)),
  ),
  refused(
    'ECDSA of zeros',
    'ERR_SIGNATURE_MISMATCH',
    'ecdsa-p256-sha256',
    written((hex) => '0'.repeat(hex.length)),
  ),
  refused(
    'ECDSA P-384 with another hash',
    'ERR_SIGNATURE_MISMATCH',
    'ecdsa-p384-sha384',
    reSigned(p1363, 'sha256'),
  ),
  refused(
    'PSS with a salt of 32 bytes',
    'ERR_SIGNATURE_MISMATCH',
    'rsa-pss-sha512',
    reSigned(pss(32), 'sha512'),
  ),
  refused(
    'PSS with another hash',
    'ERR_SIGNATURE_MISMATCH',
    'rsa-pss-sha512',
    reSigned(pss(64), 'sha256'),
  ),
  refused(
    'PKCS #1 v1.5 under the name of PSS',
    'ERR_SIGNATURE_MISMATCH',
    'rsa-pss-sha512',
    reSigned({}, 'sha512'),
  ),
  refused(
    'the key of PSS for PKCS #1 v1.5',
    'ERR_SIGNATURE_MISMATCH',
    'rsa-pss-sha512',
    renamed('COUNTERSIGN1-RSA-V1_5-SHA256'),
  ),
  refused(
    'RSA of zeros',
    'ERR_SIGNATURE_MISMATCH',
    'rsa-v1_5-sha256',
    written((hex) => '0'.repeat(hex.length)),
  ),
];

const note =
  'Generated by scripts/make-public-key-vectors.mjs; the format is described in test/vectors/README.md';
const verifier = { audience, window: 120, ahead: 5, presignedMaxExpires: 3600 };
const vectors = { note, verifier, signedAt, nonce, keys, positive, mustRefuse };
writeFileSync(place, `${JSON.stringify(vectors, undefined, 2)}\n`);
console.log(`${positive.length} positive, ${mustRefuse.length} must be refused`);
