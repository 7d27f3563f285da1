/**
 * Starting a process that survives us, and the record of which it is. What it prints goes to a file that is begun anew at
 * each start (the one before is kept as `.old`): a few lines, unless it dies saying more. Its log is its own affair.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, renameSync } from 'node:fs'
import { messageOf } from '#base'
import { identityOf, type ProcessIdentity, replaceFile } from '#runtime'

export type ProcessEntry = Readonly<{ program: string; args: readonly string[] }>

/** `end` says how it ended, once it has. */
export type Started = { readonly identity: ProcessIdentity | undefined; end: string | undefined }

export type Restart = Readonly<{ atMs: number; reason: string }>

export type Recorded = Readonly<{ identity: ProcessIdentity; lastRestart: Restart | undefined }>

export function isIdentity(value: unknown): value is ProcessIdentity {
  if (typeof value !== 'object' || value === null) return false
  const { bootId, pidNamespace, pid, startTicks } = value as Record<string, unknown>
  return (
    typeof bootId === 'string' &&
    typeof pidNamespace === 'string' &&
    typeof startTicks === 'string' &&
    typeof pid === 'number'
  )
}

function isRestart(value: unknown): value is Restart {
  if (typeof value !== 'object' || value === null) return false
  const { atMs, reason } = value as Record<string, unknown>
  return typeof atMs === 'number' && typeof reason === 'string'
}

/** A descriptor for what it prints; of /dev/null when the disk has no place for it. */
function openOutput(path: string): number {
  try {
    renameSync(path, `${path}.old`)
  } catch {
    // There is none yet, or it cannot be renamed: then it is emptied.
  }
  try {
    return openSync(path, 'w', 0o600)
  } catch {
    return openSync('/dev/null', 'w') // What it prints is for people; it must run all the same.
  }
}

export function startDetached(entry: ProcessEntry, outputPath: string, env: Readonly<Record<string, string>>): Started {
  const output = openOutput(outputPath)
  const child = spawn(entry.program, entry.args, {
    detached: true,
    stdio: ['ignore', output, output],
    cwd: '/',
    env: { ...process.env, ...env },
  })
  closeSync(output)
  const identity = child.pid === undefined ? undefined : identityOf(child.pid)
  const started: Started = { identity, end: undefined }
  child.once('error', (error) => (started.end = messageOf(error)))
  child.once('exit', (code, signal) => (started.end ??= `it ended (${signal ?? code ?? 'unknown'})`))
  child.unref()
  return started
}

/** Which process was started, in a file that is whole or absent. */
export class ProcessRecord {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  read(): Recorded | undefined {
    try {
      const value: unknown = JSON.parse(readFileSync(this.#path, 'utf8'))
      if (!isIdentity(value)) return undefined
      const { lastRestart, ...identity } = value as ProcessIdentity & { lastRestart?: unknown }
      return { identity, lastRestart: isRestart(lastRestart) ? lastRestart : undefined }
    } catch {
      return undefined // No record, or not one of ours: then it is as if it had never been started.
    }
  }

  async write({ identity, lastRestart }: Recorded): Promise<void> {
    const value = lastRestart === undefined ? identity : { ...identity, lastRestart }
    await replaceFile(this.#path, [Buffer.from(`${JSON.stringify(value)}\n`)])
  }
}
