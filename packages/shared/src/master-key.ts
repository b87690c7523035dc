const MASTER_KEY = /^([A-Za-z0-9_-]{1,64}):([A-Za-z0-9_-]{43})$/;

/** A master key, as text of two parts. */
export interface MasterKeyText {
  readonly id: string;
  /** 32 bytes in base64url. */
  readonly encoded: string;
}

/**
 * Takes a master key apart.
 *
 * @returns `undefined` if the text is no `<id>:<32 bytes in base64url>`
 */
export function splitMasterKey(text: string): MasterKeyText | undefined {
  const [, id, encoded] = MASTER_KEY.exec(text) ?? [];
  return id === undefined || encoded === undefined ? undefined : { id, encoded };
}
