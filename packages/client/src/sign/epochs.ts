import { isEpoch } from '@countersign/shared';

/** What servers told last of the life of their nonce stores, by origin. */
export interface Epochs {
  get(origin: string): string | undefined;
  /** Takes note of `Countersign-Epoch`, if it is one. */
  note(origin: string, epoch: string | null | undefined): void;
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
