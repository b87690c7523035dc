import { isEpoch } from '@countersign/shared';

/** The epoch that each origin named last. It identifies one life of the server's nonce store. */
export interface Epochs {
  get(origin: string): string | undefined;
  /** Records the value of `Countersign-Epoch`. A value that cannot be an epoch changes nothing. */
  record(origin: string, epoch: string | null | undefined): void;
}

/** Builds an empty memory of epochs. */
export function createEpochs(): Epochs {
  const byOrigin = new Map<string, string>();
  return {
    get: (origin) => byOrigin.get(origin),
    record(origin, epoch) {
      if (isEpoch(epoch)) byOrigin.set(origin, epoch);
    },
  };
}
