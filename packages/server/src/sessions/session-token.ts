import { quote } from '@countersign/shared';
import { CompactEncrypt, compactDecrypt, errors } from 'jose';
import * as z from 'zod';
import type { MasterKeys } from '../keys/master-keys.ts';
import { storeFailed } from '../verify/store-failed.ts';

/** What is sealed in a session token. */
const claimsSchema = z.strictObject({
  iss: z.string(),
  sub: z.string().min(1),
  aud: z.string().min(1),
  iat: z.number(),
  nbf: z.number(),
  exp: z.number(),
  jti: z.string().min(1),
  /** RFC 8693 section 4.2: names, separated by spaces. */
  scope: z.string(),
  ver: z.strictObject({ subject: z.int().min(0), all: z.int().min(0) }),
  parent: z.string().optional(),
  /** RFC 7800 section 3.3: the key that the sender of each request must have. */
  cnf: z.strictObject({
    jwk: z.strictObject({
      kty: z.literal('oct'),
      alg: z.literal('HS256'),
      k: z.string().length(43),
    }),
  }),
});

export type SessionClaims = z.output<typeof claimsSchema>;

const ALGORITHM = 'dir';
const ENCRYPTION = 'A256GCM';
const TYPE = 'countersign-session+jwt';
/** Characters. A longer token is not opened: it is sent with every request. */
const LONGEST = 4_096;
const COMPACT = /^[A-Za-z0-9_-]{1,512}\.\.[A-Za-z0-9_-]{16}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{22}$/;

/**
 * Seals claims in a session token.
 *
 * @throws RangeError if the token would be longer than a server accepts
 * @throws SignatureError `ERR_KEY_STORE_FAILED` if no master key is available
 * @see RFC 7516, RFC 7519
 */
export async function sealToken(claims: SessionClaims, masterKeys: MasterKeys): Promise<string> {
  const { id, bytes } = await masterKeys.current().catch((cause) => {
    throw storeFailed('key', cause);
  });
  const token = await new CompactEncrypt(new TextEncoder().encode(JSON.stringify(claims)))
    .setProtectedHeader({ alg: ALGORITHM, enc: ENCRYPTION, typ: TYPE, kid: id })
    .encrypt(bytes);
  if (token.length > LONGEST)
    throw new RangeError(
      `Cannot issue session for ${quote(claims.sub)}: its token has ${token.length} characters, ${LONGEST} are allowed; give it fewer scopes`,
    );
  return token;
}

/**
 * Opens a session token. Only our one algorithm is accepted, whatever the token says.
 *
 * @returns `undefined` if it is not one of our tokens, or was changed
 * @throws KeyStoreError `ERR_MASTER_KEY` if a key management service fails
 */
export async function openToken(
  token: string,
  masterKeys: MasterKeys,
): Promise<SessionClaims | undefined> {
  if (!(token.length <= LONGEST && COMPACT.test(token) && isCanonical(token))) return undefined;
  try {
    const { plaintext, protectedHeader } = await compactDecrypt(
      token,
      async ({ kid }) => {
        const key = typeof kid === 'string' ? await masterKeys.find(kid) : undefined;
        if (key === undefined) throw new errors.JWEDecryptionFailed();
        return key.bytes;
      },
      { keyManagementAlgorithms: [ALGORITHM], contentEncryptionAlgorithms: [ENCRYPTION] },
    );
    if (protectedHeader.typ !== TYPE) return undefined;
    const claims = claimsSchema.safeParse(JSON.parse(new TextDecoder().decode(plaintext)));
    return claims.data;
  } catch (error) {
    if (error instanceof errors.JOSEError) return undefined;
    throw error;
  }
}

/**
 * Whether each part is written in the only canonical way. The last character of base64url can have
 * bits that decoders ignore, so one token could have several texts.
 */
function isCanonical(token: string): boolean {
  return token
    .split('.')
    .every((part) => Buffer.from(part, 'base64url').toString('base64url') === part);
}
