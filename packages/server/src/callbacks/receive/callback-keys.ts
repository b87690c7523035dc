import { hash } from 'node:crypto';
import type { CallbackKey } from '../schemes/callback-scheme.ts';
import {
  type CallbackSecrets,
  type CallbackSettings,
  isSecrets,
  MOST_SECRETS,
} from './callback-verifier-options.ts';

/** A key, and a name for the secret that it was read from. */
export interface NamedCallbackKey {
  readonly key: CallbackKey;
  readonly id: string;
}

/**
 * Builds what gives the keys of a moment. Those of a list are read at once, so that a wrong one is
 * found before a callback comes.
 *
 * @throws TypeError where one cannot be read, without showing it
 */
export function createCallbackKeys({
  secrets,
  scheme,
}: Pick<CallbackSettings, 'secrets' | 'scheme'>): () => Promise<readonly NamedCallbackKey[]> {
  let read = new Map<string, NamedCallbackKey>();
  const readKey = (text: string): NamedCallbackKey => ({
    key: scheme.parseKey(text),
    id: hash('sha256', `countersign callback key\n${text}`, 'base64url'),
  });
  const keysOf = (texts: CallbackSecrets): readonly NamedCallbackKey[] => {
    // Reading an Ed25519 key costs as much as using it. What is not listed any more is forgotten.
    read = new Map(texts.map((text) => [text, read.get(text) ?? readKey(text)]));
    return [...read.values()];
  };
  if (typeof secrets !== 'function') {
    const keys = keysOf(secrets);
    return async () => keys;
  }
  return async () => {
    const texts: unknown = await secrets();
    if (!isSecrets(texts))
      throw new TypeError(`Option "secrets" gave no list of 1 to ${MOST_SECRETS} secrets`);
    return keysOf(texts);
  };
}
