/** Text forms of bytes. Decoding is strict: a text that `encode` would not write is refused. */

const HEX_PAIRS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const NOT_A_DIGIT = 4096;
const HEX_DIGITS = Uint16Array.from({ length: 128 }, (_, code) => {
  const digit = '0123456789abcdef'.indexOf(String.fromCharCode(code));
  return digit === -1 ? NOT_A_DIGIT : digit;
});
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** Bytes to lower-case hex. */
export function encodeHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += HEX_PAIRS[byte];
  return text;
}

/** Whether a text is the lower-case hex of 32 bytes, which every hash here is. */
export function isSha256Hex(text: string): boolean {
  if (text.length !== 64) return false;
  let flaws = 0;
  // A regular expression branches at each digit. A processor cannot predict random digits.
  for (let index = 0; index < 64; index++)
    flaws |= HEX_DIGITS[text.charCodeAt(index)] ?? NOT_A_DIGIT;
  return flaws < NOT_A_DIGIT;
}

/**
 * Lower-case hex to bytes.
 *
 * @returns `undefined` for any other text
 */
export function decodeHex(text: string): Uint8Array | undefined {
  const length = text.length >> 1;
  if (text.length !== 2 * length) return undefined;
  const bytes = new Uint8Array(length);
  let flaws = 0;
  for (let index = 0; index < length; index++) {
    const pair =
      (HEX_DIGITS[text.charCodeAt(2 * index)] ?? NOT_A_DIGIT) * 16 +
      (HEX_DIGITS[text.charCodeAt(2 * index + 1)] ?? NOT_A_DIGIT);
    flaws |= pair >> 8;
    bytes[index] = pair;
  }
  return flaws === 0 ? bytes : undefined;
}

/** Bytes to base64url without padding (RFC 4648 section 5). */
export function encodeBase64Url(bytes: Uint8Array): string {
  let text = '';
  for (let index = 0; index < bytes.length; index += 3) {
    // Missing bytes count as zero.
    const bits =
      ((bytes[index] as number) << 16) |
      ((bytes[index + 1] as number) << 8) |
      (bytes[index + 2] as number);
    for (let shift = 18; shift >= 0; shift -= 6) text += BASE64URL[(bits >> shift) & 63];
  }
  return text.slice(0, Math.ceil((bytes.length * 4) / 3));
}
