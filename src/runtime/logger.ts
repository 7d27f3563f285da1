/**
 * Structured lines for operators. Errors are returned, not logged and passed over; what is logged is what a long-running
 * process did on its own: it started a child, lost a lease, skipped a slot.
 */
import { createRequire } from 'node:module'
import type Pino from 'pino'

export type LogFacts = Readonly<Record<string, unknown>>

export interface Logger {
  info(facts: LogFacts, message: string): void
  warn(facts: LogFacts, message: string): void
  error(facts: LogFacts, message: string): void
}

export const silentLogger: Logger = { info: () => {}, warn: () => {}, error: () => {} }

const SECRET_NAMES = ['password', 'passphrase', 'secret', 'token', 'privateKey', 'masterKey', 'authorization']

/** One JSON line per event on `fd` (standard error by default), written before the call returns; known secrets left out. */
export function createLogger(name: string, fd = 2): Logger {
  // Loaded by those who log: its thirty files would be read at every start of every command and thread.
  const { destination, pino } = createRequire(import.meta.url)('pino') as typeof Pino
  const redact = { paths: SECRET_NAMES.flatMap((secret) => [secret, `*.${secret}`]), censor: '[hidden]' }
  return pino({ name, redact, timestamp: pino.stdTimeFunctions.isoTime }, destination({ dest: fd, sync: true }))
}
