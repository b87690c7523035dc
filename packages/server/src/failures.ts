export {
  type ClosableFailureLimit,
  createFailureLimit,
  type FailureLimitOptions,
} from './failures/create-failure-limit.ts';
export type { FailureBlock, FailureLimit, SignatureKind } from './verify/failure-limit.ts';
