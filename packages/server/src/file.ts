export { FileKeyStore, type FileKeyStoreOptions } from './keys/file/file-key-store.ts';
export { masterKeyFile } from './keys/file/master-key-file.ts';
