import * as z from 'zod';
import type { MasterKeyProvider } from './master-keys.ts';

/**
 * The option `masterKey`. What a provider gives is checked by `MasterKeys`, whose messages show no
 * key.
 *
 * @param other what can be given in place of a master key
 */
export const masterKeyOption = (other: string) =>
  z.custom<MasterKeyProvider>(
    (provider) => provider !== undefined && provider !== null,
    `a master key, as generateMasterKey() makes it, or ${other}`,
  );
