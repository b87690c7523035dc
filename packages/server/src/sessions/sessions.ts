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

/** What a client signs with until it expires. */
export interface SessionCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Sent with every request, and signed. */
  readonly sessionToken: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** What the issued credentials are good for. */
export interface SessionGrant {
  readonly subject: string;
  readonly scopes: readonly string[];
  /** The one service that the credentials are for. */
  readonly audience: string;
  /** Seconds: 3,600 if not given. */
  readonly ttl?: number | undefined;
}

/** Issues session credentials for minutes or hours, and opens their tokens. */
export interface Sessions extends SessionProvider {
  /**
   * Issues session credentials. It is for a server that has authenticated the user itself, for
   * example by a password.
   *
   * @throws TypeError or RangeError naming the field that cannot be used
   */
  issue(grant: SessionGrant): Promise<SessionCredentials>;
  /**
   * Issues session credentials to the signer of a request. They never have more scopes than the
   * access key, and never outlive it. They end if the key is disabled or revoked.
   *
   * @param identity of the signer
   * @param wanted the scopes and the time that the signer asks for
   * @throws SignatureError `ERR_SCOPE_MISSING` if a scope is not among those of the key, or the
   *   request was signed with session credentials; `ERR_KEY_INACTIVE` if the key, or what it signed
   *   until now, was revoked meanwhile
   * @throws TypeError or RangeError naming the field of `wanted` that cannot be used
   */
  lend(identity: Identity, wanted?: WantedSession): Promise<SessionCredentials>;
}

/** What the owner of an access key asks for. */
export interface WantedSession {
  /** The scopes of the key if not given. */
  readonly scopes?: readonly string[] | undefined;
  /** Seconds: 3,600 if not given. */
  readonly ttl?: number | undefined;
}

const wantedSchema = z.strictObject({
  scopes: z.array(z.string()).max(1_000).optional(),
  ttl: z.number().optional(),
});

export interface SessionsOptions {
  /** The name of the issuer. A server opens only tokens of its own issuer. */
  readonly issuer: string;
  /**
   * What tokens are sealed with. It must be the same on all servers: see {@link MasterKeyProvider}.
   */
  readonly masterKey: MasterKeyProvider;
  /** Where revocations are stored: the key store that has the keys on which sessions are lent. */
  readonly revocations: SessionRevocations;
  /** The most seconds that a session may live: 43,200 (12 hours) if not given, at most 604,800. */
  readonly maxTtl?: number | undefined;
  /**
   * Unix seconds: when sessions begin, and so when they expire. The clock of `revocations` if not
   * given.
   */
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
/** Milliseconds after which a token is opened again. */
const OPEN_FOR = 60_000;

/**
 * Builds what issues session credentials. A session is stored nowhere. All that a server needs of
 * it, the secret too, is sealed in its token. Each request proves that its sender has the secret,
 * so a token alone is useless.
 *
 * @param options see {@link SessionsOptions}; durations in seconds
 * @throws TypeError or RangeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import {
 *   createVerifier,
 *   generateMasterKey,
 *   MemoryKeyStore,
 *   MemoryNonceStore,
 * } from '@countersign/server';
 * import { createSessions } from '@countersign/server/sessions';
 *
 * const keys = new MemoryKeyStore();
 * const sessions = createSessions({
 *   issuer: 'video-api',
 *   masterKey: generateMasterKey(),
 *   revocations: keys,
 * });
 * const nonces = new MemoryNonceStore();
 * const verifier = createVerifier({ audience: 'video-api', keys, sessions, nonces });
 * const credentials = await sessions.issue({
 *   subject: 'alice',
 *   scopes: ['videos:parse'],
 *   audience: verifier.audience,
 * });
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
  /**
   * Opened tokens: a client sends the same one with each request. After a minute it is opened
   * again, in case its master key was removed.
   */
  const opened = new BoundedMap<string, { readonly claims: SessionClaims; readonly at: number }>(
    MOST_OPENED,
  );

  /** @param signer who signed the request for the session, if it was signed */
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
      // The request was verified a moment ago, perhaps by a server that did not know the latest
      // revocations.
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
