/** Runs bin/holdfast as a user would, in a folder of its own, with an environment that holds nothing else. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after } from 'node:test'

const PROGRAM = resolve(import.meta.dirname, '../../bin/holdfast')

export type Ran = Readonly<{ code: number | null; stdout: string; stderr: string }>
export type RunOptions = Readonly<{ env?: Readonly<Record<string, string>>; passphrase?: string | undefined }>

/** A folder that is gone after the test file. */
export async function testFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-cli-'))
  after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

export function start(folder: string, args: readonly string[], options: RunOptions = {}): ChildProcess {
  const passphrase = 'passphrase' in options ? options.passphrase : 'correct horse'
  return spawn(PROGRAM, args, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      HOME: folder,
      ...(passphrase === undefined ? {} : { HOLDFAST_PASSPHRASE: passphrase }),
      ...options.env,
    },
  })
}

export function ended(child: ChildProcess): Promise<Ran> {
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout?.on('data', (data: Buffer) => out.push(data))
  child.stderr?.on('data', (data: Buffer) => err.push(data))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) =>
      resolve({ code, stdout: Buffer.concat(out).toString('utf8'), stderr: Buffer.concat(err).toString('utf8') }),
    )
  })
}

export function run(folder: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return ended(start(folder, args, options))
}

/** Runs what must succeed, in JSON. */
export async function runJson<T>(folder: string, args: readonly string[], options: RunOptions = {}): Promise<T> {
  const ran = await run(folder, [...args, '--output', 'json'], options)
  assert.equal(ran.code, 0, `holdfast ${args.join(' ')}: ${ran.stderr}`)
  return JSON.parse(ran.stdout) as T
}

export type FailureJson = Readonly<{
  error: Readonly<{ code: string; message: string; facts: Record<string, unknown>; hint?: string }>
}>

/** Runs what must fail, in JSON: nothing on stdout, one error document on stderr. */
export async function runFailing(
  folder: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<FailureJson['error'] & { exitCode: number | null }> {
  const ran = await run(folder, [...args, '--output', 'json'], options)
  assert.notEqual(ran.code, 0, `holdfast ${args.join(' ')} was to fail, but said ${ran.stdout}`)
  assert.equal(ran.stdout, '')
  const { error } = JSON.parse(ran.stderr) as FailureJson
  return { ...error, exitCode: ran.code }
}

export type PointJson = Readonly<{
  schema: number
  id: string
  machine: string
  takenAt: string
  consistency: string
  mode: string
  parent?: string
  disks: readonly Readonly<{
    id: string
    lun: number
    format: string
    mode: string
    reason?: string
    virtualSizeBytes: number
    usedBytes: number
    readBytes: number
    newBytes: number
    storedBytes: number
  }>[]
}>
