import type { Revocation } from '@countersign/server';

/** What to revoke, and how to ask for confirmation. */
export interface RevocationPlan {
  readonly revocation: Revocation;
  readonly act: string;
  readonly word: string;
  /** Printed afterwards. */
  readonly done: string;
}
