// The packages that senders and receivers of callbacks use, over sockets: what they sign we accept,
// what we sign they accept, and neither takes what was changed on the way.

import {
  createHmac,
  generateKeyPairSync,
  sign as signEd25519,
  verify as verifyEd25519,
} from 'node:crypto';
import { createServer } from 'node:http';
import {
  type CallbackIdentity,
  type CallbackScheme,
  createCallbackVerifier,
  githubWebhooks,
  slackWebhooks,
  standardWebhooks,
  stripeWebhooks,
} from '@countersign/server/callbacks';
import { callbackOf, requireCallback } from '@countersign/server/express';
import * as octokit from '@octokit/webhooks-methods';
import express from 'express';
import fc from 'fast-check';
import { Webhook as StandardWebhook } from 'standardwebhooks';
import Stripe from 'stripe';
import { Webhook as SvixWebhook } from 'svix';
import { describe, expect, it } from 'vitest';
import { listen } from '../../packages/server/test/http/sockets.ts';

const BODY = '{"id":"evt_1","event_id":"Ev1","type":"video.parsed","title":"Ünïcode ✓"}';
const ID = 'msg_2KWPBgLlAfxdpx2AI54pPJ85f4W';
const STANDARD_SECRET = `whsec_${Buffer.alloc(32, 'countersign').toString('base64')}`;
const TEXT_SECRET = 'whsec_9Zq2vT7xLw4Rk8Nf3Bd6';
const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const jwk = privateKey.export({ format: 'jwk' });
const WHSK = `whsk_${Buffer.from(jwk.d ?? '', 'base64url').toString('base64')}`;
const WHPK = `whpk_${Buffer.from(jwk.x ?? '', 'base64url').toString('base64')}`;
// Nothing of it is called: it only signs and verifies.
const stripe = new Stripe('sk_test_countersign');

type Headers = Record<string, string>;

interface Peer {
  readonly name: string;
  readonly scheme: CallbackScheme;
  /** What we are given of the sender. */
  readonly secret: string;
  /** Signs as the sender does. */
  sign(body: string): Headers | Promise<Headers>;
  /** Signs as we do. */
  signOurs(body: string): Headers;
  /** Verifies as the receiver does: throws, or tells that it does not. */
  verify(body: string, headers: Headers): unknown;
}

const now = (): number => Math.floor(Date.now() / 1000);

function signOurs(scheme: CallbackScheme, secret: string): (body: string) => Headers {
  return (body) => {
    const params = { id: ID, signedAt: now() };
    const content = scheme.content(params, Buffer.from(body));
    const signature = scheme.parseKey(secret).sign?.(content) ?? '';
    return scheme.write?.(params, [signature]) ?? written(scheme, params.signedAt, signature);
  };
}

/** The forms that are received only: their headers are written down here. */
function written(scheme: CallbackScheme, at: number, signature: string): Headers {
  if (scheme.name === 'github-webhooks') return { 'x-hub-signature-256': signature };
  if (scheme.name === 'stripe-webhooks') return { 'stripe-signature': `t=${at},v1=${signature}` };
  return { 'x-slack-request-timestamp': `${at}`, 'x-slack-signature': signature };
}

function standardPeer(name: string, webhook: StandardWebhook | SvixWebhook): Peer {
  const scheme = standardWebhooks();
  return {
    name,
    scheme,
    secret: STANDARD_SECRET,
    sign: (body) => {
      const at = new Date();
      return {
        'webhook-id': ID,
        'webhook-timestamp': `${Math.floor(at.getTime() / 1000)}`,
        'webhook-signature': webhook.sign(ID, at, body),
      };
    },
    signOurs: signOurs(scheme, STANDARD_SECRET),
    verify: (body, headers) => webhook.verify(body, headers),
  };
}

const slackBase = (headers: Headers, body: string): string =>
  `v0=${createHmac('sha256', TEXT_SECRET)
    .update(`v0:${headers['x-slack-request-timestamp']}:${body}`)
    .digest('hex')}`;

const peers: Peer[] = [
  standardPeer('standardwebhooks', new StandardWebhook(STANDARD_SECRET)),
  standardPeer('svix', new SvixWebhook(STANDARD_SECRET)),
  {
    name: 'Ed25519 of node:crypto',
    scheme: standardWebhooks(),
    secret: WHPK,
    sign: (body) => {
      const at = `${now()}`;
      const content = Buffer.from(`${ID}.${at}.${body}`);
      return {
        'webhook-id': ID,
        'webhook-timestamp': at,
        'webhook-signature': `v1a,${signEd25519(null, content, privateKey).toString('base64')}`,
      };
    },
    signOurs: signOurs(standardWebhooks(), WHSK),
    verify: (body, headers) => {
      const content = Buffer.from(
        `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`,
      );
      const signature = Buffer.from(headers['webhook-signature']?.slice(4) ?? '', 'base64');
      return verifyEd25519(null, content, publicKey, signature);
    },
  },
  {
    name: 'stripe',
    scheme: stripeWebhooks(),
    secret: TEXT_SECRET,
    sign: (payload) => ({
      'stripe-signature': stripe.webhooks.generateTestHeaderString({
        payload,
        secret: TEXT_SECRET,
      }),
    }),
    signOurs: signOurs(stripeWebhooks(), TEXT_SECRET),
    verify: (body, headers) =>
      stripe.webhooks.constructEvent(body, headers['stripe-signature'] ?? '', TEXT_SECRET),
  },
  {
    name: '@octokit/webhooks-methods',
    scheme: githubWebhooks(),
    secret: TEXT_SECRET,
    sign: async (body) => ({ 'x-hub-signature-256': await octokit.sign(TEXT_SECRET, body) }),
    signOurs: signOurs(githubWebhooks(), TEXT_SECRET),
    verify: (body, headers) =>
      octokit.verify(TEXT_SECRET, body, headers['x-hub-signature-256'] ?? ''),
  },
  {
    name: "Slack's documentation",
    scheme: slackWebhooks(),
    secret: TEXT_SECRET,
    sign: (body) => {
      const headers = { 'x-slack-request-timestamp': `${now()}` };
      return { ...headers, 'x-slack-signature': slackBase(headers, body) };
    },
    signOurs: signOurs(slackWebhooks(), TEXT_SECRET),
    verify: (body, headers) => slackBase(headers, body) === headers['x-slack-signature'],
  },
];

/** A server that receives with us: the answer's status tells whether it was accepted. */
async function ourServer({ scheme, secret }: Pick<Peer, 'scheme' | 'secret'>) {
  const received: CallbackIdentity[] = [];
  const app = express();
  app.post('/', requireCallback({ scheme, secrets: [secret] }), (req, res) => {
    received.push(callbackOf(req));
    res.sendStatus(204);
  });
  return { ...(await listen(app)), received };
}

/** A server that receives with the package. */
async function theirServer({ verify }: Peer) {
  return listen(
    createServer(async (req, res) => {
      const parts: Buffer[] = [];
      for await (const part of req) parts.push(part as Buffer);
      const body = Buffer.concat(parts).toString();
      const accepted = await (async () => verify(body, req.headers as Headers))().catch(
        () => false,
      );
      res.writeHead(accepted === false ? 401 : 204).end();
    }),
  );
}

async function post(origin: string, headers: Headers, body: string | Uint8Array<ArrayBuffer>) {
  return (await fetch(origin, { method: 'POST', headers, body })).status;
}

/**
 * A body in which one byte is another, of those that are text still: some receivers read no other.
 */
function changed(at: number): string {
  const bytes = Buffer.from(BODY);
  const ascii = [...bytes.keys()].filter((index) => (bytes[index] as number) < 0x80);
  const index = ascii[at % ascii.length] as number;
  bytes[index] = bytes[index] === 0x30 ? 0x31 : 0x30;
  return bytes.toString();
}

describe.each(peers)('$name', (peer) => {
  it('signs what we accept, and we refuse it after any one changed byte', async () => {
    const { origin, received } = await ourServer(peer);
    const headers = await peer.sign(BODY);
    expect(await post(origin, headers, BODY)).toBe(204);
    expect(received[0]?.text()).toBe(BODY);
    const length = Buffer.byteLength(BODY);
    for (let at = 0; at < length; at++) {
      const bytes = Buffer.from(BODY);
      bytes[at] = (bytes[at] as number) ^ (1 << (at % 8));
      expect(await post(origin, headers, bytes)).toBe(401);
    }
    expect(received).toHaveLength(1);
  });

  it('accepts what we sign, and refuses it after any one changed byte', async () => {
    const { origin } = await theirServer(peer);
    const headers = peer.signOurs(BODY);
    expect(await post(origin, headers, BODY)).toBe(204);
    for (let at = 0; at < BODY.length; at++)
      if (changed(at) !== BODY) expect(await post(origin, headers, changed(at))).toBe(401);
  });

  it('agrees with us on any text', async () => {
    const verifier = createCallbackVerifier({ scheme: peer.scheme, secrets: [peer.secret] });
    const text = fc
      .oneof(fc.string(), fc.string({ unit: 'grapheme' }))
      .map((it) => JSON.stringify({ it }));
    await fc.assert(
      fc.asyncProperty(text, async (body) => {
        const { body: bytes } = await verifier.verify({ headers: await peer.sign(body), body });
        expect(Buffer.from(bytes).toString()).toBe(body);
        expect(await peer.verify(body, peer.signOurs(body))).not.toBe(false);
      }),
      { numRuns: 50 },
    );
  });

  it('and we refuse what it signed with another secret', async () => {
    const other =
      peer.secret === TEXT_SECRET
        ? 'whsec_AnotherOne7Kq2mB5x'
        : `whsec_${Buffer.alloc(32, 'another one').toString('base64')}`;
    const { origin } = await ourServer({ scheme: peer.scheme, secret: other });
    expect(await post(origin, await peer.sign(BODY), BODY)).toBe(401);
  });

  it('and we tell the bodies ff and fe apart', async () => {
    const { origin } = await ourServer(peer);
    const { scheme } = peer;
    const key = scheme.parseKey(peer.secret === WHPK ? WHSK : peer.secret);
    const params = { id: ID, signedAt: now() };
    const signature = key.sign?.(scheme.content(params, Uint8Array.of(0xff))) ?? '';
    const headers =
      scheme.write?.(params, [signature]) ?? written(scheme, params.signedAt, signature);
    expect(await post(origin, headers, Uint8Array.of(0xff))).toBe(204);
    expect(await post(origin, headers, Uint8Array.of(0xfe))).toBe(401);
  });
});

describe('a rotation', () => {
  it.each(peers.slice(0, 2))('of our sender is understood by $name', async (peer) => {
    const scheme = standardWebhooks();
    const params = { id: ID, signedAt: now() };
    const content = scheme.content(params, Buffer.from(BODY));
    const old = `whsec_${Buffer.alloc(24, 'the old one').toString('base64')}`;
    for (const secrets of [
      [old, STANDARD_SECRET],
      [STANDARD_SECRET, old],
      [WHSK, STANDARD_SECRET],
    ]) {
      const signatures = secrets.map((it) => scheme.parseKey(it).sign?.(content) ?? '');
      const headers = scheme.write?.(params, signatures) ?? {};
      expect(await peer.verify(BODY, headers)).not.toBe(false);
      await expect((async () => peer.verify(changed(0), headers))()).rejects.toThrow(
        'No matching signature found',
      );
    }
  });

  it('of Stripe is understood by us', async () => {
    const { origin } = await ourServer({ scheme: stripeWebhooks(), secret: TEXT_SECRET });
    const headers = (secret: string) =>
      stripe.webhooks.generateTestHeaderString({ payload: BODY, secret });
    const both = `${headers('whsec_AnotherOne7Kq2mB5x')},${headers(TEXT_SECRET).split(',')[1]}`;
    expect(await post(origin, { 'stripe-signature': both }, BODY)).toBe(204);
  });
});
