import { open } from 'node:fs/promises';
import { generateAccessKey, type PublicKey, type PublicKeyInput } from '@countersign/server';
import { ALGORITHMS, isAlgorithm, type PublicKeyAlgorithm, quote } from '@countersign/shared';
import { UsageError } from '../lib/errors.ts';

/** In bytes. An RSA key of 8,192 bits has 1,500. */
const LARGEST = 16_384;

/**
 * Reads a public key, in PEM or as a JWK.
 *
 * @param algorithm what the key is for; if not given, the key itself says it
 * @throws UsageError if the file cannot be read, or a store would not take what is in it
 */
export async function readPublicKeyFile(
  path: string,
  algorithm: PublicKeyAlgorithm | undefined,
): Promise<PublicKey> {
  const text = await readText(path).catch((error: Error) => {
    throw new UsageError(`Cannot read public key ${quote(path, 200)}: ${error.message}`);
  });
  const key = text.trimStart().startsWith('{') ? parseJwk(path, text) : text;
  try {
    return generateAccessKey({ publicKey: { algorithm, key } }).publicKey;
  } catch (error) {
    const why = (error as Error).message.replace(/^.*unusable: /, '');
    throw new UsageError(`Cannot use public key ${quote(path, 200)}: ${why}`);
  }
}

async function readText(path: string): Promise<string> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(LARGEST + 1));
    if (!(bytesRead <= LARGEST)) throw new Error(`it has more than ${LARGEST} bytes`);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

function parseJwk(path: string, text: string): Exclude<PublicKeyInput['key'], string> {
  try {
    return JSON.parse(text) as Exclude<PublicKeyInput['key'], string>;
  } catch {
    throw new UsageError(`Cannot read public key ${quote(path, 200)}: it is neither PEM nor JSON`);
  }
}

/** @throws UsageError */
export function parsePublicKeyAlgorithm(text: string): PublicKeyAlgorithm {
  if (isAlgorithm(text) && text !== 'hmac-sha256') return text;
  const expected = ALGORITHMS.filter((it) => it !== 'hmac-sha256').join(', ');
  throw new UsageError(`Cannot use algorithm ${quote(text)}: expected one of ${expected}`);
}
