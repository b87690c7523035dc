import type { CallbackKey } from './callback-scheme.ts';
import {
  type CallbackPolicy,
  type CallbackSecrets,
  isSecrets,
  MOST_SECRETS,
} from './callback-verifier-options.ts';

/**
 * Builds what gives the keys of a moment. Those of a list are read at once, so that a wrong one is found before a callback comes.
 *
 * @throws TypeError where one cannot be read, without showing it
 */
export function createCallbackKeys({
  secrets,
  scheme,
}: Pick<CallbackPolicy, 'secrets' | 'scheme'>): () => Promise<readonly CallbackKey[]> {
  let read = new Map<string, CallbackKey>();
  const keysOf = (texts: CallbackSecrets): readonly CallbackKey[] => {
    // Reading an Ed25519 key costs as much as using it. What is not listed any more is forgotten.
    read = new Map(texts.map((text) => [text, read.get(text) ?? scheme.parseKey(text)]));
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
