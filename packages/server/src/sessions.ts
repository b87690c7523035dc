export {
  createSessions,
  type SessionCredentials,
  type SessionGrant,
  type Sessions,
  type SessionsOptions,
} from './sessions/sessions.ts';
