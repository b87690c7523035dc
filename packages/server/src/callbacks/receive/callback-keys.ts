import { hash } from 'node:crypto';
import type { CallbackKey } from '../schemes/callback-scheme.ts';
import {
  type CallbackSecrets,
  type CallbackSettings,
  isSecrets,
  MOST_SECRETS,
} from './callback-verifier-options.ts';

/** A key, and an id for the secret that it was read from. */
export interface NamedCallbackKey {
  readonly key: CallbackKey;
  readonly id: string;
}

/**
 * Builds a function that returns the current keys. If the secrets are a list, they are read at
 * once, so a wrong one is found before a callback comes.
 *
 * @throws TypeError if one cannot be read; the message does not show it
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
    // Keep the keys, because reading an Ed25519 key costs as much as using it. Forget those that
    // are not listed any more.
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
