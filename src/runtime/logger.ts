/**
 * Structured lines for operators. Errors are returned, not logged and passed over; what is logged is what a long-running
 * process did on its own: it started a child, lost a lease, skipped a slot.
 */
import { createRequire } from 'node:module'
import type Pino from 'pino'
import { writeWhole } from './rotating-file.ts'

export type LogFacts = Readonly<Record<string, unknown>>

export interface Logger {
  info(facts: LogFacts, message: string): void
  warn(facts: LogFacts, message: string): void
  error(facts: LogFacts, message: string): void
}

export const silentLogger: Logger = { info: () => {}, warn: () => {}, error: () => {} }

const SECRET_NAMES = ['password', 'passphrase', 'secret', 'token', 'privateKey', 'masterKey', 'authorization']

export type LogTarget = Readonly<{ write: (line: string) => void }>

/** A line that cannot be written is lost: no log is worth the work of the process that writes it. */
function toDescriptor(fd: number): LogTarget {
  return {
    write: (line) => {
      try {
        writeWhole(fd, line)
      } catch {
        // A full disk, or nobody reads our standard error any more: there is nowhere to say so.
      }
    },
  }
}

/**
 * One JSON line per event, written before the call returns; known secrets left out. To a descriptor (standard error by
 * default, for whoever collects it, such as journald), or to a file of our own, which bounds itself.
 */
export function createLogger(name: string, target: number | LogTarget = 2): Logger {
  // Loaded by those who log: its thirty files would be read at every start of every command and thread.
  const { pino } = createRequire(import.meta.url)('pino') as typeof Pino
  const redact = { paths: SECRET_NAMES.flatMap((secret) => [secret, `*.${secret}`]), censor: '[hidden]' }
  const to = typeof target === 'number' ? toDescriptor(target) : target
  return pino({ name, redact, timestamp: pino.stdTimeFunctions.isoTime }, to)
}
