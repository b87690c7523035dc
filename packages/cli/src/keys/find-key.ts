import { type AccessKeyInfo, KeyStoreError, type ManagedKeyStore } from '@countersign/server';
import { quote } from '@countersign/shared';

/** @throws KeyStoreError `ERR_KEY_NOT_FOUND` */
export async function findKey(store: ManagedKeyStore, accessKeyId: string): Promise<AccessKeyInfo> {
  const key = await store.show(accessKeyId);
  if (key !== undefined) return key;
  throw new KeyStoreError('ERR_KEY_NOT_FOUND', `There is no access key ${quote(accessKeyId)}`);
}
