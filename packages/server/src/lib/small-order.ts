/**
 * The y-coordinates of the points, in the form that is written and in others that mean the same.
 * The last bit of a point is the sign of its x-coordinate.
 */
const SMALL_ORDER = new Set([
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  `ec${'ff'.repeat(30)}7f`,
  `ed${'ff'.repeat(30)}7f`,
  `ee${'ff'.repeat(30)}7f`,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
]);

/**
 * Whether a public key of Ed25519 is a point of small order. An attacker can make signatures for
 * such a key that are valid for many messages, and OpenSSL does not refuse it. All zeros is one of
 * these points.
 *
 * @param point 32 bytes
 */
export function isOfSmallOrder(point: Uint8Array): boolean {
  const ordinate = Buffer.from(point);
  ordinate[31] = (ordinate[31] as number) & 0x7f;
  return SMALL_ORDER.has(ordinate.toString('hex'));
}
