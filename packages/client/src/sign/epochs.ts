/** What servers told last of the life of their nonce stores, by origin. */
export interface Epochs {
  get(origin: string): string | undefined;
  /** Takes note of `Countersign-Epoch`, if it is one. */
  note(origin: string, epoch: string | null | undefined): void;
}

const SHAPE = /^[A-Za-z0-9_-]{1,64}$/;

/** Whether a value can be an epoch: 1 to 64 characters of base64url. */
export function isEpoch(value: unknown): value is string {
  return typeof value === 'string' && SHAPE.test(value);
}

/** Builds a memory of epochs. */
export function createEpochs(): Epochs {
  const byOrigin = new Map<string, string>();
  return {
    get: (origin) => byOrigin.get(origin),
    note(origin, epoch) {
      if (isEpoch(epoch)) byOrigin.set(origin, epoch);
    },
  };
}
