/**
 * Runs qemu-img under limits: address space, CPU seconds, wall time, bounded output. The format is always named, never
 * probed, and a backing file is never opened unless the caller's policy allowed it (`backing: null`).
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { GIB, type HoldfastError, messageOf } from '#base'
import { CommandError, runCommand } from '#runtime'
import { BlockError } from '../errors.ts'
import type { ImageFormat } from './image-format.ts'
import { invalidImage } from './image-errors.ts'

/** An image as QEMU is to open it. */
export type OpenableImage = Readonly<{
  path: string
  format: ImageFormat
  /** Keep the backing file that the header names; only after the policy allowed it. */
  keepsBacking?: boolean
  isBlockDevice?: boolean
  /** Only the first bytes of a raw file are the disk; what lies behind them (a VHD's footer) is not. */
  sizeBytes?: number
}>

/** qemu-img itself needs less than 0.5 GiB of address space; its threads' stacks and heaps are most of it. */
const ADDRESS_SPACE_BYTES_MAX = 4 * GIB
const CPU_SECONDS_MAX = 60
const TIMEOUT_MS = 120_000
const STDERR_BYTES_MAX = 64 * 1024

/** The blockdev options of an image, as JSON for "json:" names and --blockdev. */
export function blockdevOf(image: OpenableImage): Record<string, unknown> {
  const file = { driver: image.isBlockDevice === true ? 'host_device' : 'file', filename: image.path }
  const follows = image.format === 'qcow2' || image.format === 'vmdk'
  return {
    driver: image.format,
    file,
    ...(image.format === 'raw' && image.sizeBytes !== undefined ? { size: image.sizeBytes } : {}),
    ...(follows && image.keepsBacking !== true ? { backing: null } : {}),
    // Else QEMU rounds the size to cylinders for creators that it does not know (block/vpc.c).
    ...(image.format === 'vpc' ? { force_size_calc: 'current_size' } : {}),
  }
}

/** The name under which qemu-img opens the image and nothing else. */
export function jsonName(image: OpenableImage): string {
  return `json:${JSON.stringify(blockdevOf(image))}`
}

function limited(args: readonly string[], cpuSecondsMax: number): string[] {
  return [`--as=${ADDRESS_SPACE_BYTES_MAX}`, `--cpu=${cpuSecondsMax}`, 'qemu-img', ...args]
}

export type QemuImgOptions = Readonly<{ timeoutMs?: number; cpuSecondsMax?: number; signal?: AbortSignal }>

/** Runs qemu-img to its end. @throws BlockError that says what qemu-img said. */
export async function runQemuImg(path: string, args: readonly string[], options: QemuImgOptions = {}): Promise<Buffer> {
  const { timeoutMs = TIMEOUT_MS, cpuSecondsMax = CPU_SECONDS_MAX, signal } = options
  try {
    const result = await runCommand('prlimit', limited(args, cpuSecondsMax), { timeoutMs, ...(signal && { signal }) })
    if (result.exitCode !== 0) throw qemuImgError(path, result.stderr)
    return result.stdout
  } catch (error) {
    if (error instanceof CommandError && error.code === 'command_timed_out') {
      throw invalidImage(path, 'kept qemu-img busy for too long.', { timeoutMs })
    }
    throw error
  }
}

/** As {@link runQemuImg}, line by line, for output of any length. `onLine` may throw to stop it. */
export async function streamQemuImg(
  path: string,
  args: readonly string[],
  onLine: (line: string) => void,
): Promise<void> {
  const child = spawn('prlimit', limited(args, CPU_SECONDS_MAX), {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
    env: { ...process.env, LC_ALL: 'C' },
  })
  const ended = endOf(child)
  try {
    for await (const line of createInterface({ input: child.stdout })) onLine(line)
  } catch (error) {
    child.kill('SIGKILL')
    await ended
    throw error
  }
  const { exitCode, stderr } = await ended
  if (exitCode !== 0) throw qemuImgError(path, stderr)
}

function endOf(
  child: ChildProcessByStdio<null, Readable, Readable>,
): Promise<{ exitCode: number | null; stderr: string }> {
  let stderr = ''
  child.stderr.on('data', (data: Buffer) => {
    if (stderr.length < STDERR_BYTES_MAX) stderr += data.toString('utf8')
  })
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ exitCode: -1, stderr: messageOf(error) }))
    child.once('close', (exitCode) => resolve({ exitCode, stderr }))
  })
}

/** Translates the last line that QEMU printed. */
export function qemuImgError(path: string, stderr: string): HoldfastError {
  const said = stderr.trim().split('\n').at(-1) ?? ''
  const facts = { path, said: said.slice(0, 1000) }
  // "prlimit: failed to execute qemu-img: No such file or directory"
  const missing = /failed to execute (\S+):/.exec(stderr)?.[1]
  if (missing !== undefined) {
    const hint = 'Run script/setup, which installs what Holdfast needs.'
    return new CommandError('command_missing', `The program ${missing} is not installed.`, { facts, hint })
  }
  if (/Failed to get .*lock|Is another process using/.test(stderr)) {
    return new BlockError('image_in_use', `${path} is in use by another program.`, { facts, retry: 'later' })
  }
  if (/No such file or directory/.test(said)) {
    return new BlockError('image_not_found', `There is no file ${path}.`, { facts })
  }
  if (/No space left on device/.test(stderr)) {
    return new BlockError('target_full', `No space is left for ${path}.`, { facts, retry: 'later' })
  }
  return invalidImage(
    path,
    `cannot be used: ${said || 'QEMU ended without a word (a limit on its resources, perhaps).'}`,
    facts,
  )
}
