import { randomBytes } from 'node:crypto';
import { LATEST_TIME, quote, SignatureError } from '@countersign/shared';
import * as z from 'zod';
import { accessKeyMetadataSchema } from '../keys/access-key-schema.ts';
import { encodeCrockford } from '../keys/generate-access-key.ts';
import { masterKeyOption } from '../keys/master-key-option.ts';
import { type MasterKeyProvider, MasterKeys } from '../keys/master-keys.ts';
import {
  LONGEST_SESSION,
  SESSION_PREFIX,
  type SessionRevocations,
} from '../keys/session-revocations.ts';
import { BoundedMap } from '../lib/bounded-map.ts';
import { objectOption, parseOptions, strictClockOption } from '../lib/options.ts';
import type { Identity } from '../verify/identity.ts';
import type { SessionKey, SessionProvider } from '../verify/session-provider.ts';
import { storeFailed } from '../verify/store-failed.ts';
import { openToken, type SessionClaims, sealToken } from './session-token.ts';

/** What a client signs with for a while. */
export interface SessionCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Sent with every request, signed. */
  readonly sessionToken: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** Who may do what, and for how long. */
export interface SessionGrant {
  readonly subject: string;
  readonly scopes: readonly string[];
  /** The one service that the credentials are for. */
  readonly audience: string;
  /** Seconds: 3,600 if not given. */
  readonly ttl?: number | undefined;
}

/** Lends credentials out for minutes, and opens what it lent. */
export interface Sessions extends SessionProvider {
  /**
   * Issues session credentials: for a server that knows by its own means who somebody is, as by a password.
   *
   * @throws TypeError or RangeError naming the field that cannot be used
   */
  issue(grant: SessionGrant): Promise<SessionCredentials>;
  /**
   * Issues session credentials to somebody who signed a request: never for more than the access key may do, nor for longer than
   * it lives; they end with it where it is disabled or revoked.
   *
   * @param identity who signed
   * @param wanted what of it, for how long
   * @throws SignatureError `ERR_SCOPE_MISSING` where more is wanted than there is, or the request was signed with a session;
   * `ERR_KEY_INACTIVE` where the key, or what it signed until now, was revoked meanwhile
   * @throws TypeError or RangeError naming the field of `wanted` that cannot be used
   */
  lend(identity: Identity, wanted?: WantedSession): Promise<SessionCredentials>;
}

/** What is asked for by somebody who has an access key. */
export interface WantedSession {
  /** Those of the key if not given. */
  readonly scopes?: readonly string[] | undefined;
  /** Seconds: 3,600 if not given. */
  readonly ttl?: number | undefined;
}

const wantedSchema = z.strictObject({
  scopes: z.array(z.string()).max(1_000).optional(),
  ttl: z.number().optional(),
});

export interface SessionsOptions {
  /** Who issues them: a server opens only those of its own issuer. */
  readonly issuer: string;
  /** What tokens are sealed with, the same on all servers: see {@link MasterKeyProvider}. */
  readonly masterKey: MasterKeyProvider;
  /** Where what is revoked stands: the key store, the one that has the keys on which sessions are lent. */
  readonly revocations: SessionRevocations;
  /** The most seconds that a session may live: 43,200 (12 hours) if not given, at most 604,800. */
  readonly maxTtl?: number | undefined;
  /** Unix seconds: when sessions begin, and so when they end. The clock of `revocations` if not given. */
  readonly clock?: (() => number) | undefined;
}

const optionsSchema = z.strictObject({
  issuer: z.string().min(1).max(256),
  masterKey: masterKeyOption('a function that gives one'),
  revocations: objectOption<SessionRevocations>(
    'isSessionRevoked',
    'a key store that remembers revocations, such as new RedisKeyStore(…)',
  ),
  maxTtl: z.int().min(1).max(LONGEST_SESSION).default(43_200),
  clock: strictClockOption.optional(),
});

const MOST_OPENED = 10_000;
/** Milliseconds. */
const OPEN_FOR = 60_000;

/**
 * Builds what lends credentials out. A session lies nowhere: all that a server needs is sealed in its token, the secret too, and
 * still every request proves that its sender has the secret. A token alone is worth nothing.
 *
 * @param options see {@link SessionsOptions}; durations in seconds
 * @throws TypeError or RangeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { createVerifier, generateMasterKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
 * import { createSessions } from '@countersign/server/sessions';
 *
 * const keys = new MemoryKeyStore();
 * const sessions = createSessions({ issuer: 'video-api', masterKey: generateMasterKey(), revocations: keys });
 * const verifier = createVerifier({ audience: 'video-api', keys, sessions, nonces: new MemoryNonceStore() });
 * const credentials = await sessions.issue({ subject: 'alice', scopes: ['videos:parse'], audience: verifier.audience });
 * console.assert(credentials.expiresAt > Date.now() / 1000);
 * ```
 * @see docs/keys.md, RFC 7516 for the token, RFC 7800 for the secret in it
 */
export function createSessions(options: SessionsOptions): Sessions {
  const { issuer, masterKey, revocations, maxTtl, clock } = parseOptions(
    'sessions',
    optionsSchema,
    options,
  );
  const masterKeys = new MasterKeys(masterKey);
  const grantSchema = z.strictObject({
    subject: accessKeyMetadataSchema.shape.subject,
    scopes: accessKeyMetadataSchema.shape.scopes,
    audience: accessKeyMetadataSchema.shape.audiences.unwrap().element,
    ttl: z.number().min(1).max(maxTtl).default(Math.min(3_600, maxTtl)),
  });
  /** A client sends the same token all the time. Opened anew now and then, in case that its master key is there no more. */
  const opened = new BoundedMap<string, { readonly claims: SessionClaims; readonly at: number }>(
    MOST_OPENED,
  );

  /** @param signer who asks for it, if somebody does who signed */
  async function issueFor(grant: SessionGrant, signer?: Identity): Promise<SessionCredentials> {
    const fields = Object.entries(grant ?? {}).filter(([, value]) => value !== undefined);
    const { subject, scopes, audience, ttl } = parseOptions(
      'session',
      grantSchema,
      Object.fromEntries(fields),
    );
    const accessKeyId = SESSION_PREFIX + encodeCrockford(randomBytes(20));
    const secretAccessKey = randomBytes(32).toString('base64url');
    const begin = await ask(() => revocations.beginSession(subject));
    const { issuedAt, signedSince, versions } = begin;
    const now = clock?.() ?? begin.now;
    const parent = signer?.accessKeyId;
    const exp = Math.min(Math.ceil(now + ttl), Math.floor(signer?.expiresAt ?? LATEST_TIME));
    if (signer !== undefined) {
      // It was verified a moment ago, perhaps by a server that had not heard yet of what is revoked by now.
      if (!(signer.signedAt >= signedSince)) throw inactive('what it signed until now is revoked');
      if (!(exp > now)) throw inactive('it ends now');
      const session = { accessKeyId, parent, subject, issuedAt, versions };
      if (await ask(() => revocations.isSessionRevoked(session)))
        throw inactive('it is not active, or not in the store that sessions have as "revocations"');
    }
    const sessionToken = await sealToken(
      {
        iss: issuer,
        sub: subject,
        aud: audience,
        iat: issuedAt,
        nbf: Math.floor(now),
        exp,
        jti: accessKeyId,
        scope: scopes.join(' '),
        ver: versions,
        ...(parent === undefined ? {} : { parent }),
        cnf: { jwk: { kty: 'oct', alg: 'HS256', k: secretAccessKey } },
      },
      masterKeys,
    );
    return { accessKeyId, secretAccessKey, sessionToken, expiresAt: exp };
  }

  async function open(token: string): Promise<SessionClaims | undefined> {
    const known = opened.get(token);
    const now = performance.now();
    if (known !== undefined && now - known.at <= OPEN_FOR) return known.claims;
    opened.delete(token);
    const claims = await openToken(token, masterKeys);
    if (claims?.iss !== issuer) return undefined;
    opened.set(token, { claims, at: now });
    return claims;
  }

  return {
    issue: (grant) => issueFor(grant),

    async lend(identity, wanted = {}) {
      const { subject, audience, session } = identity;
      const { scopes = identity.scopes, ttl } = parseOptions('session', wantedSchema, wanted);
      if (session !== undefined)
        throw new SignatureError(
          'ERR_SCOPE_MISSING',
          'Session credentials cannot be lent on: sign with the access key',
        );
      const missing = scopes.find((scope) => !identity.scopes.includes(scope));
      if (missing !== undefined)
        throw new SignatureError(
          'ERR_SCOPE_MISSING',
          `The access key does not have the scope ${quote(missing)}`,
        );
      return issueFor({ subject, scopes, audience, ttl }, identity);
    },

    async find(sessionToken): Promise<SessionKey | undefined> {
      const claims = await open(sessionToken);
      if (claims === undefined) return undefined;
      const { jti, sub, aud, iat, nbf, exp, scope, ver, parent, cnf } = claims;
      const isRevoked = await revocations.isSessionRevoked({
        accessKeyId: jti,
        parent,
        subject: sub,
        issuedAt: iat,
        versions: ver,
      });
      return {
        accessKeyId: jti,
        secretAccessKey: cnf.jwk.k,
        subject: sub,
        scopes: Object.freeze(scope === '' ? [] : scope.split(' ')),
        audiences: [aud],
        status: isRevoked ? 'revoked' : 'active',
        created: iat,
        notBefore: nbf,
        expiresAt: exp,
        session: { parent },
      };
    },
  };
}

async function ask<T>(question: () => Promise<T>): Promise<T> {
  try {
    return await question();
  } catch (cause) {
    throw storeFailed('key', cause);
  }
}

function inactive(why: string): SignatureError {
  return new SignatureError(
    'ERR_KEY_INACTIVE',
    `Cannot lend session credentials on this access key: ${why}`,
  );
}
