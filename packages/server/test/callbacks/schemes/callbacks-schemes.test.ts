import { createHmac } from 'node:crypto';
import {
  type CallbackScheme,
  createCallbackVerifier,
  githubWebhooks,
  slackWebhooks,
  standardWebhooks,
  stripeWebhooks,
} from '@countersign/server/callbacks';
import { readHeaders } from '@countersign/shared';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NOW } from '../receive/callbacks-sender.ts';

const SECRET = "It's a Secret to Everybody";
const mac = (text: string, secret = SECRET): string =>
  createHmac('sha256', secret).update(text).digest('hex');

/** How each sender signs, written independently of our own code. */
const forms: readonly {
  scheme: CallbackScheme;
  headers(body: string, at?: number): Record<string, string>;
}[] = [
  {
    scheme: githubWebhooks(),
    headers: (body) => ({
      'X-GitHub-Delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958',
      'X-Hub-Signature-256': `sha256=${mac(body)}`,
    }),
  },
  {
    scheme: stripeWebhooks(),
    headers: (body, at = NOW) => ({
      'Stripe-Signature': `t=${at},v1=${mac(`${at}.${body}`)},v0=6f`,
    }),
  },
  {
    scheme: slackWebhooks(),
    headers: (body, at = NOW) => ({
      'X-Slack-Request-Timestamp': `${at}`,
      'X-Slack-Signature': `v0=${mac(`v0:${at}:${body}`)}`,
    }),
  },
];

describe.each(forms)('$scheme.name', ({ scheme, headers }) => {
  const verifier = createCallbackVerifier({ scheme, secrets: [SECRET], clock: () => NOW });

  it('accepts what its sender signs', async () => {
    const body = '{"id":"evt_1","event_id":"Ev1"}';
    const callback = await verifier.verify({ headers: headers(body), body });
    expect(callback).toMatchObject({ scheme: scheme.name, sender: scheme.name });
    expect(callback.text()).toBe(body);
  });

  it('refuses any one changed byte of the body', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ minLength: 1 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async (text, at, flip) => {
          const body = Buffer.from(text);
          body[at % body.length] = (body[at % body.length] as number) ^ flip;
          await expect(verifier.verify({ headers: headers(text), body })).rejects.toMatchObject({
            code: 'ERR_SIGNATURE_MISMATCH',
          });
        },
      ),
    );
  });

  it('refuses any one changed character of the signature', async () => {
    const given = headers('{}');
    const name = Object.keys(given).find((it) => /signature/i.test(it)) as string;
    const value = given[name] as string;
    const start = value.search(/[0-9a-f]{64}/);
    for (let at = start; at < start + 64; at++) {
      const other = value[at] === '0' ? '1' : '0';
      const changed = { ...given, [name]: value.slice(0, at) + other + value.slice(at + 1) };
      await expect(verifier.verify({ headers: changed, body: '{}' })).rejects.toMatchObject({
        code: 'ERR_SIGNATURE_MISMATCH',
      });
    }
  });

  it('refuses the hex of another case, and what comes without a signature', async () => {
    const given = headers('{}');
    const upper = Object.fromEntries(
      Object.entries(given).map(([name, value]) => [
        name,
        value.replace(/[0-9a-f]{64}/, (hex) => hex.toUpperCase()),
      ]),
    );
    await expect(verifier.verify({ headers: upper, body: '{}' })).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MISMATCH',
    });
    await expect(verifier.verify({ headers: {}, body: '{}' })).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MISSING',
    });
  });

  it.each([
    ['', 'it has 0 bytes, at least 16 are needed'],
    ['hunter2', 'it has 7 bytes, at least 16 are needed'],
    ['hunter2hunter2!', 'it has 15 bytes, at least 16 are needed'],
    ['aaaaaaaaaaaaaaaaaaaa', 'it repeats a few characters'],
    ['your_secret_key_here', 'it is a placeholder, not a secret'],
  ])(
    'refuses the secret %j, which an attacker could guess, and does not show it',
    (secret, why) => {
      let thrown: unknown;
      try {
        scheme.parseKey(secret);
      } catch (error) {
        thrown = error;
      }
      // Compare the whole message, so no part of the secret can be in it.
      expect(thrown).toMatchObject({
        name: 'TypeError',
        message: `Cannot read callback key: ${why}`,
      });
      expect((thrown as Error).cause).toBeUndefined();
    },
  );
});

describe('a secret', () => {
  const AROUND = 'it begins or ends with a blank, a line break or a quote';
  const INVISIBLE =
    'it holds a control character or one that cannot be seen, such as a byte order mark';
  const good = 'whsec_9Zq2vT7xLw4Rk8NfPq3Bd6Zm1Yc5Gh0J';

  it.each(
    [...forms.map(({ scheme }) => scheme), standardWebhooks()].flatMap((scheme) => [
      [scheme, 'a line break', `${good}\n`, AROUND] as const,
      [scheme, 'a blank in front', ` ${good}`, AROUND] as const,
      [scheme, 'quotes', `"${good}"`, AROUND] as const,
      [scheme, 'a byte order mark', `\ufeff${good}`, INVISIBLE] as const,
      [scheme, 'UTF-16 read as bytes', [...good].join('\0'), INVISIBLE] as const,
      [scheme, 'a line break within', `${good}\n${good}`, INVISIBLE] as const,
    ]),
  )('of $name with %s is refused when the verifier is built', (scheme, _, secret, flaw) =>
    expect(() => createCallbackVerifier({ scheme, secrets: [secret] })).toThrow(
      new TypeError(`Cannot read callback key: ${flaw}`),
    ),
  );

  it.each([
    [stripeWebhooks(), 'Stripe', 'sk_test_51HkQ2vT7xLw4Rk8NfPq3Bd6Zx'],
    [stripeWebhooks(), 'Stripe', 'sk_live_51HkQ2vT7xLw4Rk8NfPq3Bd6Zx'],
    [stripeWebhooks(), 'Stripe', 'rk_live_51HkQ2vT7xLw4Rk8NfPq3Bd6Zx'],
    [githubWebhooks(), 'GitHub', 'ghp_51HkQ2vT7xLw4Rk8NfPq3Bd6Zx'],
    [githubWebhooks(), 'GitHub', 'github_pat_51HkQ2vT7xLw4Rk8NfPq3Bd6Zx'],
    [slackWebhooks(), 'Slack', 'xoxb-51HkQ2vT7xLw4Rk8NfPq3Bd6Zx'],
    [slackWebhooks(), 'Slack', 'xapp-51HkQ2vT7xLw4Rk8NfPq3Bd6Zx'],
  ])('of $name is not a key for the API of %s', (scheme, sender, secret) =>
    expect(() => createCallbackVerifier({ scheme, secrets: [secret] })).toThrow(
      new TypeError(
        `Cannot read callback key: it is a key for the API of ${sender}, expected the secret that its webhooks are signed with`,
      ),
    ),
  );
});

describe.each(forms.slice(1))('$scheme.name signs its time', ({ scheme, headers }) => {
  const verifier = createCallbackVerifier({ scheme, secrets: [SECRET], clock: () => NOW });
  const at = (time: number) => verifier.verify({ headers: headers('{}', time), body: '{}' });

  it('and is refused on both sides of the window', async () => {
    for (const time of [NOW - 300, NOW, NOW + 300]) expect((await at(time)).signedAt).toBe(time);
    await expect(at(NOW - 301)).rejects.toMatchObject({ code: 'ERR_SIGNATURE_EXPIRED' });
    await expect(at(NOW + 301)).rejects.toMatchObject({ code: 'ERR_SIGNATURE_NOT_YET_VALID' });
  });
});

describe('githubWebhooks()', () => {
  it('verifies the example of its documentation', () => {
    const signature = 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17';
    const key = githubWebhooks().parseKey(SECRET);
    expect(key.verify(Buffer.from('Hello, World!'), [signature])).toBe(true);
  });

  it('takes its id from the signed body, and not from X-GitHub-Delivery', async () => {
    const verifier = createCallbackVerifier({ scheme: githubWebhooks(), secrets: [SECRET] });
    const ids = new Set<string>();
    for (const delivery of ['one', 'two', 'one.more']) {
      const headers = {
        'x-hub-signature-256': `sha256=${mac('{}')}`,
        'x-github-delivery': delivery,
      };
      ids.add((await verifier.verify({ headers, body: '{}' })).id);
    }
    expect(ids.size).toBe(1);
    const headers = { 'x-hub-signature-256': `sha256=${mac('{"a":1}')}` };
    const { id, signedAt } = await verifier.verify({ headers, body: '{"a":1}' });
    expect(ids).not.toContain(id);
    expect(signedAt).toBeUndefined();
  });

  it('does not accept SHA-1', () => {
    expect(githubWebhooks().read(readHeaders({ 'x-hub-signature': 'sha1=0' }))).toBeUndefined();
  });
});

describe('stripeWebhooks()', () => {
  const read = (value: string) => stripeWebhooks().read(readHeaders({ 'stripe-signature': value }));

  it('reads every v1 and ignores other parts', () => {
    expect(read('v0=a,t=5,v1=b,x,v1=c,v2=d')).toEqual({
      id: undefined,
      signedAt: 5,
      signatures: ['b', 'c'],
    });
  });

  it.each([
    ['t=5,t=5,v1=b', 'ERR_SIGNATURE_AMBIGUOUS'],
    ['t=5,v1=b,t=6', 'ERR_SIGNATURE_AMBIGUOUS'],
    ['v1=b', 'ERR_SIGNATURE_MALFORMED'],
    ['t=5', 'ERR_SIGNATURE_MALFORMED'],
    ['t=5,v0=b', 'ERR_SIGNATURE_MALFORMED'],
    ['t= 5,v1=b', 'ERR_SIGNATURE_MALFORMED'],
    ['t=5e3,v1=b', 'ERR_SIGNATURE_MALFORMED'],
    [`t=5${',v1=b'.repeat(17)}`, 'ERR_SIGNATURE_MALFORMED'],
    [`t=5,v1=${'b'.repeat(4_096)}`, 'ERR_SIGNATURE_MALFORMED'],
  ])('refuses %s', (value, code) => {
    expect(() => read(value)).toThrow(expect.objectContaining({ code }));
  });
});

describe('the id of', () => {
  it.each([
    ['a Stripe event', stripeWebhooks(), '{"id":"evt_1"}', 'evt_1'],
    ['a Slack event', slackWebhooks(), '{"event_id":"Ev1","id":"x"}', 'Ev1'],
    ['a Slack command', slackWebhooks(), 'token=x&command=%2Fgo', undefined],
    ['JSON that is no object', stripeWebhooks(), '"id"', undefined],
    ['null', stripeWebhooks(), 'null', undefined],
    ['an id that is a number', stripeWebhooks(), '{"id":7}', undefined],
    ['an id with a line feed', stripeWebhooks(), '{"id":"a\\nb"}', undefined],
    ['an inherited id', stripeWebhooks(), '{"__proto__":{"id":"evt_1"}}', undefined],
    ['an empty body', slackWebhooks(), '', undefined],
  ])('%s', (_, scheme, body, id) => {
    expect(scheme.idOf?.(Buffer.from(body))).toBe(id);
  });
});
