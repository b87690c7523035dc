export { FileKeyStore, type FileKeyStoreOptions } from './keys/file-key-store.ts';
export { masterKeyFile } from './keys/master-key-file.ts';
