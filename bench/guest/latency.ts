/**
 * What a guest's program that makes each of its writes durable waits for it, alone and while its machine is backed up: fio
 * inside the guest, 4 KiB at random places of a file, fdatasync after each. By the command line as a user runs it, one after the
 * other:
 *
 *   backup   full ones, each into a new repository, crash-consistent
 *   quiet    application-consistent ones into one repository, of what changed, with pre- and post-scripts and a freeze
 *
 * With and without alternate. While it is quiet the guest's file systems are frozen for each instant, which the longest write shows.
 */
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isObject } from '#engine/hypervisor'
import { installScripts } from '../../test/rig/guest-scripts.ts'
import { PROGRAM } from '../tools/holdfast.ts'
import { median, run } from '../measure.ts'
import { LoadedGuest } from './loaded-guest.ts'

const KINDS = ['alone', 'backup', 'quiet'] as const
export type LatencyKind = (typeof KINDS)[number]
export type LatencySample = Readonly<{
  kind: LatencyKind
  writes: number
  /** Of the write with its fdatasync. */
  medianMs: number
  p99Ms: number
  maxMs: number
  backups: number
}>

const SECONDS = 20
const DATA_MIB = 1_536

export async function measureLatency(rounds: number, say: (text: string) => void): Promise<LatencySample[]> {
  await using loaded = await LoadedGuest.start({ dataDisks: 1, diskMib: 4_096, dataMib: DATA_MIB })
  const samples: LatencySample[] = []
  await installScripts(loaded.guest, { pre: 'sync', post: 'exit 0' })
  await writeFor(loaded, 5)
  for (let round = 0; round < rounds; round += 1) {
    for (const kind of KINDS) {
      const backups = kind === 'alone' ? undefined : startBackups(loaded, kind)
      const figures = await writeFor(loaded, SECONDS)
      const sample = { kind, ...figures, backups: (await backups?.stop()) ?? 0 }
      samples.push(sample)
      say(
        `latency ${kind}: median ${sample.medianMs.toFixed(2)} ms, p99 ${sample.p99Ms.toFixed(2)} ms, ` +
          `longest ${sample.maxMs.toFixed(0)} ms, ` +
          `${sample.writes} writes, ${sample.backups} backups`,
      )
    }
  }
  return samples
}

async function writeFor(loaded: LoadedGuest, seconds: number): Promise<Omit<LatencySample, 'kind' | 'backups'>> {
  const file = `--filename=${loaded.mounts[0]}/durable --size=32m`
  const how = '--name=durable --rw=randwrite --bs=4k --ioengine=psync --fdatasync=1 --thinktime=2ms --randseed=11'
  const report = await loaded.fioBeside(`${how} ${file} --time_based --runtime=${seconds}`, seconds)
  const jobs = report['jobs']
  const job: unknown = Array.isArray(jobs) ? jobs[0] : undefined
  if (!isObject(job) || !isObject(job['sync']) || !isObject(job['write'])) throw new Error('fio reported no job')
  const [write, sync] = [percentiles(job['write'], 'clat_ns'), percentiles(job['sync'], 'lat_ns')]
  return {
    writes: Number(job['write']['total_ios']),
    medianMs: write.median + sync.median,
    p99Ms: write.p99 + sync.p99,
    maxMs: (Number(maxOf(job['write'], 'clat_ns')) + Number(maxOf(job['sync'], 'lat_ns'))) / 1e6,
  }
}

function maxOf(part: Readonly<Record<string, unknown>>, name: string): unknown {
  const times = part[name]
  return isObject(times) ? times['max'] : undefined
}

function percentiles(part: Readonly<Record<string, unknown>>, name: string): { median: number; p99: number } {
  const times = part[name]
  const list = isObject(times) && isObject(times['percentile']) ? times['percentile'] : {}
  return { median: Number(list['50.000000']) / 1e6, p99: Number(list['99.000000']) / 1e6 }
}

function environment(folder: string): Readonly<Record<string, string>> {
  return { HOLDFAST_PASSPHRASE: 'benchmark', XDG_CACHE_HOME: folder, XDG_STATE_HOME: folder }
}

/** A new repository in a folder of its own. */
async function newStore(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hf-latency-'))
  await run({ program: PROGRAM, args: ['repo', 'init', join(folder, 'store')], env: environment(folder) })
  return folder
}

/** Backups without end. `stop` ends the one that runs and says how many were begun. */
function startBackups(loaded: LoadedGuest, kind: Exclude<LatencyKind, 'alone'>): { stop: () => Promise<number> } {
  let begun = 0
  const stopping = new AbortController()
  let current: ReturnType<typeof spawn> | undefined
  const { qmp, agent } = loaded.guest.paths
  const level = kind === 'quiet' ? ['--qga', agent, '--consistency', 'app', '--strict'] : ['--consistency', 'crash']
  const backUpInto = async (folder: string): Promise<void> => {
    const args = ['repo', 'backup', join(folder, 'store'), '--machine', 'm', '--qmp', qmp, ...level]
    begun += 1
    const env = { ...process.env, ...environment(folder) }
    const child = spawn(PROGRAM, args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
    current = child
    let said = ''
    child.stderr.on('data', (bytes: Buffer) => (said = (said + bytes.toString()).slice(-2_000)))
    const code = await new Promise<number | null>((resolve) => child.once('exit', resolve))
    if (code !== 0 && !stopping.signal.aborted) throw new Error(`The backup ended with ${code}: ${said}`)
  }
  const loop = async (): Promise<void> => {
    const kept = kind === 'quiet' ? await newStore() : undefined
    while (!stopping.signal.aborted) {
      const folder = kept ?? (await newStore())
      await backUpInto(folder)
      if (kept === undefined) await rm(folder, { recursive: true, force: true })
    }
    if (kept !== undefined) await rm(kept, { recursive: true, force: true })
  }
  const looping = loop()
  looping.catch(() => {
    // `stop` hears of it.
  })
  return {
    stop: async () => {
      stopping.abort()
      current?.kill('SIGTERM')
      await looping
      return begun
    },
  }
}

type LatencyMedians = Record<string, { medianMs: number; p99Ms: number; maxMs: number }>

export function latencyMedians(samples: readonly LatencySample[]): LatencyMedians {
  return Object.fromEntries(
    [...Map.groupBy(samples, ({ kind }) => kind)].map(([kind, own]) => [
      kind,
      {
        medianMs: median(own.map((one) => one.medianMs)),
        p99Ms: median(own.map((one) => one.p99Ms)),
        maxMs: Math.max(...own.map((one) => one.maxMs)),
      },
    ]),
  )
}
