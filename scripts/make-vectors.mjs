// Writes test/vectors/countersign.json. Follows docs/wire-format.md with node:crypto alone, without
// the packages: those refuse to sign the requests that a server must refuse.
//
//     node scripts/make-vectors.mjs && npx biome format --write test/vectors
import { createHash, createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';

const ALGORITHM = 'COUNTERSIGN1-HMAC-SHA256';
const keys = [
  {
    accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC',
    secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA',
    subject: 'alice',
    scopes: ['videos:parse'],
    status: 'active',
  },
  {
    accessKeyId: 'CSAK0D1S2A3B4L5E6D7K8E9Y',
    secretAccessKey: 'kD3nRw8sQz1Vx6Yb0Tc5Mh9Lf2Jg7PaU4eWiXoNqZrA',
    subject: 'bob',
    scopes: [],
    status: 'disabled',
  },
  {
    accessKeyId: 'CSAK1E2X3P4R5D6K7E8Y9ABC',
    secretAccessKey: 'pW5qTz0uSx3Xa8Zd2Ve7Oj1Nh4Li9RcW6gYkZqPsBtC',
    subject: 'carol',
    scopes: [],
    status: 'active',
    expiresAt: 1_795_200_000,
  },
  {
    accessKeyId: 'CSAK2N3T4Y5E6T7K8E9Y0ABC',
    secretAccessKey: 'rY7sVb2wUz5Zc0Bf4Xg9Ql3Pj6Nk1TeY8iAmBsRuDvE',
    subject: 'dave',
    scopes: [],
    status: 'active',
    notBefore: 1_795_300_000,
  },
  {
    accessKeyId: 'my_service-1.eu',
    secretAccessKey: 'tA9uXd4yWb7Be2Dh6Zi1Sn5Rl8Pm3VgA',
    subject: 'service',
    scopes: [],
    status: 'active',
  },
];
const [alice, disabled, expired, notYet, service] = keys;
const verifier = { audience: 'video-api', window: 120, ahead: 5, presignedMaxExpires: 3600 };
const signedAt = 1_795_299_926;
const json = '{"videoUrl":"https://videos.example.net/cats.mp4"}';

const sha256 = (data) => createHash('sha256').update(data).digest('hex');
const hmac = (key, data) => createHmac('sha256', key).update(data).digest();
const timestampOf = (seconds) => new Date(seconds * 1000).toISOString().replace(/[-:]|\.\d+/g, '');
const encode = (text) =>
  encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
const trim = (value) => value.replace(/^[ \t]+|[ \t]+$/g, '');

/** Signs as the wire format says. Every part can be given, so that it can be wrong. */
function sign(given) {
  const it = {
    method: 'POST',
    target: '/VideoParser/?lang=en',
    host: 'api.example.com',
    headers: [['Content-Type', 'application/json']],
    body: json,
    key: alice,
    audience: 'video-api',
    signedAt,
    nonce: 'q83vASNFZ4mrze8BI0VniQ',
    signHeaders: [],
    ...given,
  };
  const timestamp = it.timestamp ?? timestampOf(it.signedAt);
  const date = it.date ?? timestamp.slice(0, 8);
  const credential = `${it.key.accessKeyId}/${date}/${it.audience}/countersign1_request`;
  const body = Buffer.isBuffer(it.body) ? it.body : Buffer.from(it.body);
  const headers = it.host === undefined ? [...it.headers] : [['Host', it.host], ...it.headers];
  const bodyHash = it.bodyHash ?? sha256(it.expiresIn === undefined ? body : '');
  const added = [];
  if (it.expiresIn === undefined) {
    added.push(
      ['X-Countersign-Date', timestamp],
      ['X-Countersign-Nonce', it.nonce],
      ['X-Countersign-Content-Sha256', bodyHash],
    );
    if (it.epoch !== undefined) added.push(['X-Countersign-Epoch', it.epoch]);
  }
  const all = [...headers, ...added].map(([name, value]) => [name.toLowerCase(), trim(value)]);
  const must = (name) =>
    [
      'host',
      'content-type',
      'content-encoding',
      'x-http-method-override',
      ...it.signHeaders,
    ].includes(name) || name.startsWith('x-countersign-');
  const names =
    it.names ??
    all
      .map(([name]) => name)
      .filter(must)
      .sort();
  const mark = it.target.indexOf('?');
  let path = mark === -1 ? it.target || '/' : it.target.slice(0, mark);
  let query = mark === -1 ? '' : it.target.slice(mark + 1);
  if (it.expiresIn !== undefined) {
    const parameters = [
      ['Algorithm', it.algorithm ?? ALGORITHM],
      ['Credential', credential],
      ['Date', timestamp],
      ['Expires', String(it.expiresIn)],
      ['Nonce', it.nonce],
      ['SignedHeaders', names.join(';')],
    ];
    query = [query, ...parameters.map(([name, value]) => `X-Countersign-${name}=${encode(value)}`)]
      .filter((part) => part !== '')
      .join('&');
  } else if (mark !== -1 && query === '') {
    path += '?';
  }
  const lines = names
    .map((name) => `${name}:${all.find(([found]) => found === name)?.[1] ?? ''}\n`)
    .join('');
  const canonicalRequest = [it.method, path, query, lines, names.join(';'), bodyHash].join('\n');
  const stringToSign = [ALGORITHM, timestamp, credential, sha256(canonicalRequest)].join('\n');
  const dateKey = hmac(`COUNTERSIGN1${it.key.secretAccessKey}`, date);
  const audienceKey = hmac(dateKey, it.audience);
  const signingKey = hmac(audienceKey, 'countersign1_request');
  const signature = hmac(signingKey, stringToSign).toString('hex');
  const authorization = `${ALGORITHM} Credential=${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  const request =
    it.expiresIn === undefined
      ? {
          method: it.method,
          target: it.target,
          headers: [...headers, ...added, ['Authorization', authorization]],
          body,
        }
      : {
          method: it.method,
          target: `${path}?${query}&X-Countersign-Signature=${signature}`,
          headers,
          body,
        };
  return {
    ...it,
    headers,
    added: [...added, ['Authorization', authorization]],
    canonicalRequest,
    stringToSign,
    dateKey,
    audienceKey,
    signingKey,
    signature,
    request,
  };
}

function positive(name, given = {}) {
  const it = sign(given);
  const vector = {
    name,
    form: it.expiresIn === undefined ? 'header' : 'query',
    request: {
      method: it.method,
      url: `https://${it.host}${it.target}`,
      headers: it.headers,
      body: it.request.body.toString('base64'),
    },
    accessKeyId: it.key.accessKeyId,
    secretAccessKey: it.key.secretAccessKey,
    audience: it.audience,
    signedAt: it.signedAt,
    nonce: it.nonce,
  };
  if (it.epoch !== undefined) vector.epoch = it.epoch;
  if (it.expiresIn !== undefined) vector.expiresIn = it.expiresIn;
  if (it.signHeaders.length > 0) vector.signHeaders = it.signHeaders;
  for (const part of ['canonicalRequest', 'stringToSign']) vector[part] = it[part];
  for (const part of ['dateKey', 'audienceKey', 'signingKey'])
    vector[part] = it[part].toString('hex');
  vector.signature = it.signature;
  if (it.expiresIn === undefined) vector.signedHeaders = it.added;
  else vector.signedUrl = `https://${it.host}${it.request.target}`;
  return vector;
}

/** `tamper` changes the signed request. `signer` says that signers must refuse the request, too. */
function refused(
  name,
  expect,
  given = {},
  tamper = (request) => request,
  { now = signedAt + 1, signer } = {},
) {
  const { request } = sign(given);
  const { method, target, headers, body } = tamper({
    ...request,
    headers: request.headers.map((pair) => [...pair]),
  });
  const vector = {
    name,
    expect,
    now,
    request: { method, target, headers, body: Buffer.from(body).toString('base64') },
  };
  return signer ? { ...vector, signer } : vector;
}

const get = { method: 'GET', headers: [], body: '' };
const set = (name, change) => (request) => ({
  ...request,
  headers: request.headers.map(([found, value]) =>
    found.toLowerCase() === name
      ? [found, typeof change === 'function' ? change(value) : change]
      : [found, value],
  ),
});
const add = (name, value) => (request) => ({
  ...request,
  headers: [...request.headers, [name, value]],
});
const drop = (name) => (request) => ({
  ...request,
  headers: request.headers.filter(([found]) => found.toLowerCase() !== name),
});
const retarget = (change) => (request) => ({ ...request, target: change(request.target) });
const signature = (change) =>
  set('authorization', (value) =>
    value.replace(/Signature=(.*)$/, (_, hex) => `Signature=${change(hex)}`),
  );

const vectors = {
  note: 'Generated by scripts/make-vectors.mjs; the format is described in test/vectors/README.md',
  verifier,
  keys,
  positive: [
    positive('the worked example'),
    positive('a GET without a body', { ...get, target: '/videos' }),
    positive('the root', { ...get, target: '/' }),
    positive('a query that is absent', { ...get, target: '/a' }),
    positive('an empty value', { ...get, target: '/a?x=' }),
    positive('a name without a value', { ...get, target: '/a?x' }),
    positive('a value without a name', { ...get, target: '/a?=x' }),
    positive('empty pairs', { ...get, target: '/a?&&x=1&' }),
    positive('a name that occurs twice', { ...get, target: '/a?id=1&id=2' }),
    positive('the same, the other way round', { ...get, target: '/a?id=2&id=1' }),
    positive('a value that holds "="', { ...get, target: '/a?x=b=c' }),
    positive('a query that holds "?"', { ...get, target: '/a?q=a?b' }),
    positive('a plus', { ...get, target: '/a+b?x=1+2' }),
    positive('an escaped plus', { ...get, target: '/a%2Bb?x=1%2B2' }),
    positive('an escaped slash', { ...get, target: '/files/x%2Fy' }),
    positive('an escaped slash in lower case', { ...get, target: '/files/x%2fy' }),
    positive('escapes of unreserved characters stay', { ...get, target: '/%41%7Euser' }),
    positive('an escape of UTF-8', { ...get, target: '/%C3%A9?x=%E1%88%B4' }),
    positive('a decomposed character', { ...get, target: '/e%CC%81' }),
    positive('an escaped percent sign', { ...get, target: '/a%2520b' }),
    positive('brackets in a query', { ...get, target: '/a?x[]=1&x[0]=2' }),
    positive('characters that URLs leave alone', {
      ...get,
      target: "/!$&'()*+,;=:@~?|^{}".replace('{}', ''),
    }),
    positive('slashes inside a path', { ...get, target: '/a//b/' }),
    positive('a dot that is no segment', { ...get, target: '/.well-known/a..b/c.' }),
    positive('a host with a port', { ...get, host: 'api.example.com:8443' }),
    positive('a host that is an IPv6 address', { ...get, host: '[::1]:8080' }),
    positive('an empty body with a content type', { body: '' }),
    positive('a body that is not UTF-8', {
      body: Buffer.from([0xff]),
      headers: [['Content-Type', 'application/octet-stream']],
    }),
    positive('another body that is not UTF-8', {
      body: Buffer.from([0xfe]),
      headers: [['Content-Type', 'application/octet-stream']],
    }),
    positive('a body without a content type', { headers: [] }),
    positive('a text body', {
      headers: [['Content-Type', 'text/plain;charset=UTF-8']],
      body: 'grüße',
    }),
    positive('a form', {
      headers: [['Content-Type', 'application/x-www-form-urlencoded']],
      body: 'a=1&b=2+3',
    }),
    positive('a compressed body', {
      headers: [
        ['Content-Type', 'application/json'],
        ['Content-Encoding', 'gzip'],
      ],
      body: Buffer.from('1f8b0800000000000003abae050043bfa6a302000000', 'hex'),
    }),
    positive('a GET with a body', { method: 'GET' }),
    positive('a PUT', { method: 'PUT' }),
    positive('a PATCH', { method: 'PATCH' }),
    positive('a DELETE', { ...get, method: 'DELETE' }),
    positive('a HEAD', { ...get, method: 'HEAD' }),
    positive('blanks around a value', { headers: [['Content-Type', ' \tapplication/json \t']] }),
    positive('blanks inside a value stay', {
      headers: [['Content-Type', 'text/plain;  charset="a  b"']],
    }),
    positive('a method override', {
      headers: [
        ['Content-Type', 'application/json'],
        ['X-HTTP-Method-Override', 'PATCH'],
      ],
    }),
    positive('headers that are not signed', {
      headers: [
        ['Content-Type', 'application/json'],
        ['Accept', '*/*'],
        ['User-Agent', 'vectors'],
      ],
    }),
    positive('a further header that is signed', {
      headers: [
        ['Content-Type', 'application/json'],
        ['X-Tenant', 'acme'],
      ],
      signHeaders: ['x-tenant'],
    }),
    positive('an empty signed value', {
      headers: [
        ['Content-Type', 'application/json'],
        ['X-Tenant', ''],
      ],
      signHeaders: ['x-tenant'],
    }),
    positive('an epoch', { epoch: '0rUZxSUWbNHpOdEpVZTEgg' }),
    positive('another access key id, a shorter secret', { key: service }),
    positive('the first second of a day', { signedAt: 1_795_305_600 }),
    positive('the last second of a day', { signedAt: 1_795_305_599 }),
    positive('a leap day', { signedAt: Date.UTC(2028, 1, 29, 12) / 1000 }),
    positive('a presigned URL', { ...get, target: '/videos/42?format=mp4', expiresIn: 600 }),
    positive('a presigned URL without a query', { ...get, target: '/videos/42', expiresIn: 1 }),
    positive('a presigned URL for an hour', {
      ...get,
      target: '/videos/42?a=%2F&b=1+2',
      expiresIn: 3600,
    }),
    positive('a presigned PUT', { ...get, method: 'PUT', target: '/upload', expiresIn: 60 }),
    positive('a presigned URL with a signed header', {
      ...get,
      headers: [['X-Tenant', 'acme']],
      signHeaders: ['x-tenant'],
      expiresIn: 60,
    }),
  ],
  mustRefuse: [
    refused('no signature', 'ERR_SIGNATURE_MISSING', {}, drop('authorization')),
    refused(
      'an Authorization of another scheme',
      'ERR_SIGNATURE_MISSING',
      {},
      set('authorization', 'Bearer abc'),
    ),
    refused(
      'an algorithm that is none',
      'ERR_SIGNATURE_MALFORMED',
      {},
      set('authorization', (value) => value.replace(ALGORITHM, 'COUNTERSIGN1-NONE')),
    ),
    refused(
      'the algorithm in lower case',
      'ERR_SIGNATURE_MALFORMED',
      {},
      set('authorization', (value) => value.replace(ALGORITHM, ALGORITHM.toLowerCase())),
    ),
    refused(
      'no blank after a comma',
      'ERR_SIGNATURE_MALFORMED',
      {},
      set('authorization', (value) => value.replace(', Signed', ',Signed')),
    ),
    refused(
      'an Authorization cut short',
      'ERR_SIGNATURE_MALFORMED',
      {},
      set('authorization', (value) => value.slice(0, 80)),
    ),
    refused(
      'an Authorization of 8 KiB',
      'ERR_SIGNATURE_MALFORMED',
      {},
      set('authorization', (value) =>
        value.replace('SignedHeaders=', `SignedHeaders=${'a'.repeat(8192)};`),
      ),
    ),
    refused(
      'a credential with a part too many',
      'ERR_SIGNATURE_MALFORMED',
      {},
      set('authorization', (value) => value.replace('/video-api/', '/video-api/x/')),
    ),
    refused(
      'a credential for another scheme',
      'ERR_SIGNATURE_MALFORMED',
      {},
      set('authorization', (value) => value.replace('countersign1_request', 'aws4_request')),
    ),
    refused('two Authorization headers', 'ERR_SIGNATURE_AMBIGUOUS', {}, (request) =>
      add('Authorization', request.headers.at(-1)[1])(request),
    ),
    refused(
      'a signature in upper case',
      'ERR_SIGNATURE_MALFORMED',
      {},
      signature((hex) => hex.toUpperCase()),
    ),
    refused(
      'a signature cut short',
      'ERR_SIGNATURE_MALFORMED',
      {},
      signature((hex) => hex.slice(0, 62)),
    ),
    refused(
      'a signature too long',
      'ERR_SIGNATURE_MALFORMED',
      {},
      signature((hex) => `${hex}00`),
    ),
    refused(
      'an empty signature',
      'ERR_SIGNATURE_MALFORMED',
      {},
      signature(() => ''),
    ),
    refused(
      'a signature that is not hex',
      'ERR_SIGNATURE_MALFORMED',
      {},
      signature((hex) => `${hex.slice(0, 63)}g`),
    ),
    refused(
      'a signature with one bit changed',
      'ERR_SIGNATURE_MISMATCH',
      {},
      signature((hex) => hex.slice(0, 63) + (Number.parseInt(hex[63], 16) ^ 1).toString(16)),
    ),
    refused(
      'a signature of zeros',
      'ERR_SIGNATURE_MISMATCH',
      {},
      signature(() => '0'.repeat(64)),
    ),
    refused('another secret', 'ERR_SIGNATURE_MISMATCH', {
      key: { ...alice, secretAccessKey: service.secretAccessKey },
    }),
    refused('an unknown access key', 'ERR_KEY_UNKNOWN', {
      key: { ...alice, accessKeyId: 'CSAK00000000000000000000' },
    }),
    refused('an access key named __proto__', 'ERR_KEY_UNKNOWN', {
      key: { ...alice, accessKeyId: '__proto__' },
    }),
    refused('a disabled access key', 'ERR_KEY_INACTIVE', { key: disabled }),
    refused('an expired access key', 'ERR_KEY_INACTIVE', { key: expired }),
    refused('an access key that is not valid yet', 'ERR_KEY_INACTIVE', { key: notYet }),
    refused('another audience', 'ERR_SIGNATURE_MISMATCH', { audience: 'billing-api' }),
    refused('121 seconds old', 'ERR_SIGNATURE_EXPIRED', {}, undefined, { now: signedAt + 121 }),
    refused('signed in 2014', 'ERR_SIGNATURE_EXPIRED', { signedAt: 1_400_000_000 }),
    refused('6 seconds ahead', 'ERR_SIGNATURE_NOT_YET_VALID', {}, undefined, { now: signedAt - 6 }),
    refused('a year ahead', 'ERR_SIGNATURE_NOT_YET_VALID', { signedAt: signedAt + 31_536_000 }),
    refused(
      'a fresh date on an old signature',
      'ERR_SIGNATURE_MISMATCH',
      {},
      set('x-countersign-date', timestampOf(signedAt + 100)),
      { now: signedAt + 130 },
    ),
    refused('the credential is for another day', 'ERR_SIGNATURE_MALFORMED', { date: '20261120' }),
    refused('February 30th', 'ERR_SIGNATURE_MALFORMED', { timestamp: '20260230T120000Z' }),
    refused('the 24th hour', 'ERR_SIGNATURE_MALFORMED', { timestamp: '20261121T240000Z' }),
    refused('a fraction of a second', 'ERR_SIGNATURE_MALFORMED', {
      timestamp: '20261121T222526.5Z',
    }),
    refused('a time that is not UTC', 'ERR_SIGNATURE_MALFORMED', {
      timestamp: '20261121T222526+01',
    }),
    refused('Unix seconds for a time', 'ERR_SIGNATURE_MALFORMED', {
      timestamp: '1795299926',
      date: '17952999',
    }),
    refused('no date', 'ERR_SIGNATURE_MALFORMED', {}, drop('x-countersign-date')),
    refused('a nonce of 21 characters', 'ERR_SIGNATURE_MALFORMED', {
      nonce: 'q83vASNFZ4mrze8BI0Vni',
    }),
    refused('a nonce of 23 characters', 'ERR_SIGNATURE_MALFORMED', {
      nonce: 'q83vASNFZ4mrze8BI0VniQQ',
    }),
    refused('a nonce in another base64', 'ERR_SIGNATURE_MALFORMED', {
      nonce: 'q83vASNFZ4mrze8BI0+/iQ',
    }),
    refused('an empty nonce', 'ERR_SIGNATURE_MALFORMED', { nonce: '' }),
    refused('no nonce', 'ERR_SIGNATURE_MALFORMED', {}, drop('x-countersign-nonce')),
    refused(
      'another nonce',
      'ERR_SIGNATURE_MISMATCH',
      {},
      set('x-countersign-nonce', 'AAAAAAAAAAAAAAAAAAAAAA'),
    ),
    refused('an epoch that is not base64url', 'ERR_SIGNATURE_MALFORMED', { epoch: 'a b' }),
    refused('a body hash in upper case', 'ERR_SIGNATURE_MALFORMED', {
      bodyHash: sha256(json).toUpperCase(),
    }),
    refused('no body hash', 'ERR_SIGNATURE_MALFORMED', {}, drop('x-countersign-content-sha256')),
    refused('a body that is not signed', 'ERR_COMPONENT_NOT_COVERED', {
      bodyHash: 'UNSIGNED-PAYLOAD',
    }),
    refused('another body', 'ERR_BODY_MISMATCH', {}, (request) => ({
      ...request,
      body: Buffer.from('{"videoUrl":"https://evil.example/"}'),
    })),
    refused('no body', 'ERR_BODY_MISMATCH', {}, (request) => ({
      ...request,
      body: Buffer.alloc(0),
    })),
    refused('0xfe for 0xff', 'ERR_BODY_MISMATCH', { body: Buffer.from([0xff]) }, (request) => ({
      ...request,
      body: Buffer.from([0xfe]),
    })),
    refused(
      'a captured POST as a GET of path and hash',
      'ERR_SIGNATURE_MISMATCH',
      {},
      (request) => ({ ...request, method: 'GET', target: `${request.target}${sha256(json)}` }),
    ),
    refused('the host is not signed', 'ERR_COMPONENT_NOT_COVERED', {
      names: [
        'content-type',
        'x-countersign-content-sha256',
        'x-countersign-date',
        'x-countersign-nonce',
      ],
    }),
    refused('only the host is signed', 'ERR_COMPONENT_NOT_COVERED', { names: ['host'] }),
    refused('the content type is not signed', 'ERR_COMPONENT_NOT_COVERED', {
      names: ['host', 'x-countersign-content-sha256', 'x-countersign-date', 'x-countersign-nonce'],
    }),
    refused('an epoch added', 'ERR_COMPONENT_NOT_COVERED', {}, add('X-Countersign-Epoch', 'AAAA')),
    refused(
      'a session token added',
      'ERR_COMPONENT_NOT_COVERED',
      {},
      add('X-Countersign-Session-Token', 'AAAA'),
    ),
    refused(
      'a method override added',
      'ERR_COMPONENT_NOT_COVERED',
      {},
      add('X-HTTP-Method-Override', 'DELETE'),
    ),
    refused(
      'a content encoding added',
      'ERR_COMPONENT_NOT_COVERED',
      {},
      add('Content-Encoding', 'gzip'),
    ),
    refused(
      'a signed header that is absent',
      'ERR_COMPONENT_NOT_COVERED',
      {
        headers: [
          ['Content-Type', 'application/json'],
          ['X-Tenant', ''],
        ],
        signHeaders: ['x-tenant'],
      },
      drop('x-tenant'),
    ),
    refused(
      'a header named in the list after signing',
      'ERR_SIGNATURE_MISMATCH',
      {
        headers: [
          ['Content-Type', 'application/json'],
          ['X-Tenant', 'acme'],
        ],
      },
      set('authorization', (value) => value.replace('-nonce,', '-nonce;x-tenant,')),
    ),
    refused(
      'a signed header twice',
      'ERR_SIGNATURE_AMBIGUOUS',
      {},
      add('Content-Type', 'application/json'),
    ),
    refused('two hosts', 'ERR_SIGNATURE_AMBIGUOUS', {}, add('Host', 'api.example.com')),
    refused(
      'two dates',
      'ERR_SIGNATURE_AMBIGUOUS',
      {},
      add('X-Countersign-Date', timestampOf(signedAt)),
    ),
    refused('signed headers that are not sorted', 'ERR_SIGNATURE_MALFORMED', {
      names: [
        'host',
        'content-type',
        'x-countersign-content-sha256',
        'x-countersign-date',
        'x-countersign-nonce',
      ],
    }),
    refused('a signed header named twice', 'ERR_SIGNATURE_MALFORMED', {
      names: [
        'content-type',
        'host',
        'host',
        'x-countersign-content-sha256',
        'x-countersign-date',
        'x-countersign-nonce',
      ],
    }),
    refused(
      'signed headers in upper case',
      'ERR_SIGNATURE_MALFORMED',
      {},
      set('authorization', (value) => value.replace('=content-type', '=Content-Type')),
    ),
    refused('another method', 'ERR_SIGNATURE_MISMATCH', {}, (request) => ({
      ...request,
      method: 'PUT',
    })),
    refused(
      'another path',
      'ERR_SIGNATURE_MISMATCH',
      {},
      retarget((target) => target.replace('/VideoParser/', '/videoparser/')),
    ),
    refused(
      'a slash doubled',
      'ERR_SIGNATURE_MISMATCH',
      {},
      retarget((target) => target.replace('/?', '//?')),
    ),
    refused(
      'a letter of the path escaped',
      'ERR_SIGNATURE_MISMATCH',
      {},
      retarget((target) => target.replace('V', '%56')),
    ),
    refused(
      'another query',
      'ERR_SIGNATURE_MISMATCH',
      {},
      retarget((target) => target.replace('en', 'de')),
    ),
    refused(
      'no query',
      'ERR_SIGNATURE_MISMATCH',
      {},
      retarget((target) => target.replace(/\?.*/, '')),
    ),
    refused(
      'a bare question mark added',
      'ERR_SIGNATURE_MISMATCH',
      { target: '/a' },
      retarget((target) => `${target}?`),
    ),
    refused(
      'names of the query exchanged',
      'ERR_SIGNATURE_MISMATCH',
      { target: '/a?id=1&id=2' },
      retarget(() => '/a?id=2&id=1'),
    ),
    refused(
      'a plus for its escape',
      'ERR_SIGNATURE_MISMATCH',
      { target: '/a?x=1%2B2' },
      retarget(() => '/a?x=1+2'),
    ),
    refused(
      'an escape in the other case',
      'ERR_SIGNATURE_MISMATCH',
      { target: '/%C3%A9' },
      retarget(() => '/%c3%a9'),
    ),
    refused(
      'another content type',
      'ERR_SIGNATURE_MISMATCH',
      {},
      set('content-type', 'text/plain'),
    ),
    refused('another host', 'ERR_SIGNATURE_MISMATCH', {}, set('host', 'evil.example')),
    ...[
      ['a dot segment', '/a/./b'],
      ['two dots', '/admin/../b'],
      ['two dots at the end', '/a/..'],
      ['escaped dots', '/a/%2e%2E/b'],
      ['a backslash', '/a\\..\\b'],
      ['a fragment', '/a#b'],
      ['an encoded NUL', '/a%00b'],
      ['a malformed escape', '/a%zz'],
      ['an escape cut short', '/a?x=%'],
      ['an escape that is not UTF-8', '/a?x=%e4'],
      ['an overlong escape', '/%c0%af'],
      ['an escaped surrogate', '/%ED%A0%80'],
      ['a space', '/a b'],
      ['a line feed', '/a\nb'],
      ['a character beyond ASCII', '/é'],
      ['two slashes in front', '//evil.example/a'],
      ['a target of 20,000 characters', `/${'a'.repeat(20_000)}`],
    ].map(([name, target]) =>
      refused(`a target with ${name}`, 'ERR_TARGET_AMBIGUOUS', { ...get, target }, undefined, {
        signer: true,
      }),
    ),
    refused('a target in absolute form', 'ERR_TARGET_AMBIGUOUS', {
      ...get,
      target: 'http://api.example.com/a',
    }),
    refused('a target in asterisk form', 'ERR_TARGET_AMBIGUOUS', {
      ...get,
      method: 'OPTIONS',
      target: '*',
    }),
    refused('a target in authority form', 'ERR_TARGET_AMBIGUOUS', {
      ...get,
      method: 'CONNECT',
      target: 'api.example.com:443',
    }),
    refused('a host with a path', 'ERR_TARGET_AMBIGUOUS', { ...get, host: 'a/b?c@d' }),
    refused(
      'a host with a trailing dot',
      'ERR_TARGET_AMBIGUOUS',
      { ...get, host: 'api.example.com.' },
      undefined,
      { signer: true },
    ),
    refused('a port with a leading zero', 'ERR_TARGET_AMBIGUOUS', {
      ...get,
      host: 'api.example.com:080',
    }),
    refused(
      'a signed value beyond ASCII',
      'ERR_SIGNATURE_MALFORMED',
      { headers: [['Content-Type', 'text/caf\u00e9']] },
      undefined,
      { signer: true },
    ),
    refused(
      'a signed value with a control',
      'ERR_SIGNATURE_MALFORMED',
      { headers: [['Content-Type', 'text/\u0001']] },
      undefined,
      { signer: true },
    ),
    refused(
      'a presigned URL that has expired',
      'ERR_SIGNATURE_EXPIRED',
      { ...get, expiresIn: 60 },
      undefined,
      { now: signedAt + 61 },
    ),
    refused(
      'a presigned URL of the future',
      'ERR_SIGNATURE_NOT_YET_VALID',
      { ...get, expiresIn: 60 },
      undefined,
      { now: signedAt - 6 },
    ),
    refused('a presigned URL for two hours', 'ERR_SIGNATURE_MALFORMED', {
      ...get,
      expiresIn: 7200,
    }),
    refused('a presigned URL for no time', 'ERR_SIGNATURE_MALFORMED', { ...get, expiresIn: 0 }),
    refused('a presigned URL for a negative time', 'ERR_SIGNATURE_MALFORMED', {
      ...get,
      expiresIn: -1,
    }),
    refused('a presigned URL for 1e3 seconds', 'ERR_SIGNATURE_MALFORMED', {
      ...get,
      expiresIn: '1e3',
    }),
    refused(
      'a presigned URL made to last',
      'ERR_SIGNATURE_MISMATCH',
      { ...get, expiresIn: 60 },
      retarget((target) => target.replace('Expires=60', 'Expires=600')),
    ),
    refused(
      'a presigned URL with another method',
      'ERR_SIGNATURE_MISMATCH',
      { ...get, expiresIn: 60 },
      (request) => ({ ...request, method: 'DELETE' }),
    ),
    refused(
      'a presigned URL with another query',
      'ERR_SIGNATURE_MISMATCH',
      { ...get, expiresIn: 60 },
      retarget((target) => target.replace('lang=en', 'lang=de')),
    ),
    refused(
      'a presigned URL with a body',
      'ERR_BODY_MISMATCH',
      { ...get, method: 'PUT', expiresIn: 60 },
      (request) => ({ ...request, body: Buffer.from('x') }),
    ),
    refused(
      'a presigned URL with something behind it',
      'ERR_SIGNATURE_AMBIGUOUS',
      { ...get, expiresIn: 60 },
      retarget((target) => `${target}&x=1`),
    ),
    refused(
      'a presigned URL with a parameter twice',
      'ERR_SIGNATURE_AMBIGUOUS',
      { ...get, expiresIn: 60 },
      retarget((target) => target.replace('?', '?X-Countersign-Expires=600&')),
    ),
    refused(
      'a presigned URL with a parameter in another case',
      'ERR_SIGNATURE_AMBIGUOUS',
      { ...get, expiresIn: 60 },
      retarget((target) => target.replace('?', '?x-countersign-expires=600&')),
    ),
    refused(
      'a presigned URL without its nonce',
      'ERR_SIGNATURE_MALFORMED',
      { ...get, expiresIn: 60 },
      retarget((target) => target.replace(/&X-Countersign-Nonce=[^&]*/, '')),
    ),
    refused(
      'a presigned URL without its signature',
      'ERR_SIGNATURE_MALFORMED',
      { ...get, expiresIn: 60 },
      retarget((target) => target.replace(/&X-Countersign-Signature=.*/, '')),
    ),
    refused('a presigned URL with another algorithm', 'ERR_SIGNATURE_MALFORMED', {
      ...get,
      expiresIn: 60,
      algorithm: 'none',
    }),
    refused(
      'a presigned URL and an Authorization header',
      'ERR_SIGNATURE_AMBIGUOUS',
      { ...get, expiresIn: 60 },
      add('Authorization', sign(get).request.headers.at(-1)[1]),
    ),
    refused(
      'a presigned URL and a date header',
      'ERR_SIGNATURE_AMBIGUOUS',
      { ...get, expiresIn: 60 },
      add('X-Countersign-Date', timestampOf(signedAt)),
    ),
    refused('a signed request with a parameter of ours', 'ERR_SIGNATURE_AMBIGUOUS', {
      target: '/a?X-Countersign-Expires=60',
    }),
  ],
};

writeFileSync(
  new URL('../test/vectors/countersign.json', import.meta.url),
  `${JSON.stringify(vectors, null, 2)}\n`,
);
console.log(`${vectors.positive.length} positive, ${vectors.mustRefuse.length} must be refused`);
