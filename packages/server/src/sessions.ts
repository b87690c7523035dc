export {
  createSessions,
  type SessionCredentials,
  type SessionGrant,
  type Sessions,
  type SessionsOptions,
  type WantedSession,
} from './sessions/sessions.ts';
